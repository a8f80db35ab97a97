"""Events of each run: what of which stimulus was on when, for every subject, and the sidecar they inherit.

Owns the rows of ``sub-*/**/*_events.tsv`` (the stimulus, the seconds repeated from the run before, scenes where scenes
are annotated, the end) and ``task-<task>_events.json``. The end is a row of one TR that begins inside the scan: the
reference validator takes an onset at its very end for an event after it. Annotations in
run time are ``runs.py``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.runs import CutRow, cut_rows, recorded
from release_kit.bids.annotations.stimuli import Annotation, annotations_of
from release_kit.bids.annotations.tsv import tsv_bytes
from release_kit.bids.recipe.model import Recipe, Run, Shown
from release_kit.bids.schema import bids_name
from release_kit.core.canonical import document_bytes

SCENE_LEVEL = "timeplace"
"""Level whose intervals are the scenes of a film."""

COLUMNS = ("onset", "duration", "trial_type", bep044.EVENT_STIMULUS_ID, "stim_start", "stim_end")
SCENE_COLUMNS = ("scene", bep044.ANNOTATION_ID)


def events_files(recipe: Recipe, table: pa.Table) -> Iterator[tuple[str, bytes]]:
    """Yield ``(path in the dataset, bytes)`` of the events of every run that shows something, and their sidecars.

    A subject without the run has no events of it. Runs that show nothing have none: nothing is made up.

    Args:
        recipe: the study.
        table: annotations; scenes are taken from the level ``timeplace``, where there is one.
    """
    scenes = scene_sources(recipe, table)
    shown = [run for run in recipe.runs if run.shows is not None and recorded(recipe, run)]
    for task in sorted({run.task for run in shown}):
        runs = [run for run in shown if run.task == task]
        with_scenes = any(run.shows is not None and run.shows.stimulus in scenes for run in runs)
        for run in runs:
            yield from _run_files(recipe, run, event_bytes(run, scenes, with_scenes=with_scenes))
        yield f"task-{task}_events.json", document_bytes(_sidecar(recipe, with_scenes))


def event_bytes(run: Run, scenes: Mapping[str, Annotation], *, with_scenes: bool) -> bytes:
    """Return the events file of one run; it is the same for every subject.

    Args:
        run: it shows something.
        scenes: stimulus → the annotation that its scenes are taken from.
        with_scenes: whether the files of this task have columns of scenes.
    """
    shows = run.shows
    if shows is None:
        raise ValueError(f"run {run.run} of {run.task} shows nothing")
    rows = [_row(shows, 0.0, shows.duration_s, "stimulus")]
    if shows.overlap_s > 0:
        rows.append(_row(shows, 0.0, shows.overlap_s, "overlap"))
    if shows.stimulus in scenes:
        own = scenes[shows.stimulus].of(shows.stimulus)
        rows += [_scene_row(shows, part) for part in cut_rows(own, shows)]
    last_s = min(run.tr_s, shows.duration_s)
    rows.append(_row(shows, shows.duration_s - last_s, last_s, "end"))
    rows.sort(key=lambda row: (row[0], _ORDER[row[2]]))
    columns = (*COLUMNS, *SCENE_COLUMNS) if with_scenes else COLUMNS
    return tsv_bytes(columns, [row[: len(columns)] for row in rows])


def scene_sources(recipe: Recipe, table: pa.Table) -> dict[str, Annotation]:
    """Return, for each stimulus whose scenes are annotated, the annotation that its events take them from.

    It is the first by id among those that are not translations, else the first by id; one for a whole stimulus, so
    that scenes of two annotators never mix.
    """
    if not table.num_rows:
        return {}
    import pyarrow.compute as pc

    scenes = table.filter(pc.equal(table["level"], SCENE_LEVEL))
    annotations = list(annotations_of(scenes, recipe))
    annotations.sort(key=lambda a: (a.translated_from is not None, a.id))
    found: dict[str, Annotation] = {}
    for annotation in annotations:
        for stim_id in annotation.stimuli:
            found.setdefault(stim_id, annotation)
    return found


_ORDER = {"stimulus": 0, "overlap": 1, "scene": 2, "end": 3}
_Row = tuple[float, float, str, str, float, float, str | None, str | None]


def _row(shows: Shown, after_s: float, duration_s: float, kind: str) -> _Row:
    begin = round(shows.start_s + after_s, 9)
    onset, end = round(shows.onset_s + after_s, 9), round(begin + duration_s, 9)
    return onset, duration_s, kind, bep044.stimulus_id(shows.stimulus), begin, end, None, None


def _scene_row(shows: Shown, part: CutRow) -> _Row:
    row = _row(shows, part.onset_s - shows.onset_s, part.duration_s, "scene")
    return *row[:6], part.row.text, part.row.annot_id


def _run_files(recipe: Recipe, run: Run, data: bytes) -> Iterator[tuple[str, bytes]]:
    for subject in recipe.subjects:
        if subject.label not in run.missing:
            names = {"subject": subject.label, "session": run.session, "task": run.task, "run": run.run}
            yield bids_name(**names, suffix="events", extension=".tsv", datatype="func"), data


def _sidecar(recipe: Recipe, with_scenes: bool) -> dict[str, Any]:
    declared = dict(recipe.sidecars.get("events", {}))
    columns = {**_COLUMNS, **_SCENE_COLUMNS} if with_scenes else _COLUMNS
    return {**columns, **declared}


_COLUMNS = {
    "onset": {"Description": "Begin in the time of the run, from its first volume", "Units": "s"},
    "duration": {"Description": "Length", "Units": "s"},
    "trial_type": {
        "Description": "What the row is",
        "Levels": {
            "stimulus": "the whole span that the run shows",
            "overlap": "its first seconds, which the run before showed already",
            "scene": "one scene of the film, cut to the run",
            "end": "the last repetition time of the span, which ends with it",
        },
    },
    "stim_id": {"Description": "Stimulus, as in stimuli/stimuli.tsv"},
    "stim_start": {"Description": "Time of the stimulus at the onset", "Units": "s"},
    "stim_end": {"Description": "Time of the stimulus at the end of the row", "Units": "s"},
}

_SCENE_COLUMNS = {
    "scene": {"Description": "When and where the scene plays"},
    "annot_id": {"Description": "Annotation that the scene is taken from, as in stimuli/annotations.tsv"},
}
