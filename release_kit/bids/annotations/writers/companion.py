"""What a subtitle or tier file cannot hold, in a JSON file beside it, so that reading both gives the table back.

The file is read as any tool would read it; where that differs from the table (a time finer than a millisecond, a
missing text, a blank line inside a subtitle), the companion notes what was read and what it is. A cue that somebody
has edited is not found there and counts as it now stands. Format: ``docs/formats/annotations.md``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.table import Row
from release_kit.core.canonical import document_bytes, parse_json
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1
CONTENT = ("onset_s", "duration_s", "text", "speaker")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One row on its way into a file: where it stands in the table, and the tier that takes it."""

    row: Row
    place: int
    tier: str = ""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The rows of one tier of a file (a subtitle file is one tier with the name None)."""

    annot_id: str
    speaker: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """What all rows of one ``annot_id`` share."""

    level: str
    annotator: str
    language: str


def companion_bytes(
    fmt: str, stim_id: str, tiers: Mapping[str, Tier], written: Sequence[Placed], read: Sequence[Cue]
) -> bytes:
    """Return the companion of a file.

    Args:
        fmt: the format's name.
        stim_id: the stimulus that the file annotates.
        tiers: name → what its rows share; ``""`` for the one tier of a subtitle file.
        written: the row of every cue, in the order of the file.
        read: what the reader makes of the file: the same cues in the same order.
    """
    names = ("level", "annotator", "language")
    sources = {each.row.annot_id: {name: getattr(each.row, name) for name in names} for each in written}
    value = {
        "schema_version": SCHEMA_VERSION,
        "format": fmt,
        "stim_id": stim_id,
        "sources": sources,
        "tiers": {name: {"annot_id": tier.annot_id, "speaker": tier.speaker} for name, tier in tiers.items()},
        "corrections": _corrections(tiers, written, read),
    }
    return document_bytes(value)


def read_companion(data: bytes, cues: Iterable[Cue], where: str) -> list[Row]:
    """Return the rows of a file: its cues with what the companion knows about them.

    Args:
        data: the companion.
        cues: what the reader makes of the file beside it.
        where: the companion's path, for messages.

    Raises:
        RecordError: the companion does not follow its format, or the file has a tier that it does not know.
    """
    fields = Fields(parse_json(data, where), where)
    check_schema_version(fields, (SCHEMA_VERSION,))
    fields.take("format", str)
    stim_id, sources, tiers = fields.take("stim_id", str), _sources(fields), _tiers(fields)
    corrections: dict[tuple, list[dict]] = defaultdict(list)
    for each in fields.children("corrections"):
        tier, seen, fact = each.take("tier", str), each.take("read", dict), each.take("is", dict)
        corrections[(tier, *(seen.get(name) for name in CONTENT))].append(fact)
    rows = []
    for cue in cues:
        name = cue.tier or ""
        if name not in tiers:
            raise fields.error("tiers", f"knows no tier {name!r}, which the file has; add it there with its annot_id")
        seen = _seen(cue, tiers[name])
        fact = (corrections.get((name, *seen.values())) or [{}]).pop(0)
        if tiers[name].annot_id not in sources:
            raise fields.error("sources", f"has no {tiers[name].annot_id!r}, which the tier {name!r} belongs to")
        source = sources[tiers[name].annot_id]
        row = Row(stim_id=stim_id, annot_id=tiers[name].annot_id, **source.__dict__, **{**seen, **_known(fact, where)})
        rows.append((fact.get("order", 0), row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _corrections(tiers: Mapping[str, Tier], written: Sequence[Placed], read: Sequence[Cue]) -> list[dict]:
    """Return one entry for each cue whose reading differs, and for its doubles, in the order of the file."""
    orders = _orders(written)
    entries, differing = [], set()
    for placed, order, cue in zip(written, orders, read, strict=True):
        name, row = placed.tier, placed.row
        seen = _seen(cue, tiers[name])
        fact = {key: getattr(row, key) for key in CONTENT if getattr(row, key) != seen[key]}
        entries.append({"tier": name, "read": seen, "is": fact | ({"order": order} if order else {})})
        if entries[-1]["is"]:
            differing.add((name, *seen.values()))
    return [entry for entry in entries if (entry["tier"], *entry["read"].values()) in differing]


def _orders(written: Sequence[Placed]) -> list[int]:
    """Return each row's place among the rows of its source that begin and end with it, where tiers part them."""
    tiers, seen = defaultdict(set), Counter()
    keys = [(each.row.annot_id, each.row.onset_s, each.row.duration_s) for each in written]
    for key, each in zip(keys, written, strict=True):
        tiers[key].add(each.tier)
    places = {}
    for position in sorted(range(len(written)), key=lambda i: written[i].place):
        places[position] = seen[keys[position]]
        seen[keys[position]] += 1
    return [places[i] if len(tiers[key]) > 1 else 0 for i, key in enumerate(keys)]


def _seen(cue: Cue, tier: Tier) -> dict[str, Any]:
    """Return what a reader who knows the tiers, and nothing else of the companion, makes of a cue."""
    speaker = tier.speaker if cue.speaker is None else cue.speaker
    return {
        "onset_s": float(cue.onset_s),
        "duration_s": float(cue.duration_s),
        "text": cue.text,
        "speaker": speaker,
    }


def _known(fact: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the corrected values, checked for their types."""
    fields = Fields({name: value for name, value in fact.items() if value is not None}, where, "corrections.is")
    fields.take("order", int, 0)
    for name in CONTENT:
        fields.take(name, (int, float) if name.endswith("_s") else str, None)
    fields.done()
    return {name: fact[name] for name in CONTENT if name in fact}


def _sources(fields: Fields) -> dict[str, Source]:
    child = fields.child("sources")
    names = child.unknown()
    readers = {name: child.child(name) for name in names}
    return {
        name: Source(
            level=each.take("level", str), annotator=each.take("annotator", str), language=each.take("language", str)
        )
        for name, each in readers.items()
    }


def _tiers(fields: Fields) -> dict[str, Tier]:
    child = fields.child("tiers")
    readers = {name: child.child(name) for name in child.unknown()}
    return {
        name: Tier(annot_id=each.take("annot_id", str), speaker=each.take("speaker", str, None))
        for name, each in readers.items()
    }
