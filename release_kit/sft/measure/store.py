"""Finished parts of a measurement, kept by the digest of everything that they follow from.

Owns ``.release_kit/measure/<kind>/<key>.parquet``, the events and the report that both measurements share. A part whose
inputs or code changed has another key, so nothing stale is ever found; a killed run finds what it had finished.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import MissingExtraError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, write_atomic
from release_kit.core.results import parquet_bytes

FOLDER = "measure"


@dataclass(frozen=True, kw_only=True)
class MeasureEvent:
    """Something a caller may show: a unit that is done, or what went wrong with it."""

    label: str
    """What the unit is (``cell 0a1b…``, ``asdiv on tiny-a``)."""
    n_done: int
    n_total: int
    remembered: bool = False
    """The unit was finished by an earlier run."""
    problem: ReleaseKitError | None = None


OnEvent = Callable[[MeasureEvent], Any]


@dataclass(frozen=True, kw_only=True)
class MeasureReport:
    """What one measurement did."""

    path: Path
    """The table."""
    n_rows: int
    n_computed: int
    """Units measured by this run."""
    n_remembered: int
    """Units that an earlier run had finished."""
    changed: bool
    """The table holds other bytes than before."""
    problems: tuple[ReleaseKitError, ...] = ()
    """One for each unit that could not be measured; it has no rows."""

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for has its rows."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "table": self.path.as_posix(),
            "n_rows": self.n_rows,
            "n_computed": self.n_computed,
            "n_remembered": self.n_remembered,
            "changed": self.changed,
            "problems": [problem.to_dict() for problem in self.problems],
        }


class PartStore:
    """Parts of one kind of measurement of a study, found by what they follow from.

    Args:
        study_folder: where the study lies.
        kind: name of the sub-folder (``layers``, ``perplexity`` …).
        sources: the modules whose code makes the parts, relative to this package; a change of one makes all parts
            unknown.
    """

    def __init__(self, study_folder: Path, kind: str, sources: tuple[str, ...]):
        self._folder = study_folder / STATE_FOLDER / FOLDER / kind
        self._code = code_of(sources)
        self._used: set[str] = set()

    def key(self, inputs: Mapping[str, Any]) -> str:
        """Return the name of the part that follows from ``inputs`` (a JSON value) and the code."""
        key = canonical.digest({"code": self._code, **inputs})[:32]
        self._used.add(key)
        return key

    def get(self, key: str):
        """Return the Arrow table of a finished part, or None; a damaged file counts as absent."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(key)
        try:
            return pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid):
            return None

    def put(self, key: str, table):
        """Keep a finished part and return it."""
        write_atomic(self._path(key), parquet_bytes(table), durable=False)
        return table

    def prune(self) -> int:
        """Remove what a killed run left half-written, and parts that nobody asked for by ``key``; return how many."""
        stale = [path for path in self._folder.glob("*.parquet") if path.stem not in self._used]
        stale += self._folder.glob(f"{TEMPORARY_PREFIX}*")
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.parquet"


@functools.cache
def code_of(sources: tuple[str, ...]) -> str:
    """Return one digest of modules, named relative to this package, in the order of their names."""
    here = Path(__file__).parent
    lines = [f"{name}\0{hashlib.sha256((here / name).read_bytes()).hexdigest()}\n" for name in sorted(sources)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to one thread for the block: sums then have one order, and the same inputs the same bytes."""
    try:
        import threadpoolctl
    except ModuleNotFoundError as error:
        raise MissingExtraError("threadpoolctl", "sft") from error
    with threadpoolctl.threadpool_limits(limits=1):
        yield


def ignore_event(event: MeasureEvent) -> None:
    """Take an event and do nothing."""
