"""A study that is nothing but files with digits: shows that the engine knows no kind of study."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_atomic
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Perform, Watch


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A unit that writes a digest of itself and of what it needs."""

    name: str
    needs: tuple[str, ...] = ()
    group: str = "sums"
    cost: float = 1.0

    @property
    def title(self) -> str:
        return f"sum {self.name}"

    @property
    def cell_ids(self) -> tuple[str, ...]:
        return (self.name,)

    def path(self, folder: Path) -> Path:
        return folder / "sums" / self.name

    def is_done(self, study_folder: Path) -> bool:
        return self.path(study_folder).is_file()


def chains(n_chains: int = 4, length: int = 5) -> list[Sum]:
    """Return units of which each needs the one before it in its chain, the last ones first."""
    units = [
        Sum(name=f"c{chain}-{k}", needs=(f"c{chain}-{k - 1}",) if k else ())
        for chain in range(n_chains)
        for k in range(length)
    ]
    return units[::-1]


def plan(options: WorkerOptions) -> list[Sum]:
    """Return the units that the command was given the size of."""
    return chains(**options.given)


def make_perform(options: WorkerOptions) -> Perform:
    """Write the digest; a unit that is listed in ``broken`` fails, one in ``deadly`` takes its process along."""
    by_name = {unit.name: unit for unit in plan(options)}
    folder = options.study_folder

    def perform(unit: Sum, watch: Watch) -> dict:
        watch.report("sum", 0, 1)
        mark = folder / "deadly" / unit.name
        if mark.exists():
            mark.unlink()
            os._exit(9)
        if (folder / "broken" / unit.name).exists():
            raise ReleaseKitError("is broken", where=unit.name)
        needed = b"".join(by_name[need].path(folder).read_bytes() for need in unit.needs)
        watch.check()
        write_atomic(unit.path(folder), hashlib.sha256(needed + unit.name.encode()).hexdigest().encode())
        return {}

    return perform
