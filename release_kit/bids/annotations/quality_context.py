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
from release_kit.bids.annotations.stimuli import Annotation, annotations_of
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.recipe.model import Recipe, Run
from release_kit.core.canonical import read_json
from release_kit.core.errors import RecordError


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
    described = read_json(folder / "dataset_description.json")
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
    origins = {row["annot_id"]: row.get("translated_from") for row in _table(folder / bep044.ANNOTATIONS_TABLE)}
    annotations = annotations_of(table)
    return Context(
        name=str(described.get("Name", folder.name)),
        stimuli=stimuli,
        annotations=tuple(replace(a, translated_from=origins.get(a.id)) for a in annotations),
        files=tuple(_dataset_files(folder, annotations)),
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
    for row in _table(folder / bep044.STIMULI_TABLE):
        label = bep044.stimulus_label(row[bep044.STIMULUS_ID] or "")
        duration = _seconds(row.get("duration"))
        found.add(label)
        yield StimulusFacts(label=label, title=row.get("title") or row.get("description") or label, duration_s=duration)
    for label in sorted(set(table["stim_id"].unique().to_pylist()) - found):
        yield StimulusFacts(label=label, title=label, duration_s=None)


def _dataset_spans(folder: Path) -> Iterator[tuple[str, set[tuple[str, float, float, float]]]]:
    spans: dict[str, set[tuple[str, float, float, float]]] = {}
    for path in sorted(
        itertools.chain(folder.glob("sub-*/func/*_events.tsv"), folder.glob("sub-*/ses-*/func/*_events.tsv"))
    ):
        rows = [row for row in _table(path) if row.get(bep044.EVENT_STIMULUS_ID)]
        repeated = {row["stim_id"]: _seconds(row.get("duration")) for row in rows if row.get("trial_type") == "overlap"}
        for row in rows:
            begin, end = _seconds(row.get("stim_start")), _seconds(row.get("stim_end"))
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
                rows = tuple(_timed_row(annotation, stim_id, row) for row in _table(path))
                yield FileRows(annotation=annotation.id, stimulus=stim_id, path=path, rows=rows)


def _timed_row(annotation: Annotation, stim_id: str, row: dict[str, str | None]) -> Row:
    return Row(
        stim_id=stim_id,
        onset_s=_seconds(row.get("onset")) or 0.0,
        duration_s=_seconds(row.get("duration")) or 0.0,
        level=annotation.level,
        annotator=annotation.annotator,
        language=annotation.language,
        annot_id=annotation.id,
        text=row.get("text"),
        speaker=row.get("speaker"),
    )


def _run_of(path: Path) -> str:
    parts = dict(part.split("-", 1) for part in path.name.split("_") if "-" in part)
    return (
        f"{parts.get('task', '?')} run {int(parts['run'])}"
        if parts.get("run", "").isdigit()
        else parts.get("task", "?")
    )


def _table(path: Path) -> list[dict[str, str | None]]:
    if not path.is_file():
        return []
    header, rows = parse_tsv(path.read_bytes(), str(path))
    return [dict(zip(header, row, strict=True)) for row in rows]


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise RecordError(f"{text!r} is not a number of seconds", where="duration") from error
