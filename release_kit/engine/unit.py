"""What workers are given: the protocol that a unit of any kind of study follows.

A unit is what one worker brings to completion in one go. Whether it is done is asked of the disk alone.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Unit(Protocol):
    """What one worker brings to completion in one go."""

    @property
    def name(self) -> str:
        """Safe as part of a file name; the same for the same work under the same settings."""

    @property
    def title(self) -> str:
        """What it is, for people."""

    @property
    def group(self) -> str:
        """What stays loaded between units: a worker prefers units of the group that it worked on last."""

    @property
    def cost(self) -> float:
        """Expected work relative to other units."""

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """The parts that people count."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of units that have to be done before this one is begun."""

    def is_done(self, study_folder: Path) -> bool:
        """Return whether everything of the unit is complete on disk."""
