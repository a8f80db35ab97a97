"""What can be wrong with a declared file: one record a problem."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: a stable ``code``, a sentence, the place, and what to do."""

    code: str
    what: str
    where: str
    next_step: str
    severity: str = "error"
    """``error``: conversion is refused; ``warning``: worth a look."""

    def sentence(self) -> str:
        """Return ``where: what — next step``."""
        return f"{self.where}: {self.what}" + (f" — {self.next_step}" if self.next_step else "")

    def to_dict(self) -> dict[str, str]:
        """Return the record for ``--json``."""
        return {
            "code": self.code,
            "severity": self.severity,
            "what": self.what,
            "where": self.where,
            "next_step": self.next_step,
        }
