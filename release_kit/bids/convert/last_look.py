"""The last look at a dataset before it is called good: nothing in it leads back to a person.

What git-annex holds elsewhere cannot be looked into here. It was when it was written, and its key says that it has not
changed since; so it refuses nothing, and is told as not looked at.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from release_kit.bids.convert.identity import text_code
from release_kit.bids.convert.last_files import final_place
from release_kit.bids.convert.state import State
from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.pseudonyms import secret_words
from release_kit.bids.sidecars.leaks import Leak, find_leaks
from release_kit.core.canonical import digest
from release_kit.core.digest_cache import stamp_of
from release_kit.core.errors import IntegrityError
from release_kit.core.wording import counted

N_SHOWN = 20


def check_leaks(
    recipe: Recipe, out: Path, holds: Mapping[str, str], state: State, say: Callable[[Mapping[str, Any]], None]
) -> tuple[str, ...]:
    """Refuse a dataset in which something identifying remains; not looked at again while nothing changes.

    Args:
        recipe: the study; its source names and words must appear nowhere.
        out: the dataset.
        holds: path → sha256 of what conversion wrote.
        state: what was found good before.
        say: told that the look begins.

    Returns:
        What needs a look but tells nothing by itself, and how much is not here to be looked at.

    Raises:
        IntegrityError: the files and what is in them.
    """
    words = secret_words(recipe)
    parts = {"files": sorted(holds.items()), "others": _others(out, holds), "words": words}
    identity = digest({**parts, "code": text_code()})
    mark = f"leaks:{out.resolve()}"
    if state.marks.get(mark) == identity:
        return ()
    say({"event": "leaks"})
    found = [replace(leak, path=final_place(leak.path)) for leak in find_leaks(out, words, recipe.privacy)]
    absent = [leak for leak in found if leak.code == "absent" and (out / ".git").exists()]
    warnings = tuple(f"{leak.path}: {leak.what}" for leak in found if leak.severity == "warning") + _unseen(absent)
    if leaks := [leak for leak in found if leak.severity != "warning" and leak not in absent]:
        listed = "; ".join(f"{leak.path}: {leak.what}" for leak in leaks[:N_SHOWN])
        more = f"; and {len(leaks) - N_SHOWN} more" if len(leaks) > N_SHOWN else ""
        raise IntegrityError(
            f"{counted(len(leaks), 'place')} of the dataset with something identifying: {listed}{more}",
            where=str(out),
            next_step="do not publish this folder; mend the sources or the recipe's `privacy` (`ordinary`: parts of "
            "names that are ordinary words), and convert again: before that, "
            "conversion gives it no dataset_description.json",
        )
    if not warnings:
        state.mark(mark, identity)
    return warnings


def _unseen(absent: list[Leak]) -> tuple[str, ...]:
    """Return the sentence about contents that are not here."""
    if not absent:
        return ()
    return (
        f"the content of {counted(len(absent), 'file')} is not here and was not looked at for anything identifying "
        f"(such as {absent[0].path}): git-annex has it elsewhere; get it before you vouch for it",
    )


def _others(out: Path, holds: Mapping[str, str]) -> list[list[Any]]:
    """Return the state of every file of the dataset that conversion does not answer for, git's own left out."""
    found = []
    for folder, folders, files in os.walk(out):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*files, *(name for name in folders if os.path.islink(os.path.join(folder, name)))]:
            path = os.path.join(folder, name)
            if final_place(relative := os.path.relpath(path, out)) not in holds:
                found.append([os.fsencode(relative).hex(), *stamp_of(os.lstat(path))])
    return sorted(found)
