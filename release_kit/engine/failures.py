"""What failed, why, and what to do: one file for each unit that could not be finished.

Owns ``failed/<unit>.json`` in the ledger's folder. A unit with an open failure is not worked on; opening it again keeps
the count of attempts. A small reserve file lets a failure be written down even when the disk is full.
"""

import contextlib
import os
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1
RESERVE_BYTES = 1 << 16
NO_SPACE = ("no space left on device", "os error 28", "disk quota exceeded")
"""How Python, Rust libraries (safetensors) and quotas say that a disk is full."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a unit is not finished. ``from_dict(to_dict(failure)) == failure``."""

    unit: str
    title: str
    """Levels of the run, for people."""
    cells: tuple[str, ...]
    error: str
    """Class of the error."""
    what: str
    where: str | None
    next_step: str | None
    attempts: int = 1
    transient: bool = False
    """The cause lies outside the study (full disk, killed worker): the next start tries again by itself."""
    reopened: bool = False
    """The unit may be worked on again."""
    details: tuple[str, ...] = ()
    """Last lines of the traceback of an error that nobody foresaw."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)} | {
            "cells": list(self.cells),
            "details": list(self.details),
        }

    @classmethod
    def from_dict(cls, value: Any, where: str) -> "Failure":
        """Read the JSON form.

        Raises:
            RecordError: wrong shape.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        failure = cls(
            **{name: fields.take(name, str) for name in ("unit", "title", "error", "what")},
            **{name: fields.take(name, str, None) for name in ("where", "next_step")},
            **{name: fields.take(name, bool) for name in ("transient", "reopened")},
            cells=tuple(fields.take_list("cells", str)),
            details=tuple(fields.take_list("details", str)),
            attempts=fields.take("attempts", int),
        )
        fields.done()
        return failure

    def sentence(self) -> str:
        """Return one line: which run, what went wrong, what to do."""
        place = f" ({self.where})" if self.where else ""
        step = f" — {self.next_step}" if self.next_step else ""
        return f"{self.title}: {self.what}{place}{step}"


class Failures:
    """The failures of one study.

    Args:
        folder: ``<study>/.release_kit/ledger``.
    """

    def __init__(self, folder: Path):
        self._folder, self._reserve = folder / "failed", folder / "reserve"

    def open_units(self) -> set[str]:
        """Return the units that nobody may work on."""
        return {failure.unit for failure in self.read_all() if not failure.reopened}

    def is_open(self, unit: str) -> bool:
        """Return whether the unit has failed and was not opened again."""
        failure = self.read(unit)
        return failure is not None and not failure.reopened

    def read(self, unit: str) -> Failure | None:
        """Return the failure of a unit; None when it has none, or one that cannot be read."""
        path = self._folder / f"{unit}.json"
        try:
            return Failure.from_dict(canonical.parse_json(path.read_bytes(), str(path)), str(path))
        except (OSError, RecordError):
            return None

    def read_all(self) -> list[Failure]:
        """Return all failures, sorted by unit."""
        return list(self._iter())

    def _iter(self) -> Iterator[Failure]:
        names = sorted(path.stem for path in self._folder.glob("*.json") if not path.name.startswith(TEMPORARY_PREFIX))
        for name in names:
            if failure := self.read(name):
                yield failure

    def record(self, failure: Failure) -> Failure:
        """Write a failure down and return it with the attempts so far; on a full disk the reserve makes room.

        Raises:
            ReleaseKitError: not even the reserve was enough.
        """
        before = self.read(failure.unit)
        failure = replace(failure, attempts=before.attempts + 1 if before else 1)
        path, data = self._folder / f"{failure.unit}.json", canonical.document_bytes(failure.to_dict())
        try:
            write_atomic(path, data)
        except ReleaseKitError:
            self._reserve.unlink(missing_ok=True)
            write_atomic(path, data)
        return failure

    def clear(self, unit: str) -> None:
        """Forget the failure of a unit that is complete."""
        (self._folder / f"{unit}.json").unlink(missing_ok=True)

    def reopen(self, *, everything: bool, study_file: Path | None = None) -> list[str]:
        """Let failed units be worked on again and return them: those whose cause was transient, or all.

        Args:
            everything: all of them.
            study_file: what failed before this file was written last is opened, too: it failed under another study.
        """
        changed = study_file.stat().st_mtime_ns if study_file is not None else 0
        reopened = [
            one
            for one in self._iter()
            if not one.reopened and (everything or one.transient or self._written(one.unit) < changed)
        ]
        for failure in reopened:
            data = canonical.document_bytes(replace(failure, reopened=True).to_dict())
            write_atomic(self._folder / f"{failure.unit}.json", data)
        return [failure.unit for failure in reopened]

    def _written(self, unit: str) -> int:
        try:
            return (self._folder / f"{unit}.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def keep_reserve(self) -> None:
        """Put the reserve in place (again); without room for it there is none."""
        with contextlib.suppress(OSError, ReleaseKitError):
            if not self._reserve.exists():
                write_atomic(self._reserve, b"\0" * RESERVE_BYTES)


def failure_of(error: BaseException, *, unit: str, title: str, cells: tuple[str, ...]) -> Failure:
    """Return what is written down of an error; one that nobody foresaw keeps the end of its traceback."""
    known = {"unit": unit, "title": title, "cells": cells, "error": type(error).__name__}
    if is_full_disk(error):
        step = "free some space and run the same command again"
        return Failure(**known, what="the disk is full", where=_place(error), next_step=step, transient=True)
    if isinstance(error, ReleaseKitError):
        said = {"what": error.what, "where": error.where, "next_step": error.next_step}
        return Failure(**known, **said, transient=error.transient)
    lines = traceback.format_exception(error)
    return Failure(
        **known,
        what=" ".join(str(error).split())[:500] or type(error).__name__,
        where=_place(error),
        next_step="this is not a mistake of the study as far as release_kit can tell; its details help to report it",
        details=tuple("".join(lines).splitlines()[-25:]),
    )


def death_of(n_deaths: int, *, unit: str, title: str, cells: tuple[str, ...]) -> Failure:
    """Return the failure of a unit on which several workers died one after the other without getting any further."""
    return Failure(
        unit=unit,
        title=title,
        cells=cells,
        error="WorkerDied",
        what=f"{n_deaths} workers died one after the other while they were at it, none further than the one before",
        where=None,
        next_step="see the system's log for what killed them (often: not enough memory), then run with --retry-failed",
    )


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or what caused it, is a disk without space."""
    seen: BaseException | None = error
    while seen is not None:
        if any(words in str(seen).lower() for words in NO_SPACE):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _place(error: BaseException) -> str | None:
    if isinstance(error, ReleaseKitError):
        return error.where
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None
