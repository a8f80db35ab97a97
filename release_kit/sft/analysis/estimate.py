"""The parts that every finding is made of: a record that knows its JSON form, the name of a metric, an estimate.

Owns no computation; the sections built from these are ``records.py``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any


class Record:
    """A frozen dataclass that knows its JSON form."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: tuples as lists, NaN and infinities as null, nested records as mappings."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """Return ``value`` with nothing in it but what JSON has: a number that is not finite becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric(Record):
    """One column of results: a benchmark at one number of shots, by one metric."""

    benchmark: str
    metric: str
    n_shot: int | None = None

    @property
    def label(self) -> str:
        """Return how figures and tables name it: ``gsm8k 4-shot score``; the shots only where they are known."""
        shots = "" if self.n_shot is None else f" {self.n_shot}-shot"
        return f"{self.benchmark}{shots} {self.metric}"

    @property
    def key(self) -> tuple[str, int, str]:
        """What sorts metrics: (benchmark, n_shot or -1, metric)."""
        return (self.benchmark, -1 if self.n_shot is None else self.n_shot, self.metric)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate(Record):
    """A number with its uncertainty and what it rests on."""

    value: float
    low: float | None = None
    """Lower end of the interval; None: too few units for one."""
    high: float | None = None
    level: float = 0.95
    n: int
    """Rows behind the number (cells, pairs, points)."""
    n_units: int
    """Independent units behind the interval."""
    over: str
    """What a unit is, and so what the interval speaks about: ``base_model`` (further bases), ``run`` (further runs of
    these bases), ``base_model x dataset`` (both), ``document``."""
    method: str = ""
    """How the interval was made: ``t``, ``percentile``, ``bca``, ``fisher-z t`` …"""
    p: float | None = None
    """Two-sided p of "nothing there", never 0."""
    p_adjusted: float | None = None
    """``p`` corrected for the family of tests that it stands in (see the section)."""
