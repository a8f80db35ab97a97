"""Annotations cut to runs: run time for analyses, stimulus time beside it so that nothing is lost.

Owns the cut, its inverse, and ``derivatives/annotations``: one subject-free events file for each run and annotation,
which every subject inherits. ``join_cuts`` of the cuts of all runs is the table again, where the runs cover it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from release_kit import __version__
from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.stimuli import Annotation, annotations_of, describe, event_sidecar
from release_kit.bids.annotations.table import Row, annotation_table, table_rows
from release_kit.bids.annotations.tsv import tsv_bytes
from release_kit.bids.recipe.model import Recipe, Run, Shown
from release_kit.bids.schema import BIDS_VERSION, bids_name
from release_kit.core.canonical import document_bytes
from release_kit.core.errors import StudyError

FOLDER = "derivatives/annotations"
COLUMNS = ("onset", "duration", "text", "speaker", "stim_id", "stim_onset", "stim_duration", "overlap", "cut")
CUTS = ("none", "start", "end", "both")
"""Which ends of an annotation lie outside the run's span."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutRow:
    """The part of one annotation that a run shows.

    ``onset_s`` and ``duration_s`` are run time, clipped to the run's span; ``row`` is the whole annotation in stimulus
    time, exactly as annotated.
    """

    onset_s: float
    duration_s: float
    overlap: bool
    """It lies, wholly or in part, in the first seconds that the run before showed already."""
    cut: str
    row: Row


def cut_to_run(table: pa.Table, shows: Shown) -> list[CutRow]:
    """Return the annotations of the stimulus that a run shows, in run time, in the table's order.

    An annotation belongs to the run when a part of it lies in ``[start_s, end_s)``; a point belongs when it does.
    Run time is ``onset_s + (t - start_s)``.

    Args:
        table: annotations with the schema of ``table.py``, of any stimuli.
        shows: the span.
    """
    return cut_rows((row for row in table_rows(table) if row.stim_id == shows.stimulus), shows)


def cut_rows(rows: Iterable[Row], shows: Shown) -> list[CutRow]:
    """Return ``cut_to_run`` of rows that are of the stimulus shown."""
    return [_cut(row, shows) for row in rows if _is_shown(row, shows)]


def join_cuts(cuts: Iterable[Sequence[CutRow]]) -> pa.Table:
    """Return the table that was cut: the inverse of ``cut_to_run`` over the runs that cover a stimulus.

    An annotation that several runs show is there once; one that stood twice in the table stands twice again.

    Args:
        cuts: the cut of each run.
    """
    together: Counter[Row] = Counter()
    for cut in cuts:
        together |= Counter(part.row for part in cut)
    return annotation_table(together.elements())


def run_derivative_files(recipe: Recipe, table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Yield ``(path in the dataset, bytes)`` of everything below ``derivatives/annotations/``.

    Nothing is yielded where no run shows an annotated stimulus. A run without an annotation of a source has no file of
    it, and a run that no subject has no file.

    Raises:
        StudyError: two runs of one name show different spans, so that no subject-free file can stand for both.
    """
    runs = _unique_runs(recipe)
    annotations = annotations_of(table, recipe)
    shown: dict[str, Annotation] = {}
    sidecars: dict[tuple[str, str], Annotation] = {}
    for run, shows in runs:
        for annotation in annotations:
            cut = cut_rows(annotation.of(shows.stimulus), shows)
            if cut:
                shown[annotation.id] = sidecars[run.task, annotation.id] = annotation
                yield f"{FOLDER}/{run_events_name(run.task, run.run, annotation.id)}", cut_bytes(cut)
    for (task, name), annotation in sorted(sidecars.items()):
        described = {"Description": f"{describe(annotation)}, cut to the run"}
        sidecar = {**event_sidecar(annotation), **_SIDECAR, **described}
        yield f"{FOLDER}/{bids_name(task=task, desc=name, suffix='events', extension='.json')}", document_bytes(sidecar)
    if shown:
        yield from _dataset_files(recipe, [annotation for _, annotation in sorted(shown.items())])


def recorded(recipe: Recipe, run: Run) -> bool:
    """Return whether any subject has the run: files that apply to a run that nobody has would be about nothing."""
    return any(subject.label not in run.missing for subject in recipe.subjects)


def run_events_name(task: str, run: int, annotation: str) -> str:
    """Return the name of the run-time events of one annotation: ``task-<task>_run-<run>_desc-<id>_events.tsv``."""
    return bids_name(task=task, run=run, desc=annotation, suffix="events", extension=".tsv")


def cut_bytes(cut: Sequence[CutRow]) -> bytes:
    """Return the events file of one cut, ordered by onset in run time."""
    ordered = sorted(cut, key=lambda part: (part.onset_s, part.duration_s))
    return tsv_bytes(COLUMNS, map(_fields, ordered))


def _fields(part: CutRow) -> tuple[str | float | bool | None, ...]:
    row = part.row
    stimulus = bep044.stimulus_id(row.stim_id)
    times = (row.onset_s, row.duration_s)
    return part.onset_s, part.duration_s, row.text, row.speaker, stimulus, *times, part.overlap, part.cut


def _is_shown(row: Row, shows: Shown) -> bool:
    begins_inside = shows.start_s <= row.onset_s < _steady(shows.end_s)
    return begins_inside or row.onset_s < shows.start_s < _end_s(row)


def _cut(row: Row, shows: Shown) -> CutRow:
    end, last = _end_s(row), _steady(shows.end_s)
    at_start, at_end = row.onset_s < shows.start_s, end > last
    begin = max(row.onset_s, shows.start_s)
    return CutRow(
        onset_s=_steady(shows.onset_s + (begin - shows.start_s)),
        duration_s=_steady(min(end, last) - begin) if at_start or at_end else row.duration_s,
        overlap=begin < _steady(shows.start_s + shows.overlap_s),
        cut=CUTS[at_start + 2 * at_end],
        row=row,
    )


def _end_s(row: Row) -> float:
    return _steady(row.onset_s + row.duration_s)


def _steady(seconds: float) -> float:
    """Sums and differences of times are rounded to the nanosecond: 700.1 - 700 is 0.1, not 0.10000000000002274, and
    what ends where a run begins (0.1 + 0.2 and 0.3) is not shown by it.
    """
    return round(seconds, 9)


def _unique_runs(recipe: Recipe) -> list[tuple[Run, Shown]]:
    by_name: dict[tuple[str, int], tuple[Run, Shown]] = {}
    twice = set()
    for run in recipe.runs:
        if run.shows is None or not recorded(recipe, run):
            continue
        known = by_name.setdefault((run.task, run.run), (run, run.shows))
        if known[1] != run.shows:
            twice.add(f"task-{run.task}_run-{run.run:02d}")
    if twice:
        raise StudyError(
            f"runs of one name show different spans: {', '.join(sorted(twice))}",
            next_step="number the runs of a task through all sessions",
        )
    return [by_name[name] for name in sorted(by_name)]


def _dataset_files(recipe: Recipe, shown: Sequence[Annotation]) -> Iterator[tuple[str, bytes]]:
    description = {
        "Name": f"{recipe.dataset.name}: annotations in the time of the runs",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": recipe.dataset.license,
        "Authors": list(recipe.dataset.authors),
        "GeneratedBy": [{"Name": "release_kit", "Version": __version__, "Description": "stimulus time cut to runs"}],
        "SourceDatasets": [{"URL": "../..", "Version": recipe.dataset.version}],
    }
    yield f"{FOLDER}/dataset_description.json", document_bytes(description)
    rows = [(f"desc-{a.id}", describe(a)) for a in shown]
    yield f"{FOLDER}/descriptions.tsv", tsv_bytes(("desc_id", "description"), rows)
    yield f"{FOLDER}/descriptions.json", document_bytes(_DESCRIPTIONS_SIDECAR)
    yield f"{FOLDER}/README.md", _README.format(name=recipe.dataset.name).encode()


_SIDECAR = {
    "onset": {"Description": "Begin of the interval in the time of the run, cut to what the run shows", "Units": "s"},
    "duration": {"Description": "Length of what the run shows of the interval", "Units": "s"},
    "stim_id": {"Description": "Stimulus, as in stimuli/stimuli.tsv of the source dataset"},
    "stim_onset": {"Description": "Begin of the whole interval in the time of the stimulus", "Units": "s"},
    "stim_duration": {"Description": "Length of the whole interval", "Units": "s"},
    "overlap": {
        "Description": "Whether (a part of) the interval lies in the seconds that the run before showed already",
        "Levels": {"true": "it does: do not count it twice", "false": "it does not"},
    },
    "cut": {
        "Description": "Which ends of the interval lie outside what the run shows",
        "Levels": {"none": "no end", "start": "its begin", "end": "its end", "both": "both ends"},
    },
}

_DESCRIPTIONS_SIDECAR = {
    "Description": "What each desc- label of this dataset is",
    "desc_id": {"Description": "Label in file names; annot_id of stimuli/annotations.tsv with desc- before it"},
    "description": {"Description": "Level, annotator and language of the annotation"},
}

_README = """\
# {name}: annotations in the time of the runs

One events file for each run and annotation; it holds for every subject of that run. `onset` and `duration` are in
seconds of the run, cut to what the run shows. `stim_onset` and `stim_duration` are the whole interval in the time of
the stimulus, as annotated. Where `overlap` is true, the run before showed (a part of) the interval already.

`descriptions.tsv` says what each `desc-` label is; `stimuli/annotations.tsv` of the source dataset says more.
"""
