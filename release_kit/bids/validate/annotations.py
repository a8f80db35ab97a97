"""Annotations at run time, in derivatives: do they lie within the run, and where the stimulus position puts them.

Judges ``task-<task>[_run-<n>]_desc-<id>_events.tsv`` against the raw dataset's runs and against the annotation in
stimulus time; also names folders of annotation text that nobody can align.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from release_kit.bids.annotations import bep044
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.events import TOLERANCE_S, Position, RunEvents
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.stimuli import Stimuli
from release_kit.bids.validate.survey import Entry, Part, Survey
from release_kit.bids.validate.tables import Table, read_table, seconds

DESCRIPTIONS = "descriptions.tsv"
_TEXTUAL = re.compile(r"(?i)annot|transcri|caption|subtitle|utterance|dialog")
_ANNOTATED = ("derivatives", "stimuli", "annotations", "annotation")
_TEXT_TYPES = (".txt", ".csv", ".1D")

Showings = tuple[Position, ...]


def check_annotations(survey: Survey, runs: list[RunEvents], stimuli: Stimuli) -> Iterator[Finding]:
    """Yield what is wrong with run-time annotations of every derivative, and with annotation text."""
    shown = {run.image.path: _showings(run) for run in runs}
    for part in survey.parts[1:]:
        events = [entry for entry in part.entries if _is_annotation(entry)]
        if not events:
            continue
        yield from _undescribed(survey, part, events)
        for entry in events:
            if entry.readable:
                yield from _judged(survey, entry, runs, shown, stimuli)
    yield from _unaligned(survey)


def _is_annotation(entry: Entry) -> bool:
    named = entry.entities
    return entry.suffix == "events" and entry.extension == ".tsv" and "desc" in named and "task" in named


def _undescribed(survey: Survey, part: Part, events: list[Entry]) -> Iterator[Finding]:
    path = f"{part.path}/{DESCRIPTIONS}"
    table = read_table(survey, path) if path in survey.by_path and survey.by_path[path].readable else None
    if path in survey.by_path and table is None:
        return
    known = {name.removeprefix("desc-") for name in table.column("desc_id")} if isinstance(table, Table) else set()
    for label in sorted({entry.entities["desc"] for entry in events} - known):
        yield finding("annotation-undescribed", part.path, f"{DESCRIPTIONS} does not list {label}")


def _judged(
    survey: Survey, entry: Entry, runs: list[RunEvents], shown: Mapping[str, Showings], stimuli: Stimuli
) -> Iterator[Finding]:
    wanted = {key: value for key, value in entry.entities.items() if key != "desc"}
    fitting = [run for run in runs if wanted.items() <= run.image.entities.items()]
    if not fitting:
        names = ", ".join(f"{key}-{value}" for key, value in wanted.items())
        if absent := _absent_people(survey):
            yield finding("annotation-without-run", entry.path, f"no run of {names} here; {absent} may have it")
        else:
            yield finding("annotation-beyond-run", entry.path, f"there is no run of {names}")
        return
    table = read_table(survey, entry.path)
    if isinstance(table, str) or not {"onset", "duration"} <= set(table.columns):
        what = table if isinstance(table, str) else f"no column onset or duration; it has {', '.join(table.columns)}"
        yield finding("file-unreadable", entry.path, what)
        return
    yield from _within(table, fitting)
    places = {shown[run.image.path]: run.image.path for run in reversed(fitting)}
    yield from _placed(table, places, stimuli, entry.entities["desc"])


def _absent_people(survey: Survey) -> str:
    """Name the participants without a folder: a partial download has them, and a dataset that lost them."""
    path = "participants.tsv"
    table = read_table(survey, path) if path in survey.by_path and survey.by_path[path].readable else None
    if not isinstance(table, Table) or "participant_id" not in table.columns:
        return ""
    here = {entry.path.split("/")[0] for entry in survey.parts[0].entries}
    return ", ".join(sorted(set(table.column("participant_id")) - here))


def _within(table: Table, fitting: list[RunEvents]) -> Iterator[Finding]:
    lengths = [run.lasts for run in fitting if run.lasts is not None]
    longest, tr = max(lengths) if lengths else (None, 0.0)
    for row, record in enumerate(table.records(), start=1):
        onset, duration = seconds(record["onset"]), seconds(record["duration"])
        if onset is None:
            yield finding("annotation-beyond-run", table.path, f"onset is {record['onset']!r}", row=row)
        elif longest is not None and (onset < -TOLERANCE_S or onset + (duration or 0.0) > longest + tr):
            what = f"{onset:g} to {onset + (duration or 0.0):g} s, the run lasts {longest:g} s"
            yield finding("annotation-beyond-run", table.path, what, row=row)


def _placed(table: Table, places: Mapping[Showings, str], stimuli: Stimuli, annotation: str) -> Iterator[Finding]:
    """Hold each row against the stimulus position of every run, and against the annotation that it was cut from.

    ``places`` has one run for each way of showing that there is among the subjects.
    """
    if not {"stim_id", "stim_onset"} <= set(table.columns):
        return
    originals: dict[str, set[tuple[float | None, str]]] = {}
    for row, record in enumerate(table.records(), start=1):
        stimulus, begin = bep044.stimulus_label(record["stim_id"]), seconds(record["stim_onset"])
        onset = seconds(record["onset"])
        if begin is None or onset is None:
            continue
        for showings, image in places.items():
            due = [at.onset_s + max(begin - at.start_s, 0.0) for at in showings if at.stimulus == stimulus]
            if due and min(abs(onset - expected) for expected in due) > TOLERANCE_S:
                what = f"onset is {onset:g} s, second {begin:g} of the stimulus is shown at {due[0]:g} s"
                what += f" of {image}" if len(places) > 1 else ""
                yield finding("annotation-drift", table.path, what, row=row)
        if (stimulus, annotation) in stimuli.annotations and "text" in record:
            if stimulus not in originals:
                source = stimuli.annotations[stimulus, annotation]
                originals[stimulus] = {(seconds(r.get("onset")), r.get("text", "")) for r in source.records()}
            if (begin, record["text"]) not in originals[stimulus]:
                path = stimuli.annotations[stimulus, annotation].path
                what = f"{path} has no such text at {begin:g} s"
                yield finding("annotation-drift", table.path, what, row=row)


def _showings(run: RunEvents) -> Showings:
    """Return each showing of a stimulus in a run: of the rows that put its beginning at one time, the longest."""
    found: dict[tuple[str, float], Position] = {}
    for place in run.positions():
        found.setdefault((place.stimulus, round(place.onset_s - place.start_s, 2)), place)
    return tuple(found.values())


def _unaligned(survey: Survey) -> Iterator[Finding]:
    folders: dict[str, list[Entry]] = defaultdict(list)
    for entry in survey.entries:
        top = entry.path.split("/")[0]
        folder, _, name = entry.path.rpartition("/")
        textual = entry.extension in _TEXT_TYPES and _TEXTUAL.search(entry.path) is not None
        if top in _ANNOTATED and textual and not name.startswith(("README", "LICENSE")):
            folders[folder].append(entry)
    for folder, files in sorted(folders.items()):
        example = files[0].path.rpartition("/")[2]
        what = f"{len(files):,} files of lines (such as {example}); no onset, annotator or stimulus position"
        yield finding("annotation-unaligned", folder, what)
