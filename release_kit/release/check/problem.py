"""One problem that ``check`` found, and what is known of each kind of problem.

Owns the record and the type of a code; the codes themselves stand in ``codes.py``, and each is made by one family of
checks.
"""

from dataclasses import dataclass
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""From worst to mildest: an error fails the check, a warning fails it with ``--strict``, a note never does."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """One kind of problem: its family, how bad it is, and what it means for the people who use the release."""

    name: str
    family: str
    severity: str
    summary: str
    """One sentence: what is wrong."""
    why: str
    """What it leads to, and when it is harmless."""
    next_step: str
    """What to do, when the problem at hand does not know better."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, at one place."""

    code: str
    severity: str
    where: str
    """The place as people name it: the levels of a cell, a file, a benchmark."""
    what: str
    next_step: str
    family: str
    cell_id: str | None = None
    path: str | None = None
    """The file, relative to the study, where the problem lies in one."""
    row: int | None = None
    """1-based data row of a table."""
    reason: str | None = None
    """Why the authors accept it (``allow`` in ``study.yaml``)."""

    @property
    def order(self) -> tuple:
        """How problems are sorted: worst first, then by code and place."""
        return (SEVERITIES.index(self.severity), self.code, self.where, self.path or "", self.row or 0, self.what)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: always code, severity, where, what and next_step; the rest where it is known."""
        known = {"cell_id": self.cell_id, "path": self.path, "row": self.row, "reason": self.reason}
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "what": self.what,
            "next_step": self.next_step,
            **{key: value for key, value in known.items() if value is not None},
        }
