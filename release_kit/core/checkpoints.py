"""Import of checkpoints that already exist: rules from paths to levels, and a ``cell.json`` for each folder found.

Nothing is moved, copied or loaded: ``cell.json`` names the folder relative to the study. Owns the ``checkpoints:``
entries, the choice between several checkpoints of one cell and the search for folders that no rule explains; what a
trainer left in such a folder is read by ``checkpoint_facts.py``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.cell import CELL_FILE, Cell, cell_folder, read_cell, write_cell
from release_kit.core.checkpoint_facts import holds_weights, looks_like_checkpoint, read_facts
from release_kit.core.errors import RecordError, ReleaseKitError, StudyError
from release_kit.core.files import STATE_FOLDER
from release_kit.core.grid import Levels, cell_config, cell_id_of, describe, is_declared, is_results_only, iter_levels
from release_kit.core.path_rule import Match, PathRule, explain_mismatch, find_matches, path_rule_from
from release_kit.core.records import Fields, nearest
from release_kit.core.study import STUDY_FILE, Study

PICKS = ("only", "last", "first")
_NEVER_SEARCHED = {"cells", "release", "tables", STATE_FOLDER, ".git", ".cache"}


@dataclass(frozen=True, kw_only=True)
class CheckpointRule:
    """One entry of ``checkpoints:``."""

    rule: PathRule
    pick: str = "only"
    """Which of several folders of one cell is meant: ``last`` or ``first`` by number; ``only`` refuses several."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What is known of all these checkpoints (``code_commit`` …); goes into every ``cell.json``."""


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """One folder that a rule leads to; ``passed_over`` are the other checkpoints of the same run."""

    levels: Levels
    path: str
    rule: CheckpointRule
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the rules found on disk."""

    found: tuple[FoundCheckpoint, ...]
    problems: tuple[ReleaseKitError, ...]
    """Ambiguous paths, several folders for one cell, folders without weights, levels outside the grid."""
    unexplained: tuple[ReleaseKitError, ...]
    """Folders that look like checkpoints and that no rule explains."""


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did; paths and ids are sorted."""

    written: tuple[str, ...]
    """Cell ids whose ``cell.json`` was made or changed."""
    unchanged: tuple[str, ...]
    without_checkpoint: tuple[Levels, ...]
    """Declared cells, results-only ones excepted, that have no artifact on disk."""
    problems: tuple[ReleaseKitError, ...]
    unexplained: tuple[ReleaseKitError, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was refused; missing cells do not count, a study may be half done."""
        return not self.problems


def read_rules(study: Study) -> tuple[list[CheckpointRule], list[ReleaseKitError]]:
    """Read the ``checkpoints:`` entries strictly; returns the good ones and what is wrong with the others."""
    rules, problems = [], []
    for index, entry in enumerate(study.checkpoints):
        try:
            fields = Fields(entry, str(study.folder / STUDY_FILE), f"checkpoints[{index}]")
            rules.append(_rule_from(fields, study))
        except RecordError as problem:
            problems.append(problem)
    return rules, problems


def find_checkpoints(study: Study) -> Findings:
    """Find the folder of every cell that the declared rules explain; nothing is written."""
    rules, problems = read_rules(study)
    found: list[FoundCheckpoint] = []
    explained: set[str] = set()
    for rule in rules:
        matched, trouble = find_matches(rule.rule, study.folder, folders=True)
        problems += trouble
        explained.update(match.path for match in matched)
        if not matched and not trouble:
            where = f"{study.folder / STUDY_FILE}: {rule.rule.key}.path"
            problems.append(StudyError(f"no folder follows {rule.rule.text!r}", where=where))
        found += _one_for_each_cell(study, rule, matched, problems)
    found = _one_rule_for_each_cell(found, problems)
    problem_places = {problem.where for problem in problems}
    unexplained = [problem for problem in _unexplained(study, rules, explained) if problem.where not in problem_places]
    return Findings(found=tuple(found), problems=tuple(problems), unexplained=tuple(unexplained))


def import_checkpoints(study: Study, *, dry_run: bool = False) -> ImportReport:
    """Write a ``cell.json`` for every checkpoint found; one that says the same already is not touched.

    Args:
        study: the study with its ``checkpoints`` rules.
        dry_run: write nothing; ``written`` are the cells that would be.
    """
    findings = find_checkpoints(study)
    problems = list(findings.problems)
    written, unchanged, have = [], [], set()
    for checkpoint in findings.found:
        try:
            cell = plan_cell(study, checkpoint)
            changed = _earlier(study, cell.cell_id) != cell
            if changed and not dry_run:
                write_cell(study.folder, cell)
        except ReleaseKitError as problem:
            problems.append(problem)
            continue
        have.add(cell.cell_id)
        (written if changed else unchanged).append(cell.cell_id)
    return ImportReport(
        written=tuple(sorted(written)),
        unchanged=tuple(sorted(unchanged)),
        without_checkpoint=tuple(_without_artifact(study, have)),
        problems=tuple(sorted(problems, key=str)),
        unexplained=tuple(sorted(findings.unexplained, key=str)),
    )


def plan_cell(study: Study, checkpoint: FoundCheckpoint) -> Cell:
    """Return the cell that an import writes for a found checkpoint.

    What stands in an earlier ``cell.json`` of the same folder and was not read from the checkpoint is kept.

    Raises:
        StudyError: the cell has an artifact elsewhere already.
        RecordError: a file of the checkpoint that is read for provenance is broken.
    """
    config = cell_config(study, checkpoint.levels)
    cell_id = cell_id_of(config)
    earlier = _earlier(study, cell_id)
    if earlier is not None and earlier.artifact_path != checkpoint.path:
        taken = earlier.artifact_path or f"cells/{cell_id}/model"
        if (study.folder / taken).is_dir():
            raise StudyError(
                f"the cell {describe(checkpoint.levels)} has its artifact in {taken} already",
                where=checkpoint.path,
                next_step=f"remove cells/{cell_id}/{CELL_FILE} to take this folder instead",
            )
        earlier = None
    provenance = dict(earlier.provenance) if earlier else {}
    for known in (checkpoint.rule.provenance, read_facts(study.folder / checkpoint.path, checkpoint.path)):
        provenance = _merged(provenance, known)
    return Cell(
        cell_id=cell_id,
        levels=dict(checkpoint.levels),
        config=config,
        artifact_path=checkpoint.path,
        provenance=provenance,
    )


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``old`` with ``new`` over it; inside mappings (``base_model``, ``versions``) key by key."""
    both = {key: {**old[key], **value} for key, value in new.items()
            if isinstance(value, dict) and isinstance(old.get(key), dict)}  # fmt: skip
    return {**old, **new, **both}


def _rule_from(fields: Fields, study: Study) -> CheckpointRule:
    rule = CheckpointRule(
        rule=path_rule_from(fields, study),
        pick=fields.take("pick", str, "only"),
        provenance=fields.take("provenance", dict, {}),
    )
    if rule.pick not in PICKS:
        raise fields.error("pick", f"is {rule.pick!r}{nearest(rule.pick, PICKS)}")
    fields.done()
    return rule


def _one_for_each_cell(
    study: Study, rule: CheckpointRule, matched: Iterable[Match], problems: list
) -> Iterator[FoundCheckpoint]:
    """Decide between the folders of one cell; matches come sorted, ``checkpoint-9`` before ``checkpoint-10``."""
    by_cell: dict[tuple, list[Match]] = {}
    for match in matched:
        if not holds_weights(study.folder / match.path):
            step = "if training was interrupted, remove the folder; nothing is imported from it"
            problems.append(StudyError("holds no weights", where=match.path, next_step=step))
        elif not is_declared(study, match.levels):
            step = "add the combination to `include`, or take it out of `exclude`"
            what = f"is {describe(match.levels)}, which is not in the grid"
            problems.append(StudyError(what, where=match.path, next_step=step))
        else:
            by_cell.setdefault(tuple(match.levels.items()), []).append(match)
    for candidates in by_cell.values():
        if len(candidates) > 1 and rule.pick == "only":
            problems.append(_several(candidates, rule.rule.key))
            continue
        picked = candidates[-1 if rule.pick == "last" else 0]
        others = tuple(match.path for match in candidates if match is not picked)
        yield FoundCheckpoint(levels=picked.levels, path=picked.path, rule=rule, passed_over=others)


def _several(candidates: list[Match], key: str) -> StudyError:
    paths = [match.path for match in candidates]
    shown = ", ".join(paths[:4]) + (", …" if len(paths) > 4 else "")
    return StudyError(
        f"{len(paths)} folders for the one cell {describe(candidates[0].levels)}: {shown}",
        where=paths[0],
        next_step=f"say which is meant with `pick: last` (or first) in {key}, or let a factor take the step",
    )


def _one_rule_for_each_cell(found: list[FoundCheckpoint], problems: list) -> list[FoundCheckpoint]:
    """Refuse cells that two rules lead to by different paths."""
    by_cell: dict[tuple, list[FoundCheckpoint]] = {}
    for checkpoint in found:
        same = by_cell.setdefault(tuple(checkpoint.levels.items()), [])
        if all(other.path != checkpoint.path for other in same):
            same.append(checkpoint)
    for several in by_cell.values():
        if len(several) > 1:
            candidates = [Match(path=item.path, levels=item.levels) for item in several]
            problems.append(_several(candidates, several[1].rule.rule.key))
    return [several[0] for several in by_cell.values() if len(several) == 1]


def _unexplained(study: Study, rules: list[CheckpointRule], explained: set[str]) -> Iterator[StudyError]:
    """Yield the folders below the rules' fixed parts that look like checkpoints and follow no rule."""
    seen: set[str] = set()
    for rule in rules:
        for path in _checkpoint_folders(study.folder, rule.rule.root):
            if path not in seen and not _lies_in(path, explained):
                seen.add(path)
                why = explain_mismatch(rule.rule, path)
                yield StudyError(f"looks like a checkpoint, but {why}", where=path)


def _lies_in(path: str, folders: set[str]) -> bool:
    """Return whether ``path`` is one of ``folders`` or lies below one."""
    parts = path.split("/")
    return any("/".join(parts[:depth]) in folders for depth in range(1, len(parts) + 1))


def _checkpoint_folders(root: Path, prefix: str) -> Iterator[str]:
    """Yield folders with weights, outermost ones only; symbolic links are not entered."""
    try:
        entries = sorted(os.scandir(root / prefix), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if not entry.is_dir(follow_symlinks=False) or path in _NEVER_SEARCHED:
            continue
        if looks_like_checkpoint(Path(entry.path)):
            yield path
        else:
            yield from _checkpoint_folders(root, path)


def _earlier(study: Study, cell_id: str) -> Cell | None:
    path = cell_folder(study.folder, cell_id) / CELL_FILE
    return read_cell(path) if path.is_file() else None


def _without_artifact(study: Study, have: set[str]) -> Iterator[Levels]:
    if study.artifacts == "results-only":
        return
    for levels in iter_levels(study):
        if is_results_only(study, levels):
            continue
        cell_id = cell_id_of(cell_config(study, levels))
        if cell_id not in have and not (cell_folder(study.folder, cell_id) / CELL_FILE).is_file():
            yield levels
