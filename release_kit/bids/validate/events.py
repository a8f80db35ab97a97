"""Events of each run: are there any, do they lie within the run, and do they say what of which stimulus was shown.

Owns the raw dataset's ``*_events.tsv``. What is listed in ``stimuli/`` is ``stimuli.py``; annotations in run time are
``annotations.py``, which takes the positions from here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from release_kit.bids.annotations import bep044
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import WARNING, Finding
from release_kit.bids.validate.images import Looked
from release_kit.bids.validate.stimuli import Stimuli
from release_kit.bids.validate.survey import Entry, Part, Survey
from release_kit.bids.validate.tables import Table, read_table, seconds

TOLERANCE_S = 0.01
REST = "rest"
_POSITION = ("stim_start", "stim_end")


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where in a stimulus a run is, by one row of its events."""

    stimulus: str
    onset_s: float
    start_s: float
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class RunEvents:
    """One run of the raw dataset with the events that apply to it."""

    image: Entry
    tables: tuple[Table, ...]
    lasts: tuple[float, float] | None
    """Duration and TR in seconds, where they are known."""

    @property
    def columns(self) -> set[str]:
        """Every column that its events have."""
        return {column for table in self.tables for column in table.columns}

    def positions(self) -> Iterator[Position]:
        """Yield the rows that say which part of which stimulus was shown, the longest first."""
        found = []
        for table in self.tables:
            for record in table.records():
                numbers = [seconds(record.get(name)) for name in ("onset", "stim_start", "duration")]
                name = record.get(bep044.EVENT_STIMULUS_ID, "n/a")
                if name != "n/a" and None not in numbers:
                    onset, start, duration = (number or 0.0 for number in numbers)
                    stimulus = bep044.stimulus_label(name)
                    found.append(Position(stimulus=stimulus, onset_s=onset, start_s=start, duration_s=duration))
        yield from sorted(found, key=lambda position: -position.duration_s)


def read_runs(survey: Survey, looked: Looked) -> tuple[list[RunEvents], list[Finding]]:
    """Return every task run of the raw dataset with its events, and what could not be read of them."""
    raw = survey.parts[0]
    tables: dict[str, Table | str] = {}
    runs = []
    for image in raw.images():
        if image.suffix != "bold" or "task" not in image.entities:
            continue
        applying = survey.inherited(raw, image, "events", ".tsv")
        for entry in applying:
            if entry.path not in tables and entry.readable:
                tables[entry.path] = read_table(survey, entry.path)
        own = tuple(table for entry in applying if isinstance(table := tables.get(entry.path), Table))
        runs.append(RunEvents(image=image, tables=own, lasts=looked.duration_s(survey, raw, image)))
    broken = [finding("file-unreadable", path, t) for path, t in sorted(tables.items()) if isinstance(t, str)]
    return runs, broken


def check_events(survey: Survey, runs: list[RunEvents], stimuli: Stimuli) -> Iterator[Finding]:
    """Yield what is wrong with the events of the raw dataset."""
    raw = survey.parts[0]
    for run in runs:
        if not run.tables:
            if run.image.entities["task"].lower() != REST and not _some_exist(survey, raw, run.image):
                yield finding("events-absent", run.image.path, "no events.tsv applies to it")
            continue
        if stimuli.known and not run.columns & {bep044.EVENT_STIMULUS_ID, "stim_file"}:
            what = f"its events have the columns {', '.join(sorted(run.columns))}"
            yield finding("stimulus-position-unknown", run.image.path, what)
    yield from _rows(runs, stimuli)


def _some_exist(survey: Survey, raw: Part, image: Entry) -> bool:
    """Whether events are there that could not be read: absent content, or a broken table, which others report."""
    return bool(survey.inherited(raw, image, "events", ".tsv"))


def _rows(runs: list[RunEvents], stimuli: Stimuli) -> Iterator[Finding]:
    seen: set[tuple[str, float | None]] = set()
    for run in runs:
        for table in run.tables:
            length = run.lasts[0] if run.lasts else None
            if (table.path, length) in seen:
                continue
            seen.add((table.path, length))
            for row, record in enumerate(table.records(), start=1):
                yield from _within_run(run, table.path, row, record)
                yield from _within_stimulus(table.path, row, record, stimuli)


def _within_run(run: RunEvents, path: str, row: int, record: dict[str, str]) -> Iterator[Finding]:
    onset, duration = seconds(record.get("onset")), seconds(record.get("duration")) or 0.0
    if run.lasts is None or onset is None:
        return
    length, tr = run.lasts
    if onset > length + TOLERANCE_S:
        yield finding("event-beyond-run", path, f"it begins at {onset:g} s, the run lasts {length:g} s", row=row)
    elif onset + duration > length + tr:
        severity = None if bep044.EVENT_STIMULUS_ID in record else WARNING
        what = f"it ends at {onset + duration:g} s, the run lasts {length:g} s"
        yield finding("event-beyond-run", path, what, row=row, severity=severity)


def _within_stimulus(path: str, row: int, record: dict[str, str], stimuli: Stimuli) -> Iterator[Finding]:
    name = record.get(bep044.EVENT_STIMULUS_ID, "n/a")
    if name in ("n/a", ""):
        return
    label = bep044.stimulus_label(name)
    if label not in stimuli.durations:
        known = ", ".join(sorted(stimuli.durations)) or "nothing"
        yield finding("event-stimulus-unknown", path, f"{name} is not listed; stimuli.tsv lists {known}", row=row)
        return
    start, end = (seconds(record.get(name)) for name in _POSITION)
    length, duration = stimuli.durations[label], seconds(record.get("duration"))
    if start is not None and (start < -TOLERANCE_S or (length is not None and start > length + TOLERANCE_S)):
        yield finding("event-beyond-stimulus", path, f"stim_start is {start:g} s of {length or 0:g} s", row=row)
    elif end is not None and length is not None and end > length + TOLERANCE_S:
        yield finding("event-beyond-stimulus", path, f"stim_end is {end:g} s of {length:g} s", row=row)
    if start is not None and end is not None and duration is not None and abs(end - start - duration) > TOLERANCE_S:
        what = f"duration is {duration:g} s, the span from {start:g} to {end:g} s is {end - start:g} s"
        yield finding("event-span", path, what, row=row)
