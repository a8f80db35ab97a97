"""The ``stimuli/`` folder by itself: what is listed, what is there, and annotations within their stimulus.

Names come from ``annotations/bep044.py``. Reads tables of any dataset leniently; that of texts (agreement, coverage)
the quality report judges.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from release_kit.bids.annotations import bep044
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.survey import Entry, Survey
from release_kit.bids.validate.tables import Table, read_table, seconds

ROUNDING_S = 1.0
"""Annotations by the second end on the next full second."""


@dataclass(frozen=True, kw_only=True)
class Stimuli:
    """What ``stimuli/`` declares and holds."""

    durations: Mapping[str, float | None] = field(default_factory=dict)
    """Stimulus label → seconds, where stimuli.tsv gives them."""
    annotations: Mapping[tuple[str, str], Table] = field(default_factory=dict)
    """(Stimulus label, annotation id) → its events in stimulus time."""
    annotation_ids: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()

    @property
    def known(self) -> bool:
        """Whether any stimulus is listed."""
        return bool(self.durations)


def read_stimuli(survey: Survey) -> Stimuli:
    """Read the folder; what is wrong with its tables comes along as findings."""
    files = [entry for entry in survey.parts[0].entries if entry.path.startswith(f"{bep044.FOLDER}/")]
    if not files:
        return Stimuli()
    found: list[Finding] = []
    listed = _listed(survey, bep044.STIMULI_TABLE, bep044.STIMULUS_ID, found)
    declared = _listed(survey, bep044.ANNOTATIONS_TABLE, bep044.ANNOTATION_ID, found)
    if bep044.STIMULI_TABLE not in survey.by_path:
        found.append(finding("stimuli-unlisted", bep044.FOLDER, f"{len(files):,} files, no stimuli.tsv"))
    durations = {bep044.stimulus_label(name): seconds(row.get("duration")) for name, row in listed.items()}
    tables: dict[tuple[str, str], Table] = {}
    for entry in files:
        if (names := _annotation_names(entry)) is None:
            continue
        found += _unlisted(entry, names, durations, declared)
        table = read_table(survey, entry.path) if entry.readable else None
        if isinstance(table, str):
            found.append(finding("stimuli-table", entry.path, table))
        elif table is not None:
            tables[names] = table
    found += _without_file(survey, files, listed, declared)
    found += _media(files, listed)
    return Stimuli(durations=durations, annotations=tables, annotation_ids=frozenset(declared), findings=tuple(found))


def check_stimuli(survey: Survey, stimuli: Stimuli) -> Iterator[Finding]:
    """Yield what is wrong with ``stimuli/``: its tables, and each annotation against its stimulus."""
    yield from stimuli.findings
    for (stimulus, _), table in sorted(stimuli.annotations.items()):
        yield from _rows(table, stimuli.durations.get(stimulus))
    digests: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (stimulus, _), table in sorted(stimuli.annotations.items()):
        if table.rows:
            digest = hashlib.sha256(survey.bytes_of(table.path)).hexdigest()
            digests[stimulus, digest].append(table.path)
    for paths in digests.values():
        if len(paths) > 1:
            yield finding("annotation-same", paths[0], f"the same as {', '.join(paths[1:])}")


def _listed(survey: Survey, path: str, key: str, found: list[Finding]) -> dict[str, dict[str, str]]:
    entry = survey.by_path.get(path)
    if entry is None or not entry.readable:
        return {}
    table = read_table(survey, path)
    if isinstance(table, str) or key not in table.columns:
        what = table if isinstance(table, str) else f"no column {key}; it has {', '.join(table.columns)}"
        found.append(finding("stimuli-table", path, what))
        return {}
    listed: dict[str, dict[str, str]] = {}
    for row, record in enumerate(table.records(), start=1):
        name = record[key]
        if name in listed:
            found.append(finding("stimulus-twice", path, f"{name} is listed again", row=row))
        listed.setdefault(name, record)
    return listed


def _annotation_names(entry: Entry) -> tuple[str, str] | None:
    named = entry.entities
    if entry.suffix != "events" or entry.extension != ".tsv" or not {"stim", "annot"} <= set(named):
        return None
    return named["stim"], named["annot"]


def _unlisted(
    entry: Entry, names: tuple[str, str], stimuli: Mapping[str, float | None], annotations: Mapping[str, object]
) -> Iterator[Finding]:
    stimulus, annotation = names
    if stimulus not in stimuli:
        yield finding("annotation-unlisted", entry.path, f"stimuli.tsv does not list {bep044.stimulus_id(stimulus)}")
    if annotation not in {name.removeprefix("annot-") for name in annotations}:
        yield finding("annotation-unlisted", entry.path, f"annotations.tsv does not list {annotation}")


def _without_file(survey: Survey, files: list[Entry], listed: Mapping, declared: Mapping) -> Iterator[Finding]:
    present = {names[1] for entry in files if (names := _annotation_names(entry))}
    for name in declared:
        if name.removeprefix("annot-") not in present:
            yield finding("annotation-without-file", bep044.ANNOTATIONS_TABLE, f"no stim-*_annot-{name}_events.tsv")


def _media(files: list[Entry], listed: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    media = {entry.entities["stim"] for entry in files if "stim" in entry.entities and entry.suffix in bep044.MEDIA}
    for name, row in listed.items():
        if row.get("present", "").lower() == "true" and bep044.stimulus_label(name) not in media:
            yield finding("stimulus-missing", bep044.STIMULI_TABLE, f"{name} is present, but there is no file of it")


def _rows(table: Table, length: float | None) -> Iterator[Finding]:
    if not {"onset", "duration"} <= set(table.columns):
        yield finding("stimuli-table", table.path, f"no column onset or duration; it has {', '.join(table.columns)}")
        return
    if table.ragged:
        what = f"{len(table.ragged)} rows have more or fewer cells than there are columns"
        yield finding("stimuli-table", table.path, what, row=table.ragged[0])
    latest, unordered = -float("inf"), []
    for row, record in enumerate(table.records(), start=1):
        onset, duration = seconds(record["onset"]), seconds(record["duration"])
        if onset is None or (duration is None and record["duration"] != "n/a") or (duration or 0) < 0:
            what = f"onset is {record['onset']!r}, duration {record['duration']!r}"
            yield finding("annotation-row", table.path, what, row=row)
            continue
        end = onset + (duration or 0.0)
        if onset < 0 or (length is not None and (onset > length or end > length + ROUNDING_S)):
            lasts = f", the stimulus lasts {length:g} s" if length is not None else ""
            yield finding("annotation-beyond-stimulus", table.path, f"{onset:g} to {end:g} s{lasts}", row=row)
        if onset < latest:
            unordered.append(row)
        latest = max(latest, onset)
    if unordered:
        what = f"{len(unordered)} rows begin before the row above them"
        yield finding("annotation-order", table.path, what, row=unordered[0])
