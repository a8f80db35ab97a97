"""The ``stimuli/`` folder of a dataset: which stimuli there are, and every annotation in stimulus time.

Owns the tables of stimuli and annotations, one events file for each stimulus and annotation (onsets as they were
annotated, never resampled) and one Parquet table for each level. Names come from ``bep044.py``; the cut to runs is
``runs.py``. Format: ``docs/formats/annotations.md``.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.spans import covered_s
from release_kit.bids.annotations.table import Row, annotation_table, table_rows
from release_kit.bids.annotations.tsv import tsv_bytes
from release_kit.bids.recipe.model import AnnotationSource, Recipe, Stimulus
from release_kit.core.canonical import document_bytes
from release_kit.core.errors import StudyError

STIMULUS_COLUMNS = (*bep044.STIMULUS_COLUMNS, "title", "duration", "language", "source")
ANNOTATION_COLUMNS = (
    *bep044.ANNOTATION_COLUMNS,
    "level",
    "annotator_id",
    "language",
    "translated_from",
    "tool",
    "granularity",
    "n_intervals",
    "coverage",
)
FILM = "audiovideo"
"""Type of media that hold pictures and sound."""
EVENT_COLUMNS = ("onset", "duration", "text", "speaker")


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One source of the table (``annot-<id>``): who annotated which level in which language."""

    id: str
    level: str
    annotator: str
    language: str
    rows: tuple[Row, ...]
    translated_from: str | None = None
    """Id of the annotation that this one translates."""
    tool: str | None = None

    @cached_property
    def _by_stimulus(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.stim_id, []).append(row)
        return found

    @property
    def stimuli(self) -> list[str]:
        """The stimuli that it annotates, sorted."""
        return sorted(self._by_stimulus)

    def of(self, stimulus: str) -> list[Row]:
        """Return its rows of one stimulus, in canonical order."""
        return self._by_stimulus.get(stimulus, [])


def annotations_of(table: pa.Table, recipe: Recipe | None = None) -> tuple[Annotation, ...]:
    """Return the annotations of a table, by id, each with its rows in canonical order, whatever that of the table is.

    Raises:
        StudyError: one id stands for several levels, annotators or languages.
    """
    by_id: dict[str, list[Row]] = {}
    for row in sorted(table_rows(table), key=lambda row: (row.stim_id, row.onset_s, row.duration_s)):
        by_id.setdefault(row.annot_id, []).append(row)
    mixed = [name for name, rows in sorted(by_id.items()) if len({_who(row) for row in rows}) > 1]
    if mixed:
        raise StudyError(
            f"one id stands for several levels, annotators or languages: {', '.join(mixed)}",
            next_step="give each annotator, level and language an id of its own",
        )
    sources = {source.id: source for source in recipe.annotations} if recipe else {}
    return tuple(_annotation(name, rows, sources, by_id) for name, rows in sorted(by_id.items()))


def stimuli_files(recipe: Recipe, table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Yield ``(path in the dataset, bytes)`` of ``stimuli/`` without media; equal tables give equal bytes.

    Args:
        recipe: names stimuli, levels and where annotations come from.
        table: every annotation, in any order; rows of one annotation at one time keep theirs.

    Raises:
        StudyError: an annotation of a stimulus that the recipe does not have, or an id that is not one source.
    """
    _refuse_unknown_stimuli(recipe, table)
    annotations = annotations_of(table, recipe)
    yield from _stimulus_tables(recipe)
    if not annotations:
        return
    yield from _annotation_tables(recipe, annotations)
    for annotation in annotations:
        yield from _events_files(annotation)
    for level in sorted({annotation.level for annotation in annotations}):
        rows = [row for annotation in annotations if annotation.level == level for row in annotation.rows]
        yield bep044.level_table_path(level), parquet_bytes(annotation_table(rows))


def stimulus_media(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    """Yield ``(path in the dataset, file)`` of the media that the recipe names, for copying as they are."""
    for label, stimulus in sorted(recipe.stimuli.items()):
        if stimulus.file is not None:
            path = recipe.root / stimulus.file
            yield bep044.media_path(label, _media_type(stimulus) or FILM, path.suffix.lower()), path


def parquet_bytes(table: pa.Table) -> bytes:
    """Return ``table`` as Parquet; equal tables give equal bytes with one version of pyarrow."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6", store_schema=True)
    return sink.getvalue().to_pybytes()


def describe(annotation: Annotation) -> str:
    """Return an annotation in words: ``story by A01 in en``."""
    return f"{annotation.level} by {annotation.annotator} in {annotation.language}"


def _who(row: Row) -> tuple[str, str, str]:
    return row.level, row.annotator, row.language


def _annotation(name: str, rows: list[Row], sources: Mapping[str, AnnotationSource], ids: Container[str]) -> Annotation:
    """Where one file holds several annotators, their ids begin with the id of the source; so do those translated."""
    begins = [source for key, source in sources.items() if name.startswith(key)]
    source = sources.get(name) or max(begins, key=lambda source: len(source.id), default=None)
    origin = source.translated_from if source else None
    if source and origin and (whole := origin + name.removeprefix(source.id)) in ids:
        origin = whole
    level, annotator, language = _who(rows[0])
    return Annotation(
        id=name,
        level=level,
        annotator=annotator,
        language=language,
        rows=tuple(rows),
        translated_from=origin,
        tool=source.tool if source else None,
    )


def _refuse_unknown_stimuli(recipe: Recipe, table: pa.Table) -> None:
    unknown = sorted(set(table["stim_id"].unique().to_pylist()) - set(recipe.stimuli))
    if unknown:
        raise StudyError(
            f"there are annotations of stimuli that the recipe does not declare: {', '.join(unknown)}",
            next_step=f"declare them under `stimuli`; it has {', '.join(sorted(recipe.stimuli)) or 'none'}",
        )


def _stimulus_tables(recipe: Recipe) -> Iterator[tuple[str, bytes]]:
    stimuli = [stimulus for _, stimulus in sorted(recipe.stimuli.items())]
    if not stimuli:
        return
    taken = set(STIMULUS_COLUMNS)
    extra = sorted({name for stimulus in stimuli for name in stimulus.columns} - taken)
    rows = [[*_stimulus_row(stimulus), *(stimulus.columns.get(name) for name in extra)] for stimulus in stimuli]
    yield bep044.STIMULI_TABLE, tsv_bytes((*STIMULUS_COLUMNS, *extra), rows)
    described = {name: {"Description": f"{name} of the stimulus, as the study gives it"} for name in extra}
    yield bep044.STIMULI_SIDECAR, document_bytes({**_STIMULUS_SIDECAR, **described})


def _stimulus_row(stimulus: Stimulus) -> tuple[Any, ...]:
    described = stimulus.columns.get("description")
    return (
        bep044.stimulus_id(stimulus.label),
        _media_type(stimulus),
        stimulus.url,
        stimulus.license,
        stimulus.copyright,
        described if described is None else str(described),
        stimulus.file is not None,
        stimulus.title,
        stimulus.duration_s,
        stimulus.language,
        stimulus.source,
    )


def _media_type(stimulus: Stimulus) -> str | None:
    """The type that the recipe gives; else what the extension leaves no doubt about, a film where it does.

    None where there is no file: nothing says what is shown.
    """
    declared = stimulus.columns.get("type")
    if declared in bep044.MEDIA:
        return str(declared)
    if stimulus.file is None:
        return None
    extension = Path(stimulus.file).suffix.lower()
    possible = [kind for kind, extensions in bep044.MEDIA.items() if extension in extensions]
    return possible[0] if len(possible) == 1 else FILM


def _annotation_tables(recipe: Recipe, annotations: Iterable[Annotation]) -> Iterator[tuple[str, bytes]]:
    yield bep044.ANNOTATIONS_TABLE, tsv_bytes(ANNOTATION_COLUMNS, [_annotation_row(recipe, a) for a in annotations])
    yield bep044.ANNOTATIONS_SIDECAR, document_bytes(_annotation_sidecar(recipe, annotations))


def _annotation_row(recipe: Recipe, annotation: Annotation) -> tuple[Any, ...]:
    level = recipe.levels.get(annotation.level)
    length = covered = 0.0
    for name in annotation.stimuli:
        lasts = recipe.stimuli[name].duration_s
        length += lasts
        covered += covered_s((row for row in annotation.of(name) if row.text is not None), 0.0, lasts)
    return (
        annotation.id,
        describe(annotation),
        annotation.level,
        annotation.annotator,
        annotation.language,
        annotation.translated_from,
        annotation.tool,
        level and level.granularity,
        len(annotation.rows),
        round(covered / length, 4) if length else None,
    )


def _annotation_sidecar(recipe: Recipe, annotations: Iterable[Annotation]) -> dict[str, Any]:
    names = sorted({annotation.level for annotation in annotations})
    levels = {name: recipe.levels[name].description if name in recipe.levels else name for name in names}
    return {**_ANNOTATION_SIDECAR, "level": {"Description": "Semantic level that is annotated", "Levels": levels}}


def _events_files(annotation: Annotation) -> Iterator[tuple[str, bytes]]:
    for stim_id in annotation.stimuli:
        values = ((row.onset_s, row.duration_s, row.text, row.speaker) for row in annotation.of(stim_id))
        yield bep044.annotation_path(stim_id, annotation.id), tsv_bytes(EVENT_COLUMNS, values)
        yield bep044.annotation_path(stim_id, annotation.id, ".json"), document_bytes(event_sidecar(annotation))


def event_sidecar(annotation: Annotation) -> dict[str, Any]:
    """Return what the sidecar of an annotation says: its columns, and who annotated what."""
    facts = {
        "AnnotationLevel": annotation.level,
        "Annotator": annotation.annotator,
        "Language": annotation.language,
        "TranslatedFrom": annotation.translated_from,
        "Tool": annotation.tool,
    }
    return {**_EVENT_SIDECAR, **{key: value for key, value in facts.items() if value is not None}}


_STIMULUS_SIDECAR = {
    "stimulus_id": {"Description": "Identifier of the stimulus; stim_id of events files"},
    "type": {"Description": "Kind of stimulus", "Levels": {name: name for name in bep044.MEDIA}},
    "URL": {"Description": "Where the stimulus can be had"},
    "license": {"Description": "Licence of the stimulus, which need not be that of the dataset"},
    "copyright": {"Description": "Who holds the rights"},
    "description": {"Description": "What the stimulus is"},
    "present": {"Description": "Whether the media file is in this dataset", "Levels": {"true": "yes", "false": "no"}},
    "title": {"Description": "Title of the film or episode"},
    "duration": {"Description": "Length of the stimulus", "Units": "s"},
    "language": {"Description": "Language that is heard"},
    "source": {"Description": "Edition that was shown"},
}  # fmt: skip

_ANNOTATION_SIDECAR = {
    "annot_id": {"Description": "Label of the annotation in file names: annot-<annot_id>"},
    "description": {"Description": "The annotation in words"},
    "annotator_id": {"Description": "Pseudonym of the annotator"},
    "language": {"Description": "Language of the text"},
    "translated_from": {"Description": "annot_id of the annotation that this one translates"},
    "tool": {"Description": "Tool that made or translated the text"},
    "granularity": {"Description": "How often the level is annotated"},
    "n_intervals": {"Description": "Number of annotated intervals over all stimuli"},
    "coverage": {"Description": "Share of the annotated stimuli's time that has a text, from 0 to 1"},
}

_EVENT_SIDECAR = {
    "onset": {"Description": "Begin of the interval in the time of the stimulus", "Units": "s"},
    "duration": {"Description": "Length of the interval", "Units": "s"},
    "text": {
        "Description": "What was annotated; \\t, \\n, \\r, \\\\ and \\uXXXX are written for what a table cannot hold"
    },
    "speaker": {"Description": "Who speaks, where the level is speech"},
}
