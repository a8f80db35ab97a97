"""Doing the same to many items at once, with failures treated by their kind. Knows nothing of publishing itself."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from typing import TypeVar

from release_kit.core.errors import PublishError, ReleaseKitError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def run_all(
    pool: Executor, work: Callable[[Item], Outcome], items: Iterable[Item], stop: threading.Event
) -> list[Outcome]:
    """Return the outcomes in order; the first failure of the Hub ends everything, local problems are collected."""

    def guarded(item: Item) -> Outcome | None:
        if stop.is_set():
            return None
        try:
            return work(item)
        except PublishError:
            raise
        except BaseException:
            stop.set()
            raise

    futures = [pool.submit(guarded, item) for item in items]
    try:
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, PublishError):
                raise error
    except BaseException:
        stop.set()
        raise
    problems = [error for future in futures if (error := future.exception()) is not None]
    if problems:
        raise _combined(problems)
    return [future.result() for future in futures]


def _combined(problems: list) -> ReleaseKitError:
    if len(problems) == 1:
        return problems[0]
    more = f"; … and {len(problems) - 5} more" if len(problems) > 5 else ""
    texts = "; ".join(f"{problem.where}: {problem.what}" if problem.where else problem.what for problem in problems[:5])
    return PublishError(f"{len(problems)} problems: {texts}{more}", next_step=problems[0].next_step)
