"""Who works on what: leases held as small files, safe on the shared file systems of clusters.

Owns claiming, renewing and taking over. The only primitives are exclusive creation (``link`` of a finished file to a
name that must not exist) and atomic rename, which NFS and Lustre give; no locks, no database, no comparison of clocks.
The ledger is never the truth about what is done: that is a unit's own completion marker. Failures are ``failures.py``.

A lease is ``leases/<unit>.<generation>.json``. The highest generation holds the unit, so taking over is creating the
next one: exactly one contender can, and a former owner that wakes up late can only write to its own generation, never
over its successor. A lease has expired when its process is surely dead, or when its content has not changed for
``expiry_s`` of the observer's own monotonic clock.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, write_error
from release_kit.core.records import Fields
from release_kit.engine.owner import Owner, this_owner

RENEW_S = 10.0
EXPIRY_S = 90.0
"""Longer than the 60 s for which an NFS client may answer from its attribute cache."""


class LeaseLostError(ReleaseKitError):
    """Another worker has taken the unit over; whatever this one has not published stays unpublished."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The content of one lease file."""

    unit: str
    generation: int
    owner: Owner
    beat: int = 0
    """Counts renewals: content that changes is a worker that lives."""
    stage: str = ""
    step: int = 0
    n_steps: int = 0
    deaths: int = 0
    """Workers that died on this unit one after the other without getting any further, since a command was started."""
    furthest: int = 0
    """Largest step that earlier generations had reported."""
    released: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**self.__dict__, "owner": self.owner.to_dict()}

    @classmethod
    def from_dict(cls, value: Any, where: str) -> "Lease":
        """Read the JSON form.

        Raises:
            RecordError: wrong shape.
        """
        fields = Fields(value, where)
        numbers = ("generation", "beat", "step", "n_steps", "deaths", "furthest")
        lease = cls(
            unit=fields.take("unit", str),
            owner=Owner.from_dict(fields.take("owner", dict), where),
            stage=fields.take("stage", str),
            released=fields.take("released", bool),
            **{name: fields.take(name, int) for name in numbers},
        )
        fields.done()
        return lease


@dataclass
class _Seen:
    """What an observer last saw of one lease, and since when by its own clock."""

    content: bytes
    since_s: float


@dataclass
class Ledger:
    """The leases of one study, as one process sees them.

    Args:
        folder: ``<study>/.release_kit/ledger``.
        expiry_s: how long a lease of an unseen process must stay unchanged before it may be taken over.
        clock: monotonic seconds of this process.
    """

    folder: Path
    expiry_s: float = EXPIRY_S
    clock: Callable[[], float] = time.monotonic
    owner: Owner = field(default_factory=this_owner)
    _seen: dict[str, _Seen] = field(default_factory=dict, repr=False)

    @property
    def leases(self) -> Path:
        """The folder of the lease files."""
        return self.folder / "leases"

    def latest(self) -> dict[str, int]:
        """Return unit → highest generation, from one listing."""
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.leases) as entries:
            for entry in entries:
                unit, generation = _parse_name(entry.name)
                if generation > found.get(unit, 0):
                    found[unit] = generation
        return found

    def read(self, unit: str, generation: int) -> Lease | None:
        """Return a lease; None when it is gone, or not whole (a machine that lost its power while writing)."""
        _, lease = self._read(unit, generation)
        return lease

    def is_free(self, unit: str, generation: int) -> bool:
        """Return whether the unit may be claimed, given its highest generation (0: never claimed).

        Call it again and again: a lease of a process that cannot be seen expires only while it is being watched.
        """
        if generation == 0:
            return True
        content, lease = self._read(unit, generation)
        if lease is not None and (lease.released or lease.owner.is_surely_dead()):
            return True
        name = _name(unit, generation)
        seen = self._seen.get(name)
        if seen is None or seen.content != content:
            self._seen[name] = _Seen(content, self.clock())
            return False
        return self.clock() - seen.since_s >= self.expiry_s

    def claim(self, unit: str, generation: int | None = None) -> "HeldLease | None":
        """Take a unit that ``is_free``; None when another worker was quicker.

        Args:
            unit: name of the unit.
            generation: its highest generation, from ``latest()``; None lists again.

        Raises:
            ReleaseKitError: the ledger cannot be written.
        """
        before = self.latest().get(unit, 0) if generation is None else generation
        if not self.is_free(unit, before):
            return None
        lease = Lease(unit=unit, generation=before + 1, owner=self.owner, **_inherited(self.read(unit, before)))
        if not self._create(lease):
            return None
        return HeldLease(self, lease)

    def forgive(self, units: Iterable[str]) -> None:
        """Count deaths anew on units that nobody holds: whoever starts a command wants another try of all that is left.

        Raises:
            ReleaseKitError: the ledger cannot be written.
        """
        latest = self.latest()
        for unit in units:
            lease = self.read(unit, latest.get(unit, 0))
            if lease is None or (lease.released and not lease.deaths):
                continue
            if held := self.claim(unit, latest[unit]):
                held.release(clean=True)

    def forget(self, unit: str) -> None:
        """Remove the leases of a unit that is complete; a late owner can do no harm to a unit that is done."""
        for generation in range(self.latest().get(unit, 0), 0, -1):
            (self.leases / _name(unit, generation)).unlink(missing_ok=True)

    def _create(self, lease: Lease) -> bool:
        """Give the lease its name unless that exists; the answer of ``link`` may be lost on NFS, the count is not."""
        target = self.leases / _name(lease.unit, lease.generation)
        temporary = _write_temporary(target, lease)
        try:
            os.link(temporary, target)
            return True
        except FileExistsError:
            return os.stat(temporary).st_nlink == 2
        except OSError as error:
            return self._create_without_links(target, lease, error)
        finally:
            temporary.unlink(missing_ok=True)

    def _create_without_links(self, target: Path, lease: Lease, why: OSError) -> bool:
        """Claim on a file system without hard links; a reader may see an unfinished lease and will wait for it."""
        try:
            with open(target, "xb") as stream:
                stream.write(canonical.canonical_bytes(lease.to_dict()))
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise write_error(target, error) from why

    def _read(self, unit: str, generation: int) -> tuple[bytes, Lease | None]:
        path = self.leases / _name(unit, generation)
        try:
            content = path.read_bytes()
            return content, Lease.from_dict(json.loads(content), str(path))
        except FileNotFoundError:
            return b"", None
        except (RecordError, ValueError):
            return content, None


class HeldLease:
    """A lease of this process. Safe to use from the thread that renews it and the one that works."""

    def __init__(self, ledger: Ledger, lease: Lease):
        self.ledger, self._lease = ledger, lease
        self._lock = threading.Lock()
        self.lost = False

    @property
    def lease(self) -> Lease:
        """What the lease file holds, or will hold after the next renewal."""
        return self._lease

    @property
    def deaths(self) -> int:
        """Workers that died on the unit before, one after the other without getting any further."""
        return self._lease.deaths

    def report(self, stage: str, step: int = 0, n_steps: int = 0) -> None:
        """Say how far the work is; it reaches the file with the next renewal."""
        with self._lock:
            self._lease = replace(self._lease, stage=stage, step=step, n_steps=n_steps)

    def renew(self) -> None:
        """Change the lease file, so that observers see life; sets ``lost`` when the unit has a newer owner.

        Raises:
            ReleaseKitError: the ledger cannot be written.
        """
        with self._lock:
            if self.lost or self._lease.released:
                return
            if self._has_successor():
                self.lost = True
                return
            self._lease = replace(self._lease, beat=self._lease.beat + 1)
            self._write()

    def check(self) -> None:
        """Refuse to go on when another worker has the unit: call it before anything is published.

        Raises:
            LeaseLostError: the unit was taken over.
        """
        if self.is_lost():
            step = "nothing to do: the other worker finishes the unit, with the same bytes"
            raise LeaseLostError("was taken over by another worker", where=self._lease.unit, next_step=step)

    def is_lost(self) -> bool:
        """Return whether another worker has the unit; an error of this one is then of no account."""
        self.lost = self.lost or self._has_successor()
        return self.lost

    def release(self, *, clean: bool = False) -> None:
        """Give the unit back, so that anyone may claim it at once.

        Args:
            clean: also forget earlier deaths (the unit failed or was done, nobody died).
        """
        with self._lock:
            if self.lost or self._lease.released:
                return
            self._lease = replace(self._lease, released=True, deaths=0 if clean else self._lease.deaths)
            self._write()

    def _has_successor(self) -> bool:
        """Look for the next generation by its name: a listing may be answered from a cache, this never skips one."""
        return (self.ledger.leases / _name(self._lease.unit, self._lease.generation + 1)).exists()

    def _write(self) -> None:
        target = self.ledger.leases / _name(self._lease.unit, self._lease.generation)
        os.replace(_write_temporary(target, self._lease), target)


def ledger_folder(study_folder: Path) -> Path:
    """Return where the ledger of a study lies, wherever the process stands later: leases are renewed by a thread."""
    return study_folder.absolute() / STATE_FOLDER / "ledger"


def _inherited(before: Lease | None) -> Mapping[str, int]:
    """Return how often workers have died here in a row; one that got further than all before it starts a new count."""
    if before is None:
        return {}
    furthest = max(before.furthest, before.step)
    if before.released:
        return {"deaths": before.deaths, "furthest": furthest}
    return {"deaths": 1 if before.step > before.furthest else before.deaths + 1, "furthest": furthest}


def _write_temporary(target: Path, lease: Lease) -> Path:
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        try:
            stream = open(temporary, "xb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = open(temporary, "xb")  # noqa: SIM115
        with stream:
            stream.write(canonical.canonical_bytes(lease.to_dict()))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(target, error) from error
    return temporary


def _name(unit: str, generation: int) -> str:
    return f"{unit}.{generation}.json"


def _parse_name(name: str) -> tuple[str, int]:
    """Return (unit, generation) of a lease file's name; generation 0 for any other file."""
    stem, _, suffix = name.rpartition(".")
    unit, _, generation = stem.rpartition(".")
    if suffix != "json" or name.startswith(TEMPORARY_PREFIX) or not generation.isdigit():
        return "", 0
    return unit, int(generation)
