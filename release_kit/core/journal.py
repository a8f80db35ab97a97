"""A journal of facts in one file, one JSON line each: what a long job has proved so far.

A line reaches the system at once and the disk within half a second (at once for ``durable`` ones). A line that was
torn by an interruption is dropped. Losing lines may cost work, it must never cost correctness: whoever reads a journal
checks its facts against the world.
"""

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import sync_folder, write_error

SYNC_EVERY_S = 0.5


class Journal:
    """An open journal, held by one process at a time; a context manager, usable from many threads.

    Args:
        path: the file; made with its folder when it is missing.
        header: what the facts belong to. A journal with another header is set aside as ``<name>.old``.

    Raises:
        ReleaseKitError: the file cannot be written, or another process holds it.
    """

    def __init__(self, path: Path, header: dict[str, Any]):
        self.path, self._header = path, header
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._open()
        except OSError as error:
            raise write_error(path, error) from error
        self._synced_s = time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def _open(self):
        stream = open(self.path, "a+b")  # noqa: SIM115 - closed by close()
        try:
            _hold(stream, self.path)
            self.facts = self._read(stream)
        except BaseException:
            stream.close()
            raise
        if self.facts is None:
            os.replace(self.path, self.path.with_name(self.path.name + ".old"))
            stream.close()
            return self._open()
        return stream

    def _read(self, stream) -> list[dict[str, Any]] | None:
        """Return the facts, None when the header is another one; afterwards the file ends with a whole line."""
        stream.seek(0)
        data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            stream.truncate(len(whole))
        facts = [fact for line in whole.splitlines() if (fact := _parse(line)) is not None]
        if not facts:
            stream.truncate(0)
            self._write(stream, self._header)
            os.fsync(stream.fileno())
            sync_folder(self.path.parent)
            return []
        return facts[1:] if facts[0] == self._header else None

    def append(self, fact: dict[str, Any], *, durable: bool = False) -> None:
        """Add one fact.

        Raises:
            ReleaseKitError: the disk is full.
        """
        with self._lock:
            try:
                self._write(self._stream, fact)
                now = time.monotonic()
                if durable or now - self._synced_s > SYNC_EVERY_S:
                    os.fsync(self._stream.fileno())
                    self._synced_s = now
            except OSError as error:
                raise write_error(self.path, error) from error
            self.facts.append(fact)

    @staticmethod
    def _write(stream, fact: dict[str, Any]) -> None:
        stream.write(json.dumps(fact, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        stream.flush()

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        with contextlib.suppress(OSError):
            os.fsync(self._stream.fileno())
        self._stream.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        fact = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fact if isinstance(fact, dict) else None


def _hold(stream, path: Path) -> None:
    """Take the file for this process; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ReleaseKitError(
            "another process is at the same job",
            where=str(path),
            next_step="wait until it has ended, or stop it, then run the same command again",
        ) from error
