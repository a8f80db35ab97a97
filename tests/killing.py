"""Kill a function with SIGKILL at an exact point: before the k-th time it touches the file system.

The function runs in a forked child, so that nothing of the test process is lost. Points are Python's own audit
events (files opened, renamed, removed, folders made), so nothing of release_kit is patched.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable

POINTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect"})


def run_child(function: Callable[[], object], *, kill_at: int | None = None) -> tuple[str, int]:
    """Run ``function`` in a forked child.

    Args:
        function: what to run.
        kill_at: SIGKILL the child before its ``kill_at``-th file-system operation, counted from 1; None lets it end.

    Returns:
        ``("done" | "killed" | "failed", number of operations)``; the number is known only for a child that ended.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(function, kill_at, writer)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return "killed", 0
    return ("done" if os.WEXITSTATUS(status) == 0 else "failed"), int(told or 0)


def _child(function: Callable[[], object], kill_at: int | None, writer: int) -> None:
    count = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal count
        if event in POINTS:
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(hook)
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os.write(writer, str(count).encode())
        os._exit(code)
