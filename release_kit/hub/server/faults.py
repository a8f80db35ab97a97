"""Fault plans: what the Hub is to do wrong, and at which request.

Owns the form of a plan and the decision which fault strikes; ``misbehave`` carries it out. Docs: docs/local-hub.md.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from release_kit.core.canonical import read_json
from release_kit.core.errors import UsageError
from release_kit.core.records import Fields, nearest

KINDS = ("status", "reset", "lost-reply", "truncate-body", "corrupt-body", "move-main", "delete-file")
SIDE_EFFECTS = ("move-main", "delete-file")
PLACES = ("branch", "content")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and the requests at which it does.

    Args:
        kind: ``status`` answers with an error instead of doing anything; ``reset`` closes the connection without an
            answer and without doing anything; ``lost-reply`` does everything and closes the connection instead of
            answering; ``truncate-body`` announces the full length, sends a part and closes; ``corrupt-body`` flips
            one byte of the answer; ``move-main`` lets somebody else commit first, then answers as usual;
            ``delete-file`` makes a file vanish, then answers as usual.
        method: regular expression for the whole HTTP method; empty means any.
        path: regular expression looked for in the path of the request; empty means any.
        nth: strikes at these matching requests, counted from 1.
        every: strikes at every n-th matching request. Without ``nth`` and ``every``: at all of them.
        status: HTTP status of ``status``.
        retry_after_s: ``Retry-After`` header of ``status``, in seconds.
        rate_limit_reset_s: ``RateLimit`` headers of ``status``: nothing left for this many seconds.
        at_byte: where the body is cut or flipped (the middle by default), or how much of an upload is read before
            a ``reset`` (nothing by default).
        repo: repository of a side effect (``ns/name`` or ``datasets/ns/name``); that of the request by default.
        branch: branch of a side effect.
        file: path that ``delete-file`` removes; that of the request by default.
        place: ``branch`` removes the file by a commit, ``content`` loses its bytes while the listing still has it.
    """

    kind: str
    method: str = ""
    path: str = ""
    nth: tuple[int, ...] = ()
    every: int = 0
    status: int = 503
    retry_after_s: int | None = None
    rate_limit_reset_s: int | None = None
    at_byte: int | None = None
    repo: str = ""
    branch: str = "main"
    file: str = ""
    place: str = "branch"

    def __post_init__(self):
        """Refuse what contradicts itself."""
        object.__setattr__(self, "nth", tuple(self.nth))
        if self.kind not in KINDS:
            raise UsageError(f"{self.kind!r} is not a kind of fault{nearest(self.kind, KINDS)}")
        if self.place not in PLACES:
            raise UsageError(f"a fault's place is one of {', '.join(PLACES)}, got {self.place!r}")
        if any(number < 1 for number in self.nth) or self.every < 0 or not 400 <= self.status <= 599:
            raise UsageError("a fault needs nth >= 1, every >= 0 and a status of 400-599")
        for pattern in (self.method, self.path):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"{pattern!r} is not a regular expression ({error})") from error

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request counts for this fault."""
        method_fits = not self.method or re.fullmatch(self.method, method) is not None
        return method_fits and (not self.path or re.search(self.path, path) is not None)

    def strikes(self, count: int) -> bool:
        """Return whether the fault happens at the ``count``-th matching request (from 1)."""
        if not self.nth and not self.every:
            return True
        return count in self.nth or bool(self.every and count % self.every == 0)

    def to_dict(self) -> dict:
        """Return the JSON form without values that are the default; ``from_dict(to_dict(x)) == x``."""
        plain = asdict(self) | {"nth": list(self.nth)}
        default = asdict(Fault(kind=self.kind)) | {"nth": []}
        return {name: value for name, value in plain.items() if name == "kind" or value != default[name]}

    @classmethod
    def from_fields(cls, entry: Fields) -> "Fault":
        """Read one fault.

        Raises:
            RecordError: an unknown key or a value of the wrong type, with its place.
        """
        values = {}
        for field in fields(cls):
            kind = {"nth": list, "kind": str}.get(field.name) or _plain_type(field.type)
            default = () if field.name == "nth" else field.default
            values[field.name] = (
                entry.take(field.name, kind) if field.name == "kind" else entry.take(field.name, kind, default)
            )
        entry.done()
        if any(not isinstance(number, int) for number in values["nth"]):
            raise entry.error("nth", "expected a list of numbers")
        try:
            return cls(**values)
        except UsageError as error:
            raise entry.error("kind", error.what) from error


class FiredFault(NamedTuple):
    """A fault that happened, and the request it happened to."""

    fault: Fault
    method: str
    path: str


class FaultPlan:
    """Faults with the count of matching requests of each."""

    def __init__(self, faults: Iterable[Fault] = ()):
        self.faults = tuple(faults)
        self._counts = [0] * len(self.faults)
        self.fired: list[FiredFault] = []

    def pick(self, method: str, path: str) -> list[Fault]:
        """Count a request and return the faults that strike: side effects first, then at most one other."""
        found = []
        for index, fault in enumerate(self.faults):
            if fault.matches(method, path):
                self._counts[index] += 1
                if fault.strikes(self._counts[index]):
                    found.append(fault)
        effects = [fault for fault in found if fault.kind in SIDE_EFFECTS]
        others = [fault for fault in found if fault.kind not in SIDE_EFFECTS][:1]
        self.fired += [FiredFault(fault, method, path) for fault in effects + others]
        return effects + others


def read_faults(path: Path) -> list[Fault]:
    """Read a plan: ``{"faults": [{"kind": …, …}, …]}``.

    Raises:
        RecordError: the file does not have this form; file and key are named.
    """
    top = Fields(read_json(path), str(path))
    faults = [Fault.from_fields(entry) for entry in top.children("faults")]
    top.done()
    return faults


def _plain_type(annotation: object) -> type:
    return int if "int" in str(annotation) else str
