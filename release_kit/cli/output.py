"""What every command shares: the ``--json`` flag, progress on stderr, and errors turned into text and exit codes."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.wording import counted as counted

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, for programs.")


def run(command: click.Command, argv: list[str] | None) -> int:
    """Run ``command`` and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    try:
        return command.main(args=argv, prog_name="release-kit", standalone_mode=False) or 0
    except click.exceptions.Abort:
        click.echo("interrupted; run the same command again to continue", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ReleaseKitError as error:
        return _report(error, argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _report(_of_the_system(error), argv)


def _of_the_system(error: OSError) -> ReleaseKitError:
    """A file that vanished or cannot be reached is the user's to mend; without a file name it is a defect of ours."""
    return ReleaseKitError(
        error.strerror or str(error), where=os.fsdecode(error.filename), next_step="make it reachable and run again"
    )


def _report(error: ReleaseKitError, argv: list[str] | None) -> int:
    if "--json" in (sys.argv[1:] if argv is None else argv):
        click.echo(_json_text({"ok": False, **error.to_dict()}))
    click.echo(f"error: {error}", err=True)
    return 2 if isinstance(error, UsageError) else 1


def emit(as_json: bool, value: dict[str, Any], text: str | Callable[[], str]) -> None:
    """Print the result of a command on stdout: ``value`` as one JSON object, or ``text`` for people.

    Args:
        as_json: what ``--json`` said.
        value: the machine's form; it should hold ``ok`` (bool).
        text: the readable form, or a function that makes it.
    """
    if as_json:
        click.echo(_json_text(value))
    else:
        click.echo(text() if callable(text) else text)


def _json_text(value: dict[str, Any]) -> str:
    """Return one line of JSON; file names that are not UTF-8 are escaped, since JSON has no bytes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


class Progress:
    """Progress of one long job on stderr: a bar with rate and time left in a terminal, silent elsewhere."""

    def __init__(self, bar: Any = None):
        self._bar = bar
        self._task: Any = None

    def start(self, label: str, total: float | None, unit: str = "bytes") -> None:
        """Begin a stage; ``total`` in ``unit`` (``bytes`` are shown as MB, everything else as counts)."""
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.update(self._task, visible=False)
        self._task = self._bar.add_task(label, total=total, unit=unit)

    def advance(self, n: float = 1) -> None:
        """Say that ``n`` more are done; callable from any thread."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)

    def say(self, text: str) -> None:
        """Say what is being done or waited for."""
        if self._bar is not None:
            self._bar.console.print(text, style="dim", highlight=False)


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Yield a ``Progress``; nothing is drawn when stderr is not a terminal or ``quiet`` is set."""
    if quiet or not sys.stderr.isatty():
        yield Progress()
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Progress(bar)
