"""The command line as a person runs it, without the cost of a new interpreter for every call."""

import contextlib
import io
import os
from dataclasses import dataclass

from release_kit.cli import cli
from release_kit.cli.output import run


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def release_kit(*arguments: object, **environment: str) -> Outcome:
    """Run ``release-kit ARGUMENTS`` in this process, with more environment variables for its time.

    Errors become text and exit codes exactly as in the installed command.
    """
    before = dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    try:
        os.environ.update(environment)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(cli, [str(argument) for argument in arguments])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Outcome(code, out.getvalue(), err.getvalue())
