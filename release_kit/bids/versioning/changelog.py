"""``CHANGES`` of a dataset: the entry of a version from what differs, and which number the next version should have.

Functions on text and differences, and what can be a version and its day. The form is the one that BIDS names:
``VERSION DATE`` and indented items, the newest first.
"""

import datetime
import os
import re
from collections.abc import Iterable

from release_kit.bids.versioning.manifest import Difference
from release_kit.bids.versioning.paths import CHANGES_FILE, is_of_git, meaning
from release_kit.core.errors import UsageError
from release_kit.core.wording import counted

N_NAMED = 3
NOT_RELEASED = "not released"
_TAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def released(text: str, version: str, date: str, difference: Difference, *, first: bool) -> str:
    """Return ``CHANGES`` with a dated entry for a version.

    An entry that people have written and dated stays as it is; one that says ``Not Released`` gets the date, and below
    its own items what the difference tells; none at all is made from the difference.

    Args:
        text: ``CHANGES`` as it is, or an empty text.
        version: the version.
        date: day of the release, ``YYYY-MM-DD``.
        difference: what changed since the version before (everything was added, for the first one).
        first: whether there is no version before.
    """
    lines = text.splitlines(keepends=True)
    place = next(
        (n for n, line in enumerate(lines) if line.split(maxsplit=1)[:1] == [version] and line[0] != " "), None
    )
    items = [f"  - {item}\n" for item in describe(difference, first=first)]
    if place is None:
        entry = "".join([f"{version} {date}\n", *items])
        return f"{entry}\n{text}" if text.strip() else entry
    if lines[place].split(maxsplit=1)[1:] and NOT_RELEASED not in lines[place].lower():
        return text
    end = next(
        (n for n in range(place + 1, len(lines)) if not lines[n][:1].isspace() or not lines[n].strip()), len(lines)
    )
    own = [line if line.endswith("\n") else f"{line}\n" for line in lines[place + 1 : end]]
    new = [item for item in items if item not in own]
    return "".join([*lines[:place], f"{version} {date}\n", *own, *new, *lines[end:]])


def describe(difference: Difference, *, first: bool) -> list[str]:
    """Return the items of an entry: what was added, changed, removed and renamed, by meaning."""
    items = ["First version."] if first else []
    for part in touched_meanings(difference):
        items += _items(part, difference, first)
    return items or ["Nothing in the files changed."]


def touched_meanings(difference: Difference) -> list[str]:
    """Return the meanings that a difference touches: data first, then annotations, derivatives, metadata."""
    touched = {meaning(path) for path in _paths(difference)}
    return [name for name in ("recordings", "annotations", "derivatives", "metadata") if name in touched]


def next_version(version: str, difference: Difference) -> str:
    """Return the number that a version with this difference should have.

    Recordings removed or changed: the first number; anything of recordings, annotations or derivatives else: the
    second; metadata only: the third. A version of another form gives an empty text.
    """
    found = _VERSION.fullmatch(version)
    if not found:
        return ""
    major, minor, patch = (int(part) for part in found.groups())
    lost = [*difference.removed, *difference.changed, *(old for old, _ in difference.moved)]
    if any(meaning(path) == "recordings" for path in lost):
        return f"{major + 1}.0.0"
    if any(meaning(path) != "metadata" for path in _paths(difference)):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def _items(part: str, difference: Difference, first: bool) -> Iterable[str]:
    lists = {"added": difference.added, "changed": difference.changed, "removed": difference.removed,
             "renamed": tuple(new for _, new in difference.moved)}  # fmt: skip
    for what, paths in lists.items():
        own = [path for path in paths if _counts(path) and meaning(path) == part]
        if own:
            named = "" if first else f" ({', '.join(own[:N_NAMED])}{', …' if len(own) > N_NAMED else ''})"
            yield f"{part.capitalize()}: {counted(len(own), 'file')} {what}{named}."


def _paths(difference: Difference) -> list[str]:
    every = [*difference.added, *difference.changed, *difference.removed]
    every += [path for pair in difference.moved for path in pair]
    return [path for path in every if _counts(path)]


def _counts(path: str) -> bool:
    return path != CHANGES_FILE and not is_of_git(path)


def check_version(version: str) -> None:
    """Refuse what can be no version and no tag.

    Raises:
        UsageError: it cannot.
    """
    if not _TAG.fullmatch(version) or ".." in version or version.endswith((".", ".lock")):
        raise UsageError(f"{version!r} is no version", next_step="take a number such as 1.0.0")


def check_date(date: str) -> str:
    """Return the day as it is written in CHANGES.

    Raises:
        UsageError: it is none.
    """
    try:
        found = datetime.date.fromisoformat(date).isoformat()
    except ValueError:
        found = None
    if found != date:
        raise UsageError(f"{date!r} is no day", next_step="write it as 2026-11-22")
    return date


def today() -> str:
    """Return the day of a version in CHANGES: ``SOURCE_DATE_EPOCH`` if it is set, else today (UTC)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch and not re.fullmatch(r"\d{1,11}", epoch):
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}", next_step="set it to seconds since 1970, or unset it")
    now = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else datetime.datetime.now(datetime.UTC)
    return now.date().isoformat()
