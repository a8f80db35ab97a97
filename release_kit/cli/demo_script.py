"""A script of real command lines that a reader can follow: each is printed, run, and held against what must come out.

Owns running, printing, timing and recording; what the steps are is ``demo.py``.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted

MAX_LINES = 14
"""Lines of a command's output that are shown; the command itself prints all of them."""

SAY_AGAIN_S = 60
"""After these lines, one is shown when so many seconds have passed without any."""


class DemoError(ReleaseKitError):
    """A step of the demo did not come out as it must."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command line that was run."""

    stage: str
    command: str
    exit_code: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(kw_only=True)
class Script:
    """What has been run so far, and how to say it."""

    say: Callable[[str], None]
    n_stages: int
    environment: Mapping[str, str]
    """Variables set for every command, beside those of this process."""
    steps: list[Step] = field(default_factory=list)
    _stage: str = ""
    _n: int = 0

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Print a heading, then how long the block took."""
        self._stage, self._n = title, self._n + 1
        self.say(f"\n[{self._n}/{self.n_stages}] {title}")
        start = time.monotonic()
        yield
        self.say(f"  ({time.monotonic() - start:.1f} s)")

    def run(self, *arguments: str, expect: int = 0, lines: int = MAX_LINES, must_say: str = "") -> str:
        """Run ``release-kit`` with ``arguments`` and return what it printed.

        Args:
            arguments: the command line.
            expect: the exit code that it must have; 1 where a refusal is the right answer.
            lines: how many lines of its output are shown.
            must_say: text that its output must hold.

        Raises:
            DemoError: another exit code, or the text is missing; the output is in the message.
        """
        shown = shlex.join(["release-kit", *arguments])
        return self._execute([sys.executable, "-m", "release_kit", *arguments], shown, expect, lines, must_say)

    def run_python(self, code: str, *, must_say: str) -> str:
        """Run lines of Python in a process of their own, as a reader would, and return what they printed."""
        for line in code.strip().splitlines():
            self.say(f"  >>> {line}")
        quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        return self._execute([sys.executable, "-c", code], "", 0, MAX_LINES, must_say, quiet)

    def _execute(
        self,
        command: Sequence[str],
        shown: str,
        expect: int,
        lines: int,
        must_say: str,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        if shown:
            self.say(f"  $ {shown}")
        start = time.monotonic()
        environment = {**os.environ, **self.environment, **more}
        exit_code, printed = self._follow(command, environment, lines)
        seconds = round(time.monotonic() - start, 2)
        self.steps.append(Step(stage=self._stage, command=shown or "python", exit_code=exit_code, seconds=seconds))
        if exit_code != expect or must_say not in printed:
            wanted = f"exit code {expect}" + (f" and {must_say!r} in its output" if must_say else "")
            what = f"`{shown or 'python'}` ended with exit code {exit_code}; expected {wanted}\n{printed}"
            raise DemoError(what, where=self._stage, next_step="run the demo again; it continues")
        if expect:
            self.say(f"    (exit code {expect}, as it must be)")
        return printed

    def _follow(self, command: Sequence[str], environment: Mapping[str, str], lines: int) -> tuple[int, str]:
        """Run a command and say what it prints while it prints it; return its exit code and all of its output."""
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, bufsize=1,
        ) as process:  # fmt: skip
            said, printed = Shortened(self.say, lines), []
            for line in process.stdout:
                printed.append(line)
                said.add(line.rstrip("\n"))
            said.end()
        return process.returncode, "".join(printed)


class Shortened:
    """Says the first lines of an output as they come, then one now and then, and at the end how many more and the last.

    Empty lines at the end are not said.
    """

    def __init__(self, say: Callable[[str], None], n_lines: int, every_s: float = SAY_AGAIN_S):
        self._say, self._n_lines, self._every_s = say, n_lines, every_s
        self._n, self._empty, self._left_out = 0, 0, []
        self._said_at = time.monotonic()

    def add(self, line: str) -> None:
        """Take the next line."""
        if not line.strip():
            self._empty += 1
            return
        for text in (*[""] * self._empty, line):
            self._n += 1
            if self._n <= self._n_lines or time.monotonic() - self._said_at >= self._every_s:
                self._tell(text)
            else:
                self._left_out.append(text)
        self._empty = 0

    def end(self) -> None:
        """Say how many lines were left out, and the last of them."""
        if len(self._left_out) > 1:
            self._say(f"    … and {counted(len(self._left_out) - 1, 'more line')}")
        if self._left_out:
            self._tell(self._left_out[-1])

    def _tell(self, text: str) -> None:
        self._say(f"    {text}".rstrip())
        self._said_at = time.monotonic()
