"""``dataset_description.json`` makes a folder a dataset: it takes its name last, after everything was found good.

Until then it waits under a temporary name; what a killed conversion leaves of it, the next one removes. A folder in
which something identifying was found loses it again, so that no tool takes the folder for a finished dataset.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from release_kit.bids.convert.presence import contents
from release_kit.bids.convert.state import State
from release_kit.core.files import TEMPORARY_PREFIX, write_error

LAST = "dataset_description.json"
"""Of the dataset, and of each derivative in it."""
_WAITING = f"{TEMPORARY_PREFIX}{LAST}"


def is_last(path: str) -> bool:
    """Return whether ``path`` makes its folder a dataset."""
    return path.split("/")[-1] == LAST


def waiting_place(path: str) -> str:
    """Return where a file of the dataset is written first: under another name, if it makes its folder a dataset."""
    return path[: -len(LAST)] + _WAITING if is_last(path) else path


def final_place(path: str) -> str:
    """Return the name that a waiting file will have; ``final_place(waiting_place(path)) == path``."""
    return path[: -len(_WAITING)] + LAST if path.split("/")[-1] == _WAITING else path


def place_last(out: Path, paths: Iterable[str]) -> None:
    """Give those of ``paths`` that wait their names, the dataset's own after those of its derivatives.

    Raises:
        ReleaseKitError: the disk refuses.
    """
    for path in sorted(filter(is_last, paths), key=lambda path: (path == LAST, path)):
        waiting = out / waiting_place(path)
        if waiting.exists():
            try:
                os.replace(waiting, out / path)
            except OSError as error:
                raise write_error(out / path, error) from error


def drop_waiting(out: Path, state: State) -> None:
    """Remove what waits for its name in a conversion that fails."""
    for path in filter(is_last, state.owned):
        with contextlib.suppress(OSError):
            (out / waiting_place(path)).unlink(missing_ok=True)


def withdraw_last(out: Path, state: State) -> None:
    """Take away what makes ``out`` and its derivatives datasets, as far as conversion wrote it."""
    owned = [path for path in state.owned if is_last(path)]
    there = contents(out, owned, None)
    for path in owned:
        if there.get(path) in state.owned[path]:
            with contextlib.suppress(OSError):
                (out / path).unlink()
