"""What annotations are held against: lengths of stimuli, spans of runs, translations, and files in their own order.

The same record from a recipe and from a dataset on disk, ours or anybody's that follows the stimulus proposal.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.quality_records import StimulusFacts
from release_kit.bids.annotations.reread import absent_annotations, is_here
from release_kit.bids.annotations.stimuli import Annotation, annotations_of
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.times import parse_number
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.recipe.model import Recipe, Run
from release_kit.core.canonical import read_json
from release_kit.core.errors import RecordError
from release_kit.core.records import Fields
from release_kit.core.wording import printable

DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True, kw_only=True)
class FileRows:
    """The rows of one annotation in one file, in the file's order; ``run`` when the file is on the clock of a run."""

    annotation: str
    stimulus: str
    path: Path
    rows: tuple[Row, ...]
    run: Run | None = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything that a report needs beside the table."""

    name: str
    stimuli: dict[str, StimulusFacts]
    annotations: tuple[Annotation, ...]
    files: tuple[FileRows, ...] = ()
    excused: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    """(annotation, stimulus) that the recipe says are missing, with a reason."""
    absent: tuple[str, ...] = ()
    """Annotation files of a dataset whose content is not on this machine."""


def recipe_context(recipe: Recipe, table: pa.Table) -> Context:
    """Return the context of a recipe; files that lie where the recipe says are read again, for their order."""
    stimuli = {
        label: StimulusFacts(
            label=label,
            title=stimulus.title,
            duration_s=stimulus.duration_s,
            runs=tuple(sorted({span for span in _recipe_spans(recipe, label)}, key=lambda span: (span[1], span[0]))),
        )
        for label, stimulus in sorted(recipe.stimuli.items())
    }
    for label in sorted(set(table["stim_id"].unique().to_pylist()) - set(stimuli)):
        stimuli[label] = StimulusFacts(label=label, title=label, duration_s=None)
    annotations = annotations_of(table, recipe)
    known = {source.id for source in recipe.annotations}
    excused = {
        (annotation.id, name)
        for source in recipe.annotations
        for annotation in annotations
        for name in source.missing
        if annotation.id == source.id or (annotation.id not in known and annotation.id.startswith(source.id))
    }
    return Context(
        name=recipe.dataset.name,
        stimuli=stimuli,
        annotations=annotations,
        files=tuple(_recipe_files(recipe)),
        excused=frozenset(excused),
    )


def dataset_context(folder: Path, table: pa.Table) -> Context:
    """Return the context of a dataset: its ``stimuli/`` tables and the events of its runs.

    Raises:
        RecordError: a table of the dataset cannot be read.
    """
    described = Fields(read_json(folder / DESCRIPTION), str(folder / DESCRIPTION))
    runs = dict(_dataset_spans(folder))
    stimuli = {
        facts.label: StimulusFacts(
            label=facts.label,
            title=facts.title,
            duration_s=facts.duration_s,
            runs=tuple(sorted(runs.get(facts.label, ()), key=lambda span: (span[1], span[0]))),
        )
        for facts in _dataset_stimuli(folder, table)
    }
    listed = _table(folder / bep044.ANNOTATIONS_TABLE, bep044.ANNOTATION_ID)
    origins = {row[bep044.ANNOTATION_ID]: row.get("translated_from") for row in listed}
    annotations = annotations_of(table)
    return Context(
        name=printable(described.take("Name", str, folder.name)),
        stimuli=stimuli,
        annotations=tuple(replace(a, translated_from=origins.get(a.id)) for a in annotations),
        files=tuple(_dataset_files(folder, annotations)),
        absent=tuple(absent_annotations(folder)),
    )


def _recipe_spans(recipe: Recipe, label: str) -> Iterator[tuple[str, float, float, float]]:
    for run in recipe.runs:
        if run.shows is not None and run.shows.stimulus == label:
            yield run_name(run), run.shows.start_s, run.shows.end_s, run.shows.overlap_s


def run_name(run: Run) -> str:
    """Return how reports name a run: ``film run 2``."""
    return f"{run.task} run {run.run}"


def _recipe_files(recipe: Recipe) -> Iterator[FileRows]:
    """A file with several annotators gives one entry for each."""
    from release_kit.bids.annotations.read import read_rows
    from release_kit.bids.recipe.read import annotation_files

    for source in recipe.annotations:
        for file in annotation_files(recipe, source):
            if file.path.is_file():
                rows = read_rows(file.path, source, file.stimulus, file.run)
                by_id: dict[str, list[Row]] = {}
                for row in rows:
                    by_id.setdefault(row.annot_id, []).append(row)
                run = file.run if source.clock == "run" else None
                for name, own in by_id.items():
                    yield FileRows(
                        annotation=name, stimulus=file.stimulus.label, path=file.path, rows=tuple(own), run=run
                    )


def _dataset_stimuli(folder: Path, table: pa.Table) -> Iterator[StimulusFacts]:
    found = set()
    path = folder / bep044.STIMULI_TABLE
    for row in _table(path, bep044.STIMULUS_ID):
        label = bep044.stimulus_label(row[bep044.STIMULUS_ID] or "")
        duration = _seconds(row.get("duration"), path)
        if duration is not None and duration < 0:
            raise RecordError(f"{label!r} lasts {duration:g} s", where=str(path), next_step="write n/a, or its length")
        found.add(label)
        title = row.get("title") or row.get("description") or label
        yield StimulusFacts(label=label, title=title, duration_s=duration or None)
    for label in sorted(set(table["stim_id"].unique().to_pylist()) - found):
        yield StimulusFacts(label=label, title=label, duration_s=None)


def _dataset_spans(folder: Path) -> Iterator[tuple[str, set[tuple[str, float, float, float]]]]:
    spans: dict[str, set[tuple[str, float, float, float]]] = {}
    for path in sorted(
        itertools.chain(folder.glob("sub-*/func/*_events.tsv"), folder.glob("sub-*/ses-*/func/*_events.tsv"))
    ):
        rows = [row for row in _table(path, escapes=False) if row.get(bep044.EVENT_STIMULUS_ID)]
        overlaps = (row for row in rows if row.get("trial_type") == "overlap")
        repeated = {row["stim_id"]: _seconds(row.get("duration"), path) for row in overlaps}
        for row in rows:
            begin, end = (_seconds(row.get(name), path) for name in ("stim_start", "stim_end"))
            if row.get("trial_type") == "stimulus" and begin is not None and end is not None:
                label = bep044.stimulus_label(str(row["stim_id"]))
                spans.setdefault(label, set()).add((_run_of(path), begin, end, repeated.get(row["stim_id"]) or 0.0))
    yield from spans.items()


def _dataset_files(folder: Path, annotations: tuple[Annotation, ...]) -> Iterator[FileRows]:
    """Onsets as they stand in the files of ``stimuli/``; what else a row says is in the table."""
    for annotation in annotations:
        for stim_id in annotation.stimuli:
            path = folder / bep044.annotation_path(stim_id, annotation.id)
            if path.is_file():
                rows = tuple(_timed_row(annotation, stim_id, row, path) for row in _table(path))
                yield FileRows(annotation=annotation.id, stimulus=stim_id, path=path, rows=rows)


def _timed_row(annotation: Annotation, stim_id: str, row: dict[str, str | None], path: Path) -> Row:
    return Row(
        stim_id=stim_id,
        onset_s=_seconds(row.get("onset"), path) or 0.0,
        duration_s=_seconds(row.get("duration"), path) or 0.0,
        level=annotation.level,
        annotator=annotation.annotator,
        language=annotation.language,
        annot_id=annotation.id,
        text=row.get("text"),
        speaker=row.get("speaker"),
    )


def _run_of(path: Path) -> str:
    parts = dict(part.split("-", 1) for part in path.name.split("_") if "-" in part)
    task, run = parts.get("task", "?"), parts.get("run", "")
    return f"{task} run {int(run)}" if run.isdecimal() else task


def _table(path: Path, key: str | None = None, *, escapes: bool = True) -> list[dict[str, str | None]]:
    """Rows of a table, none where it is not here; ``key`` is a column that it must have."""
    if not is_here(path):
        return []
    header, rows = parse_tsv(path.read_bytes(), str(path), escapes=escapes)
    if key is not None and key not in header:
        raise RecordError(f"lacks the column {key}", where=str(path))
    return [dict(zip(header, row, strict=True)) for row in rows]


def _seconds(text: str | None, where: Path) -> float | None:
    try:
        return None if text is None else float(parse_number(text))
    except ValueError as error:
        raise RecordError(f"{text!r} is not a number of seconds", where=str(where)) from error
