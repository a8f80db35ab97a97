"""What the readers of results hand over: rows, problems, and what was measured for cells that nobody declared.

Owns the record that the adapters fill and ``collect.py`` puts together.
"""

from dataclasses import dataclass, field

from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import Levels, describe
from release_kit.core.results import Result


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """Results of a combination of declared levels that is not in the grid."""

    levels: Levels
    source: str
    source_row: int | None
    n_results: int
    why: str = "which is not in the grid"

    def to_error(self) -> ReleaseKitError:
        """Return the sentence that reports it."""
        place = self.source if self.source_row is None else f"{self.source}, row {self.source_row}"
        return ReleaseKitError(
            f"results of {describe(self.levels)}, {self.why}",
            where=place,
            next_step="declare it in study.yaml as it was made, or take it out of the source",
        )


@dataclass(kw_only=True)
class Batch:
    """What one source gave."""

    rows: list[Result] = field(default_factory=list)
    problems: list[ReleaseKitError] = field(default_factory=list)
    undeclared: list[Undeclared] = field(default_factory=list)
    """These results are not in ``rows``."""
    notes: list[ReleaseKitError] = field(default_factory=list)
    """What is odd in a source but was understood (one level written in two ways)."""

    def add_undeclared(self, levels: Levels, source: str, source_row: int | None, n_results: int) -> None:
        """Keep the place of results for a combination that is not in the grid."""
        self.undeclared.append(Undeclared(levels=levels, source=source, source_row=source_row, n_results=n_results))

    def extend(self, other: "Batch") -> None:
        """Take over what another source gave."""
        self.rows += other.rows
        self.problems += other.problems
        self.undeclared += other.undeclared
        self.notes += other.notes
