"""Decides what conversion does with each path of a dataset; pure, from digests alone.

The rule: nothing that conversion did not write is overwritten or removed. A file is conversion's own while it holds a
content that conversion gave it.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from release_kit.core.errors import ReleaseKitError, StudyError
from release_kit.core.wording import counted

N_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do with the paths of a dataset, each list sorted."""

    write: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    """There, not conversion's own, and what should be there is not known before it is made."""
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    """No longer in the recipe, but changed since conversion wrote it."""
    gone: tuple[str, ...] = ()
    """No longer in the recipe and not there."""
    refused: tuple[str, ...] = ()
    """Holds something that conversion did not write."""


def decide(
    wanted: Mapping[str, str | None],
    there: Mapping[str, str],
    owned: Mapping[str, Set[str]],
    seeds: Set[str] = frozenset(),
) -> Decision:
    """Return what to do.

    Args:
        wanted: path → sha256 that it should hold; None where that is not known before it is made.
        there: path → sha256 that it holds, for every wanted or owned path that exists.
        owned: path → contents that conversion gave it.
        seeds: paths that are begun once and then belong to people (``CHANGES``): what is there is left alone.
    """
    lists: dict[str, list[str]] = {name: [] for name in Decision.__dataclass_fields__}
    for path in sorted(wanted):
        lists[_one(path, wanted[path], there.get(path), owned.get(path, frozenset()), path in seeds)].append(path)
    for path in sorted(owned.keys() - wanted.keys()):
        if path not in there:
            lists["gone"].append(path)
        else:
            lists["remove" if there[path] in owned[path] else "keep"].append(path)
    return Decision(**{name: tuple(paths) for name, paths in lists.items()})


def _one(path: str, wanted: str | None, there: str | None, owned: Set[str], seed: bool) -> str:
    if there is None:
        return "write"
    if seed or there == wanted:
        return "unchanged"
    if there in owned:
        return "write"
    return "refused" if wanted is not None else "unsure"


def refusal(paths: tuple[str, ...], where: str) -> ReleaseKitError:
    """Return the error that names what would have been overwritten."""
    shown = ", ".join(paths[:N_SHOWN]) + (f" and {len(paths) - N_SHOWN} more" if len(paths) > N_SHOWN else "")
    return StudyError(
        f"{counted(len(paths), 'file')} there with a content that conversion did not write, and different from what "
        f"the recipe gives: {shown}",
        where=where,
        next_step="nothing was overwritten; move them away or convert into another folder; what is committed in the "
        "dataset's git may be replaced with --take-over",
    )


def all_problems(problems: Sequence[ReleaseKitError], next_step: str | None = None) -> ReleaseKitError:
    """Return one error that says several, each different one once; a single one is returned as it is."""
    lines = sorted({problem.sentence() for problem in problems})
    if len(lines) == 1:
        return problems[0]
    shown = "; ".join(lines[:N_SHOWN]) + (f"; and {len(lines) - N_SHOWN} more" if len(lines) > N_SHOWN else "")
    return StudyError(f"{counted(len(lines), 'problem')}: {shown}", next_step=next_step)
