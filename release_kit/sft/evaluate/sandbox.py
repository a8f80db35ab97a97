"""Programs that a model wrote, run where they can do no harm: no network, no files, little time, memory and disk.

Owns starting, feeding, watching and killing; the walls themselves are put up by ``sandbox_child.py``. Where the system
permits no namespaces the program is refused, unless the caller says in so many words that it may run with limits alone.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.errors import ReleaseKitError

CHILD = Path(__file__).with_name("sandbox_child.py")
UNSANDBOXED_VARIABLE = "RELEASE_KIT_ALLOW_UNSANDBOXED"
"""Set to 1 by ``--allow-unsandboxed``; workers inherit it."""
CLEAR_S = 10.0
"""How long the kernel may take to clear away a sandbox that was killed."""
PASSED, RAISED, TIME, DIED = "passed", "raised", "time", "died"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use."""

    wall_s: float = 20.0
    cpu_s: int = 5
    memory_bytes: int = 512 * 1024 * 1024
    file_bytes: int = 8 * 1024 * 1024
    n_processes: int = 16


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a program ended."""

    kind: str
    """``passed`` (came to its end), ``raised`` (an exception, also ``SystemExit``), ``time``, or ``died`` (killed by a
    limit, or left without a word)."""
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program came to its end without an exception."""
        return self.kind == PASSED


class SandboxError(ReleaseKitError):
    """Programs cannot be run safely on this machine."""


def run_program(program: str, *, limits: Limits = DEFAULT_LIMITS, allow_unsandboxed: bool | None = None) -> Outcome:
    """Run Python source shut in, and return how it ended.

    Args:
        program: the source; its standard input is empty and what it prints is thrown away.
        limits: what it may use.
        allow_unsandboxed: run with limits alone where there are no namespaces; None: as the environment variable says.

    Raises:
        SandboxError: the system permits no namespaces and running without was not allowed.
    """
    isolate = True
    while True:
        with tempfile.TemporaryDirectory(prefix="rk-sandbox-", ignore_cleanup_errors=True) as folder:
            lines, in_time, token = _run_child(program, Path(folder), limits, isolate)
        refused = next((line for line in lines if line.startswith("refused")), None)
        if refused is None:
            return _outcome(lines, in_time, token)
        if allow_unsandboxed is None:
            allow_unsandboxed = os.environ.get(UNSANDBOXED_VARIABLE) == "1"
        if not (isolate and allow_unsandboxed):
            raise SandboxError(
                f"this machine does not let a program be shut in ({refused.removeprefix('refused ')})",
                next_step="run where user namespaces are permitted, or pass --allow-unsandboxed if you trust the model",
            )
        isolate = False


def _run_child(program: str, folder: Path, limits: Limits, isolate: bool) -> tuple[list[str], bool, str]:
    """Return (lines of the status pipe, whether it ended in time, token that only a finished program brings)."""
    token = secrets.token_hex(16)
    status, status_child = os.pipe()
    go_child, go = os.pipe()
    settings = {
        "status_fd": status_child, "go_fd": go_child, "token": token, "isolate": isolate, "folder": str(folder),
        "prefix": sys.base_prefix, "cpu_s": limits.cpu_s, "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes, "n_processes": limits.n_processes,
    }  # fmt: skip
    interpreter = getattr(sys, "_base_executable", None) or sys.executable
    process = subprocess.Popen(
        [interpreter, "-I", "-S", "-B", str(CHILD), json.dumps(settings)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, cwd=folder,
        pass_fds=(status_child, go_child), start_new_session=True,
    )  # fmt: skip
    os.close(status_child)
    os.close(go_child)
    deadline, text = time.monotonic() + limits.wall_s, ""
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(program.encode(errors="replace"))
            process.stdin.close()
            os.write(go, b"1")
        text, in_time = _read_until(status, deadline)
    finally:
        os.close(go)
        os.close(status)
        _end(process, text)
    return text.splitlines(), in_time, token


def _read_until(descriptor: int, deadline: float) -> tuple[str, bool]:
    """Return (what the pipe held, whether its writers were gone before the deadline)."""
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return data.decode(errors="replace"), False
        chunk = os.read(descriptor, 4096)
        if not chunk or len(data) > 65536:
            return data.decode(errors="replace"), True
        data += chunk
        if any(line.startswith((b"passed", b"raised")) for line in data.split(b"\n")[:-1]):
            return data.decode(errors="replace"), True


def _end(process: subprocess.Popen, text: str) -> None:
    """Kill whatever is left: the first process of the sandbox (all others die with it), and the session."""
    for line in text.splitlines():
        if line.startswith("pid ") and process.poll() is None:
            # Not reaped by its parent yet, so the number is still its own.
            with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
                os.kill(int(line[4:]), signal.SIGKILL)
            # Its parent ends by itself, and only after the kernel has cleared the whole namespace.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=CLEAR_S)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _outcome(lines: list[str], in_time: bool, token: str) -> Outcome:
    if f"passed {token}" in lines:
        return Outcome(kind=PASSED)
    for line in lines:
        if line.startswith("raised "):
            return Outcome(kind=RAISED, detail=line.removeprefix("raised "))
    if not in_time:
        return Outcome(kind=TIME, detail="still running when its time was over")
    return Outcome(kind=DIED, detail="ended by a limit or without a word")
