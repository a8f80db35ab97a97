"""One finding of a validation, and what is known of each kind of finding.

Owns the record and the type of a code. Codes of our own checks stand in ``codes.py``; a finding of the reference
validator keeps the validator's code, in capitals, so that its documentation can be searched for it.
"""

from dataclasses import dataclass
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""From worst to mildest: an error fails the validation, a warning fails it with ``--strict``, a note never does."""

REFERENCE, OWN = "reference", "release_kit"
"""Who found it."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """One kind of finding: its family, how bad it is, and what it means for those who use the dataset."""

    name: str
    family: str
    severity: str
    summary: str
    """One sentence: what is wrong."""
    why: str
    """What it leads to, and when it is harmless."""
    next_step: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found, at one place."""

    code: str
    severity: str
    path: str
    """File or folder relative to the dataset that was validated; ``.`` is the dataset itself."""
    what: str
    next_step: str
    family: str
    source: str = OWN
    dataset: str = "."
    """``.``, or the derivative dataset (``derivatives/<name>``) that it belongs to."""
    sub_code: str | None = None
    """The key, entity or column that a code of the reference validator is about."""
    row: int | None = None
    """1-based data row of a table (the header is not counted)."""
    explained: str | None = None
    """Why a warning of the reference validator is as it should be, by what the dataset itself says."""

    @property
    def order(self) -> tuple:
        """How findings are sorted: worst first, our own before the reference's, then by code and place."""
        return (
            SEVERITIES.index(self.severity), self.source == REFERENCE, self.code, self.sub_code or "", self.path,
            self.row or 0, self.what,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ``sub_code``, ``row`` and ``explained`` only where there are any."""
        known = {"sub_code": self.sub_code, "row": self.row, "explained": self.explained}
        return {
            "code": self.code,
            "severity": self.severity,
            "source": self.source,
            "family": self.family,
            "dataset": self.dataset,
            "path": self.path,
            "what": self.what,
            "next_step": self.next_step,
            **{key: value for key, value in known.items() if value is not None},
        }
