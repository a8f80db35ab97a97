"""Worker processes that each do one piece after another; they end with the command, however it ends.

Owns processes and nothing of what they do. Pieces are independent: an error of one is handed back and stops nothing.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from release_kit.core.errors import ArtifactError, ReleaseKitError

_PR_SET_PDEATHSIG = 1


def run_pieces(
    function: Callable[..., Any], pieces: Iterable[tuple[str, dict[str, Any]]], workers: int
) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, result)`` of ``function(**arguments)`` for every ``(name, arguments)``, as they end.

    A ``ReleaseKitError`` is yielded as the result; anything else that a piece raises is raised here.

    Args:
        function: a function of a module, since workers import it.
        pieces: the work, taken as workers become free.
        workers: processes; 1 works in this process.
    """
    if workers <= 1:
        for name, arguments in pieces:
            yield name, _tried(function, arguments)
        return
    with contextlib.closing(_Pool(function, workers)) as pool:
        yield from pool.run(iter(pieces))


def _tried(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return function(**arguments)
    except ReleaseKitError as error:
        return error
    except OSError as error:
        if error.filename is None:
            raise
        return ArtifactError(error.strerror or str(error), where=os.fsdecode(error.filename))


class _Pool:
    def __init__(self, function: Callable[..., Any], n: int):
        self._function, self._n = function, n
        self._workers: dict[Connection, Any] = {}
        self._busy: dict[Connection, str] = {}

    def run(self, pieces: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, Any]]:
        for name, arguments in pieces:
            if len(self._workers) < self._n:
                self._hand(self._start(), name, arguments)
                continue
            idle = next((one for one in self._workers if one not in self._busy), None)
            while idle is None:
                idle, done = self._next()
                yield done
            self._hand(idle, name, arguments)
        while self._busy:
            _, done = self._next()
            yield done

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._function, theirs, os.getpid()), daemon=True)
        # It inherits the mask: an interrupt while it starts would have it print where it stood. Ours waits meanwhile.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._workers[ours] = process
        return ours

    def _hand(self, worker: Connection, name: str, arguments: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            worker.send(arguments)
        self._busy[worker] = name

    def _next(self) -> tuple[Connection, tuple[str, Any]]:
        ready = wait(list(self._busy))[0]
        name = self._busy.pop(ready)
        try:
            kind, value = ready.recv()
        except (EOFError, OSError) as error:
            self._workers[ready].join()
            code = self._workers[ready].exitcode
            raise ReleaseKitError(
                f"its worker process ended with code {code}", where=name,
                next_step="run the same command again; with fewer --workers if memory ran out",
            ) from error  # fmt: skip
        if kind == "error":
            return ready, (name, _error(value))
        if kind == "defect":
            raise RuntimeError(f"{name}: {value}")
        return ready, (name, value)

    def close(self) -> None:
        for connection, process in self._workers.items():
            process.kill()
            process.join()
            connection.close()


def _work(function: Callable[..., Any], pipe: Connection, parent: int) -> None:
    """Live as long as the command: an interrupt is the command's to answer, its death is ours too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pipe.send(_answer(function, pipe.recv()))


def _answer(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[str, Any]:
    try:
        result = _tried(function, arguments)
    except Exception:
        return "defect", traceback.format_exc()
    return (
        ("error", (type(result), result.what, result.where, result.next_step))
        if isinstance(result, ReleaseKitError)
        else ("done", result)
    )


def _error(value: tuple[type[ReleaseKitError], str, str | None, str | None]) -> ReleaseKitError:
    kind, what, where, next_step = value
    try:
        return kind(what, where=where, next_step=next_step)
    except TypeError:
        return ReleaseKitError(what, where=where, next_step=next_step)
