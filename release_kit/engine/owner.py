"""Who works: one process on one machine, told apart from every other that ever lived.

Owns the identity that a lease carries and the question whether its process is surely dead. The question has an answer
only on the machine (and in the container) where that process ran; elsewhere only time tells, and ``ledger.py`` waits.
"""

import functools
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core.records import Fields


@dataclass(frozen=True, kw_only=True)
class Owner:
    """One worker process. ``from_dict(to_dict(owner)) == owner``."""

    host: str
    """Name of the machine, for people."""
    machine: str
    """Boot and process-id namespace: two owners with the same one can see each other's processes. Empty: unknown."""
    pid: int
    started: str
    """When the process started, as the kernel counts it: a process id that is used again has another one."""
    nonce: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], where: str) -> "Owner":
        """Read the JSON form.

        Raises:
            RecordError: wrong shape.
        """
        fields = Fields(value, where)
        owner = cls(
            host=fields.take("host", str),
            machine=fields.take("machine", str),
            pid=fields.take("pid", int),
            started=fields.take("started", str),
            nonce=fields.take("nonce", str),
        )
        fields.done()
        return owner

    def is_surely_dead(self) -> bool:
        """Return whether the process has ended; False when this machine cannot know."""
        return self.is_on_this_machine() and process_start(self.pid) != self.started

    def is_on_this_machine(self) -> bool:
        """Return whether its process could be seen from here."""
        return bool(self.machine) and self.machine == this_machine()

    def describe(self) -> str:
        """Return ``host:pid``, for people."""
        return f"{self.host}:{self.pid}"


def this_owner() -> Owner:
    """Return a new owner for this process."""
    return Owner(
        host=socket.gethostname(),
        machine=this_machine(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        nonce=secrets.token_hex(8),
    )


@functools.cache
def this_machine() -> str:
    """Return what this boot of this machine and this process-id namespace are known by; empty where it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """Return the start time of a live process in ticks since boot; None when there is none, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
