"""Progress of a grid on stderr: a bar with the workers' steps on a terminal, plain lines elsewhere.

Counts what is on disk, so that runs which other machines finish are seen too.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from release_kit.engine.unit import Unit

LOOK_S = 2.0
"""How often markers of completion are counted."""

Say = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def grid_progress(
    study: Any, select: Mapping[str, Sequence], *, together: int | None = None, quiet: bool = False
) -> Iterator[Say]:
    """Yield the function that takes the events of a run; nothing is drawn when ``quiet``.

    Args:
        study: the study that runs.
        select: partial levels of the runs that are worked on.
        together: runs in one batch, as they are run.
        quiet: say nothing (``--json``).
    """
    if quiet:
        yield lambda event: None
        return
    from release_kit.sft.engine.agreed import agree_together
    from release_kit.sft.engine.units import plan_units

    units = plan_units(study, select, together=agree_together(study.folder, together))
    with units_progress(study.folder, units) as say:
        yield say


@contextlib.contextmanager
def units_progress(
    folder: Path,
    units: Sequence[Unit],
    *,
    word: str = "cells",
    count: Callable[[Unit], int] = lambda x: len(x.cell_ids),
) -> Iterator[Say]:
    """Yield the function that takes the events of a run over units of any kind of study.

    Args:
        folder: of the study.
        units: what is worked on.
        word: what is counted.
        count: how many of them a unit is.
    """
    counter = _Counter(folder, units, word, count)
    if sys.stderr.isatty():
        with _bar(counter) as say:
            yield say
    else:
        yield _lines(counter)


class _Counter:
    """How much is complete, looked up now and then."""

    def __init__(self, folder: Path, units: Sequence[Unit], word: str, count: Callable[[Unit], int]):
        self._folder, self.word, self._count = folder, word, count
        self._open = list(units)
        self.total = sum(map(count, units))
        self.done, self._looked_s = 0, float("-inf")
        self.look()

    def look(self, *, now: bool = False) -> int:
        if now or time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            finished = [unit for unit in self._open if unit.is_done(self._folder)]
            self.done += sum(map(self._count, finished))
            names = {unit.name for unit in finished}
            self._open = [unit for unit in self._open if unit.name not in names]
        return self.done


def _lines(counter: _Counter) -> Say:
    start, first = time.monotonic(), counter.done

    def say(event: Mapping[str, Any]) -> None:
        if event["event"] == "done":
            done = counter.look(now=True)
            rate = (done - first) / max(time.monotonic() - start, 1e-9)
            left = f", about {_span((counter.total - done) / rate)} left" if done > first else ""
            click.echo(
                f"{done:,}/{counter.total:,} {counter.word}  {event['title']}  {event.get('seconds', 0):.1f} s{left}",
                err=True,
            )
        elif text := _told(event):
            click.echo(text, err=True)

    return say


@contextlib.contextmanager
def _bar(counter: _Counter) -> Iterator[Say]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        whole = bar.add_task(counter.word, total=counter.total, completed=counter.done)
        rows: dict[Any, Any] = {}

        def say(event: Mapping[str, Any]) -> None:
            if text := _told(event):
                bar.console.print(text, style="yellow", highlight=False)
            worker = event.get("worker")
            if event["event"] in ("started", "step") and worker is not None:
                if worker not in rows:
                    rows[worker] = bar.add_task("")
                title = f"{event['title'][:70]}  {event.get('stage', '')}"
                bar.update(
                    rows[worker], description=title, total=event.get("n_steps") or None, completed=event.get("step", 0)
                )
            bar.update(whole, completed=counter.look(now=event["event"] == "done"))

        yield say


def _told(event: Mapping[str, Any]) -> str | None:
    """Return the line for an event that people must see, else None."""
    if event["event"] == "failed":
        return f"failed   {event['what']}"
    if event["event"] == "died":
        then = "started again" if event["again"] else "not started again"
        return f"worker {event['worker']} {event['why']}; {then}"
    if event["event"] == "job":
        return f"Slurm job {event['job']} submitted: {event['n']} workers"
    if event.get("stage") == "halve":
        return f"out of memory: {event['title']} goes on with a micro-batch of {event['micro_batch']}"
    return None


def _span(seconds: float) -> str:
    return (
        f"{seconds:,.0f} s"
        if seconds < 120
        else f"{seconds / 60:,.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:,.1f} h"
    )
