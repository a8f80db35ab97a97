"""A report of ``check`` for people: by family and code, worst first, with colours where there is a terminal."""

import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import groupby

from release_kit.core.wording import counted, printable
from release_kit.release.check.codes import CODES
from release_kit.release.check.problem import ERROR, NOTE, SEVERITIES, WARNING, Problem
from release_kit.release.check.run import CheckReport

SHOWN = 8
"""Places that are listed for one code; ``--all`` lists every one."""

_STYLES = {ERROR: "bold red", WARNING: "yellow", NOTE: "blue"}
_PIPED_WIDTH = 100_000
"""Nothing is wrapped in a file or a pipe, so that each place stays on one line."""


def report_text(report: CheckReport, *, everything: bool = False, strict: bool = False) -> str:
    """Return the report as text.

    Args:
        report: what was found.
        everything: list every place of every code.
        strict: whether warnings count as refused, for the last line.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    buffer = StringIO()
    console = Console(
        file=buffer, force_terminal=terminal, width=None if terminal else _PIPED_WIDTH, highlight=False, soft_wrap=False
    )
    for family, members in groupby(report.problems, key=lambda each: each.family):
        console.print(f"[bold]{family.upper()}[/]")
        for _, group in groupby(members, key=lambda each: (each.severity, each.code, each.next_step, each.reason)):
            for line in _group(list(group), everything):
                console.print(line)
        console.print()
    console.print(_summary(report, strict))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip("\n")


def _group(problems: Sequence[Problem], everything: bool) -> Iterator:
    """Yield the lines of problems that differ only in place and content."""
    from rich.padding import Padding
    from rich.text import Text

    first = problems[0]
    head = Text.assemble(
        "  ", (first.severity, _STYLES[first.severity]), " ", (first.code, "bold"), f"  {CODES[first.code].summary}"
    )
    if len(problems) > 1:
        head.append(f"  ({len(problems)} places)", "dim")
    yield head
    shown = problems if everything or len(problems) <= SHOWN + 1 else problems[:SHOWN]
    for each in shown:
        place = Text.assemble((printable(each.where), "cyan"), f": {printable(each.what)}")
        yield Padding(place, (0, 0, 0, 6), expand=False)
    if len(shown) < len(problems):
        more = f"… and {len(problems) - len(shown)} more (--all lists them)"
        yield Padding(Text(more, "dim"), (0, 0, 0, 6), expand=False)
    if first.reason is not None:
        yield Padding(Text(f"accepted: {printable(first.reason)}", "green"), (0, 0, 0, 4), expand=False)
    else:
        yield Padding(Text(f"next: {printable(first.next_step)}", "dim"), (0, 0, 0, 4), expand=False)


def _summary(report: CheckReport, strict: bool):
    from rich.text import Text

    counts = [(counted(n, severity), _STYLES[severity]) for severity in SEVERITIES if (n := report.count(severity))]
    good = report.is_good(strict=strict)
    text = Text(f"{report.study.name} {report.study.version}: ")
    text.append("good" if good else "refused", "bold green" if good else "bold red")
    for count, style in counts:
        text.append(", ").append(count, style)
    built = "release built" if report.built else "not built yet"
    text.append(
        f" — {counted(report.n_declared, 'cell')} declared, {report.n_missing:,} missing, {report.n_cells:,} on disk "
        f"with {counted(report.n_files, 'file')}, {counted(report.n_results, 'result')}, {built}",
        "dim",
    )
    return text
