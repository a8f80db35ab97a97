"""Writes a first recipe for a folder: what can be told from names and headers, with comments that say what was guessed.

What only a person knows says ``FILL IN``; ``bids check`` names every such place until it is filled in. Looking is
``look.py``'s, names ``guess_names.py``'s, the parts of annotations and DICOM ``draft_sources.py``'s.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.draft_sources import anatomy_lines, annotation_lines, derivative_lines, dicom_runs
from release_kit.bids.recipe.guess_names import NameGuess, common_pattern, guess_name, guess_sources, label, most_common
from release_kit.bids.recipe.look import Found, look
from release_kit.core.errors import StudyError
from release_kit.core.grammar.values import FILL_IN


@dataclass(frozen=True, kw_only=True)
class RunGuess:
    """One run as several subjects have it; None is not known."""

    session: str | None
    task: str
    run: int
    pattern: str
    kind: str
    n_volumes: int | None
    tr_s: float | None
    options: tuple[tuple[str, Any], ...] = ()
    lacking: tuple[str, ...] = ()
    """Source names without it."""
    note: str = ""


def draft_recipe(folder: Path, *, recipe_folder: Path | None = None) -> str:
    """Return the YAML text of a first recipe for the recordings and annotations in ``folder``.

    Args:
        folder: where they lie.
        recipe_folder: where the recipe will lie; ``sources`` leads from there to ``folder``. ``folder`` itself if None.

    Raises:
        StudyError: there is no such folder, or no functional recording in it.
    """
    found = look(folder)
    paths = [image.path for image in (*found.functional, *found.anatomical)] + [f"{one.path}/x" for one in found.dicom]
    sources = guess_sources(paths)
    runs = [*_runs(found, sources), *(RunGuess(**run) for run in dicom_runs(found, sources))]
    if not runs:
        what = (
            "there is no series of volumes here (NIfTI with a fourth dimension, single volumes by the dozen, or DICOM)"
        )
        unread = f"; {len(found.unread)} could not be read, the first: {found.unread[0]}" if found.unread else ""
        raise StudyError(what + unread, where=str(folder), next_step="name the folder of the recordings")
    labels = _labels(sources or ["unknown"])
    lines = [*_head(found, folder, recipe_folder), *_subjects(labels, sources), *_tasks(runs), *_stimuli(runs)]
    lines += [*_defaults(runs), *_run_lines(runs, labels), *anatomy_lines(found, sources)]
    lines += [
        *annotation_lines(found, sorted({run.task for run in runs})),
        *derivative_lines(found, sources),
        *_tail(found),
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Return text as YAML that is read back as the same text."""
    return json.dumps(text, ensure_ascii=False)


def key_text(label: str) -> str:
    """Return a label as YAML, in quotes only where it would be read as a number or a truth value."""
    plain = label[:1].isalpha() and label.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    return label if plain else quoted(label)


def _head(found: Found, folder: Path, recipe_folder: Path | None) -> list[str]:
    import os

    lines = [
        "# A first recipe, written by looking at file names and headers. Guesses have a comment; what nobody can guess",
        f"# says {FILL_IN}. `release-kit bids check` names what is left. Format: docs/formats/recipe.md",
        "schema_version: 1",
        "dataset:",
        f'  name: "{FILL_IN}"',
        '  version: "1.0.0"',
        f'  authors: ["{FILL_IN}"]',
        f'  license: "{FILL_IN}"  # an SPDX identifier, as in CC0-1.0',
        f'  description: "{FILL_IN}: what was done, in a few sentences"',
        f'  ethics_approvals: ["{FILL_IN}"]',
    ]
    if recipe_folder is not None and recipe_folder.resolve() != folder.resolve():
        relative = os.path.relpath(folder.resolve(), recipe_folder.resolve())
        lines.append(f"sources: {quoted(Path(relative).as_posix())}  # from the recipe to recordings and annotations")
    return lines


def _labels(sources: list[str]) -> dict[str, str]:
    """Return name in the lab → pseudonym, which is a number in the order of the names."""
    return {source: f"{number:02d}" for number, source in enumerate(sources, start=1)}


def _subjects(labels: dict[str, str], sources: list[str]) -> list[str]:
    lines = ["subjects:  # guessed from names; label → name in the lab. Further keys are columns of participants.tsv"]
    for source, name in labels.items():
        shown = quoted(source) if sources else f'"{FILL_IN}"'
        lines.append(f'  "{name}": {{source: {shown}}}  # age: 28, sex: F, handedness: right')
    return lines


def _runs(found: Found, sources: list[str]) -> list[RunGuess]:
    groups: dict[tuple, list[tuple[NameGuess, Any]]] = defaultdict(list)
    for image in found.functional:
        guess = guess_name(image.path, sources)
        groups[guess.session, label(guess.task, "task"), guess.run or 1, image.kind].append((guess, image))
    return [_run(key, members, sources) for key, members in sorted(groups.items(), key=lambda pair: _order(pair[0]))]


def _order(key: tuple) -> tuple:
    return (key[1], key[0] or "", key[2])


def _run(key: tuple, members: list, sources: list[str]) -> RunGuess:
    session, task, run, kind = key
    patterns = [_literal_task(guess, task) for guess, _ in members]
    pattern = common_pattern(patterns) or str(most_common(patterns))
    lengths = [image.facts.n_volumes if kind == "nifti" else image.n_files for _, image in members]
    notes = []
    if len(set(lengths)) > 1:
        notes.append(f"lengths differ: {', '.join(f'{n} volumes' for n in sorted(set(lengths)))}")
    having = Counter(guess.source for guess, _ in members)
    if doubled := [source for source, n in having.items() if n > 1]:
        notes.append(f"more than one file for {', '.join(map(str, doubled))}")
    tr_s = most_common(image.facts.tr_s for _, image in members)
    return RunGuess(
        session=session,
        task=task,
        run=run,
        pattern=pattern,
        kind=kind,
        n_volumes=min(lengths),
        tr_s=_in_seconds(tr_s) if isinstance(tr_s, float) else None,
        lacking=tuple(source for source in sources if source not in having) if sources else (),
        note="; ".join(notes),
    )


def _literal_task(guess: NameGuess, task: str) -> str:
    """A task whose text in the name is no label cannot be filled in from the label: it stays as it is written."""
    return guess.pattern if guess.task == task else guess.pattern.replace("{task}", guess.task)


def _in_seconds(tr_s: float) -> float:
    return tr_s / 1000 if tr_s > 100 else tr_s


def _tasks(runs: list[RunGuess]) -> list[str]:
    lines = ["tasks:  # guessed from names"]
    tasks = dict.fromkeys(run.task for run in runs)
    return lines + [f'  {key_text(task)}: {{name: {quoted(task)}, description: "{FILL_IN}"}}' for task in tasks]


def _shows(run: RunGuess) -> bool:
    return not run.task.lower().startswith("rest")


def _stimuli(runs: list[RunGuess]) -> list[str]:
    tasks = dict.fromkeys(run.task for run in runs if _shows(run))
    if not tasks:
        return []
    lines = ["stimuli:  # guessed: one for each task, as long as its runs together (less the overlaps you declare)"]
    for task in tasks:
        spans = [_seconds(run) for run in _once(runs, task)]
        total = f"{sum(span for span in spans if span):g}" if all(spans) else f'"{FILL_IN}"'
        name = key_text(task)
        lines.append(f'  {name}: {{title: "{FILL_IN}", duration_s: {total}}}')
    return lines


def _once(runs: list[RunGuess], task: str) -> list[RunGuess]:
    """The runs of a task in its first session that has them; later sessions show it again."""
    return list({run.run: run for run in reversed([one for one in runs if one.task == task])}.values())


def _seconds(run: RunGuess) -> float | None:
    return None if run.n_volumes is None or run.tr_s is None else round(run.n_volumes * run.tr_s, 6)


def _defaults(runs: list[RunGuess]) -> list[str]:
    pattern, kind, tr_s = (most_common(getattr(run, name) for run in runs) for name in ("pattern", "kind", "tr_s"))
    source = "guessed from headers" if tr_s else "no header says it"
    return [
        "recordings:  # what holds for every run that does not say otherwise",
        f"  pattern: {quoted(str(pattern))}  # guessed from names",
        f"  kind: {kind}",
        f"  tr_s: {tr_s:g}  # {source}" if isinstance(tr_s, float) else f'  tr_s: "{FILL_IN}"  # {source}',
        "  overlap_s: 0  # seconds at the start of a part that the part before it showed already; say what it was",
        "  dummy_scans: 0  # volumes before the stimulus that are to be dropped",
    ]


def _run_lines(runs: list[RunGuess], labels: dict[str, str]) -> list[str]:
    pattern, kind, tr_s = (most_common(getattr(run, name) for run in runs) for name in ("pattern", "kind", "tr_s"))
    lines = ["runs:  # spans are guessed: parts follow one another, each as long as its recording"]
    for run in runs:
        parts = [f"task: {key_text(run.task)}", f"run: {run.run}"]
        if run.session is not None:
            parts.append(f"session: {quoted(label(run.session, '1'))}")
        if _shows(run):
            seconds = _seconds(run)
            shown = f"{seconds:g}" if seconds else f'"{FILL_IN}"'
            stimulus = key_text(run.task)
            parts.append(f"shows: {{stimulus: {stimulus}, duration_s: {shown}}}")
        if run.pattern != pattern:
            parts.append(f"pattern: {quoted(run.pattern)}")
        if run.kind != kind:
            parts.append(f"kind: {run.kind}")
        if run.tr_s != tr_s and run.tr_s is not None:
            parts.append(f"tr_s: {run.tr_s:g}")
        if run.options:
            parts.append(f"options: {json.dumps(dict(run.options), ensure_ascii=False)}")
        if run.lacking:
            reasons = ", ".join(f'"{labels[source]}": "{FILL_IN}: why"' for source in run.lacking)
            parts.append(f"missing: {{{reasons}}}")
        lines.append(f"  - {{{', '.join(parts)}}}" + (f"  # {run.note}" if run.note else ""))
    return lines


def _tail(found: Found) -> list[str]:
    lines = [
        "sidecars:  # what headers do not know",
        f'  bold: {{Manufacturer: "{FILL_IN}", MagneticFieldStrength: "{FILL_IN}"}}',
        "privacy:",
        "  shift_key: private/shift.key  # made on conversion; keep it outside the dataset",
    ]
    if found.unread:
        lines += ["# Could not be read:", *(f"#   {sentence}" for sentence in found.unread[:20])]
        if len(found.unread) > 20:
            lines.append(f"#   and {len(found.unread) - 20} more")
    return lines
