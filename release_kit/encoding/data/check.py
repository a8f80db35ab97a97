"""What keeps a dataset from being analysed, found before anything is computed: headers, masks, levels, lengths.

Every problem of every subject and run is returned at once; no voxel is read.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from release_kit.bids.annotations.bep044 import ANNOTATIONS_TABLE
from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem
from release_kit.bids.annotations.tokens import is_placeholder
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.validate.survey import parse_name
from release_kit.core.errors import ReleaseKitError
from release_kit.encoding.data.layout import Dataset
from release_kit.encoding.data.problems import DataProblem, problems_of
from release_kit.encoding.data.runs import EDGE_S, RunInfo


def check_dataset(
    dataset: Dataset,
    *,
    subjects: Iterable[str] | None = None,
    levels: Iterable[tuple[str, str | None]] = (),
    leave_out: Iterable[str] = (),
) -> tuple[DataProblem, ...]:
    """Return everything that keeps these subjects and levels from being analysed.

    Args:
        dataset: an opened dataset.
        subjects: None: all that there are.
        levels: (level, language) that features are made of; a language of None is any.
        leave_out: stimuli or runs that are not used, so that they may lack a level.

    Returns:
        Problems by subject and run: unreadable headers, masks of another shape, different TRs, unreadable annotations,
        a run for which a level has not one word.
    """
    problems: list[DataProblem] = []
    known: dict[str, RunInfo] = {}
    everybody: list[RunInfo] = []
    for subject in dataset.subjects if subjects is None else subjects:
        try:
            runs = dataset.runs(subject)
        except ReleaseKitError as error:
            problems += problems_of(error, subject)
            continue
        try:
            dataset.mask(subject)
        except ReleaseKitError as error:
            problems += problems_of(error, subject)
        used = [run for run in runs if not {run.stim_id, run.title, run.task, run.name} & set(leave_out)]
        everybody += used
        known.update({run.name: run for run in used})
    problems += _check_trs(everybody)
    if wanted := list(dict.fromkeys(levels)):
        problems += _check_levels(dataset, tuple(known.values()), wanted)
    return tuple(problems)


def _check_trs(runs: Sequence[RunInfo]) -> list[DataProblem]:
    counts: dict[float, int] = {}
    for run in runs:
        counts[run.tr_s] = counts.get(run.tr_s, 0) + 1
    if len(counts) < 2:
        return []
    usual = max(counts, key=lambda tr_s: (counts[tr_s], -tr_s))
    return [
        DataProblem(
            subject=run.subject,
            run=run.name,
            what=f"its TR is {run.tr_s:g} s, that of the other runs {usual:g} s",
            next_step="analyse runs of one TR, or resample them",
        )
        for run in runs
        if run.tr_s != usual
    ]


def _check_levels(
    dataset: Dataset, runs: Sequence[RunInfo], levels: Sequence[tuple[str, str | None]]
) -> list[DataProblem]:
    try:
        table = dataset.annotations().select(["stim_id", "onset_s", "duration_s", "level", "language", "text"])
    except AnnotationError as error:
        files: dict[str, list[AnnotationProblem]] = {}
        for each in error.problems:
            files.setdefault(each.path, []).append(each)
        return [_of_annotation(dataset, runs, found) for found in files.values()]
    except ReleaseKitError as error:
        return problems_of(error, None)
    spans: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in table.to_pylist():
        if row["text"] and not is_placeholder(row["text"]):
            key = (row["stim_id"], row["level"], row["language"])
            spans.setdefault(key, []).append((row["onset_s"], row["onset_s"] + row["duration_s"]))
    problems = []
    for level, language in levels:
        what = f"level {level!r}" + (f" in {language!r}" if language else "")
        there = {(has, spoken) for _, has, spoken in spans}
        if not any(has == level and language in (None, spoken) for has, spoken in there):
            listed = ", ".join(sorted(f"{has} ({spoken})" for has, spoken in there))
            problems.append(DataProblem(what=f"no annotation of {what} is here; there are: {listed or 'none'}"))
            continue
        for run in runs:
            shown = [
                span
                for (stimulus, has, spoken), found in spans.items()
                if (stimulus, has) == (run.stim_id, level) and language in (None, spoken)
                for span in found
            ]
            if not any(begin < run.stim_end_s and max(end, begin + EDGE_S) > run.stim_start_s for begin, end in shown):
                text = f"has no annotation of {what} ({run.stim_id}, {run.stim_start_s:g} to {run.stim_end_s:g} s)"
                problems.append(
                    DataProblem(run=run.name, what=text, next_step="get the level for it, or leave the run out")
                )
    return problems


def _of_annotation(dataset: Dataset, runs: Sequence[RunInfo], found: Sequence[AnnotationProblem]) -> DataProblem:
    """Return what is wrong with a file of annotations, with its level and the runs that show its stimulus."""
    problem = found[0]
    names = parse_name(Path(problem.path).name)[0]
    level = _level_of(dataset.root, names.get("annot") or names.get("desc") or "")
    shown = [run.name for run in runs if run.stim_id == names.get("stim") or run.task == names.get("task")]
    place = Path(problem.path)
    path = place.relative_to(dataset.root).as_posix() if place.is_relative_to(dataset.root) else problem.path
    line = "" if problem.line is None else f", line {problem.line}"
    more = f" (and {len(found) - 1:,} more of it)" if len(found) > 1 else ""
    what = f"{f'level {level!r}, ' if level else ''}{path}{line}: {problem.what}{more}"
    return DataProblem(run=", ".join(dict.fromkeys(shown)) or None, what=what, next_step="correct the file")


def _level_of(root: Path, annot_id: str) -> str | None:
    """Return the level of an annotation by ``stimuli/annotations.tsv``; None where it does not say."""
    try:
        header, rows = parse_tsv((root / ANNOTATIONS_TABLE).read_bytes(), ANNOTATIONS_TABLE)
        found = [dict(zip(header, row, strict=True)) for row in rows]
        return next((row.get("level") for row in found if row.get("annot_id") == annot_id), None)
    except (OSError, ReleaseKitError):
        return None
