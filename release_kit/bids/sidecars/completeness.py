"""How complete the sidecars of a dataset are, key by key, against what the BIDS schema requires and recommends.

Owns the counting and the report (JSON and text). The keys and their levels come from ``bids/schema.py``; a key that was
scrubbed for privacy is told apart from one that nobody knew.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.bids.schema import sidecar_keys
from release_kit.bids.sidecars.facts import Sidecar
from release_kit.core.wording import counted

REPORTED = ("required", "recommended")


@dataclass(frozen=True, kw_only=True)
class KeyCount:
    """In how many of the sidecars of one kind a key stands."""

    key: str
    level: str
    n_present: int
    n_scrubbed: int
    n_files: int
    """Sidecars that the schema names this key for (some keys are named under a condition only)."""

    @property
    def n_absent(self) -> int:
        """Sidecars that lack the key although nobody removed it."""
        return self.n_files - self.n_present - self.n_scrubbed

    def to_dict(self) -> dict[str, Any]:
        """Return the count for JSON."""
        return {
            "key": self.key,
            "level": self.level,
            "n_present": self.n_present,
            "n_scrubbed": self.n_scrubbed,
            "n_absent": self.n_absent,
        }


@dataclass(frozen=True, kw_only=True)
class SuffixReport:
    """The sidecars of one suffix: how many, and every required or recommended key."""

    suffix: str
    datatype: str
    n_files: int
    keys: tuple[KeyCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "suffix": self.suffix,
            "datatype": self.datatype,
            "n_files": self.n_files,
            "keys": [count.to_dict() for count in self.keys],
        }


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """The whole report: one part a suffix, sorted by datatype and suffix."""

    suffixes: tuple[SuffixReport, ...]

    @property
    def missing_required(self) -> tuple[str, ...]:
        """``suffix.Key`` of every required key that some sidecar lacks, scrubbed or not."""
        return tuple(
            f"{part.suffix}.{count.key}"
            for part in self.suffixes
            for count in part.keys
            if count.level == "required" and count.n_present < count.n_files
        )

    @property
    def ok(self) -> bool:
        """Whether every sidecar has every required key."""
        return not self.missing_required

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "ok": self.ok,
            "missing_required": list(self.missing_required),
            "suffixes": [part.to_dict() for part in self.suffixes],
        }

    def text(self) -> str:
        """Return the report as a table for people, one part a suffix, what is missing first."""
        return "\n\n".join(_part_text(part) for part in self.suffixes)


def completeness(sidecars: Iterable[Sidecar]) -> Completeness:
    """Return how many of the sidecars hold each key that the schema requires or recommends for them.

    Conditions of the schema (``SliceTiming`` where ``MRAcquisitionType`` is ``2D``) are judged sidecar by sidecar.
    """
    groups: dict[tuple[str, str], list[Sidecar]] = {}
    for each in sidecars:
        groups.setdefault((each.datatype, each.suffix), []).append(each)
    return Completeness(suffixes=tuple(_suffix_report(*kind, members) for kind, members in sorted(groups.items())))


def sidecar_of(suffix: str, datatype: str, values: Mapping[str, Any], removed: Iterable[str] = ()) -> Sidecar:
    """Return the record for a sidecar that was read from a dataset, inheritance already applied."""
    return Sidecar(suffix=suffix, datatype=datatype, values=values, removed=tuple(removed))


def _suffix_report(datatype: str, suffix: str, sidecars: list[Sidecar]) -> SuffixReport:
    levels: dict[str, str] = {}
    wanted: Counter[str] = Counter()
    present: Counter[str] = Counter()
    scrubbed: Counter[str] = Counter()
    for each in sidecars:
        for key, level in sidecar_keys(suffix, datatype, values=each.values).items():
            if level in REPORTED:
                levels[key] = min(levels.get(key, level), level, key=REPORTED.index)
                wanted[key] += 1
                present[key] += key in each.values
                scrubbed[key] += key in each.removed and key not in each.values
    order = sorted(levels, key=lambda key: (REPORTED.index(levels[key]), key))
    keys = tuple(
        KeyCount(key=key, level=levels[key], n_present=present[key], n_scrubbed=scrubbed[key], n_files=wanted[key])
        for key in order
    )
    return SuffixReport(suffix=suffix, datatype=datatype, n_files=len(sidecars), keys=keys)


def _part_text(part: SuffixReport) -> str:
    rows = [
        (count.level, count.key, f"{count.n_present}/{count.n_files}", _remark(count))
        for count in sorted(part.keys, key=lambda count: (REPORTED.index(count.level), -count.n_absent, count.key))
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    return "\n".join([f"{part.suffix}: {counted(part.n_files, 'sidecar')}", *(f"  {line}" for line in lines)])


def _remark(count: KeyCount) -> str:
    if count.n_scrubbed == count.n_files:
        return "removed for privacy"
    if count.n_absent == 0:
        return ""
    return "no source knows it" if count.n_absent == count.n_files else f"absent in {count.n_absent}"
