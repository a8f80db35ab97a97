"""From what the manifest expects and what was found to the list of differences: a pure decision.

Knows nothing of disks and Hubs; offline, remote and repair all compare here. A file that lies under another name is
told apart from one that is gone, and two files that changed places from two files that were damaged.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from release_kit.core.manifest import FileEntry
from release_kit.release.verify.report import Difference, ordered


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a file that is there: its size and, where it was read, its identity."""

    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None
    error: str | None = None
    """Why it could not be read."""


def needs_reading(expected: Mapping[str, FileEntry], sizes: Mapping[str, int]) -> list[str]:
    """Return the found paths whose content decides something, sorted.

    A file of the wrong size is damaged without a look inside, unless its size is that of another file of the
    release; a file that nobody expects matters only when something of its size is missing or damaged.

    Args:
        expected: path → entry.
        sizes: path → size of every file that was found.
    """
    wrong = {path for path, entry in expected.items() if sizes.get(path) != entry.size_bytes}
    wanted_sizes = {entry.size_bytes for entry in expected.values()}
    missing_sizes = {expected[path].size_bytes for path in wrong}
    chosen = []
    for path, size in sizes.items():
        if path in expected:
            if path not in wrong or size in wanted_sizes:
                chosen.append(path)
        elif size in missing_sizes:
            chosen.append(path)
    return sorted(chosen)


def compare(
    expected: Mapping[str, FileEntry], observed: Mapping[str, Observed], *, repair_step: str | None = None
) -> tuple[Difference, ...]:
    """Return every difference, sorted; none means that the files are exactly what the manifest says.

    Args:
        expected: path → entry of all files that should be there.
        observed: path → what is there. A file without ``sha256`` and ``git_sha1`` counts as changed when its size
            differs, and as unreadable when it has an error.
        repair_step: the next step to name for files that are missing or damaged.
    """
    damaged = {path: seen for path, seen in observed.items() if path in expected and not same(expected[path], seen)}
    missing = [path for path in expected if path not in observed]
    extra = {path: seen for path, seen in observed.items() if path not in expected}
    renames = _renames(expected, missing, extra)
    found: list[Difference] = [_renamed(old, new) for old, new in renames.items()]
    found += [_missing(path, repair_step) for path in missing if path not in renames]
    found += [_extra(path) for path in extra if path not in set(renames.values())]
    found += _damages(expected, damaged, repair_step)
    return ordered(found)


def same(entry: FileEntry, seen: Observed) -> bool:
    """Return whether a file is the one that the manifest names, by the strongest identity that is known of it."""
    if seen.error is not None or seen.size_bytes != entry.size_bytes:
        return False
    if seen.sha256 is not None:
        return seen.sha256 == entry.sha256
    return seen.git_sha1 is not None and seen.git_sha1 == entry.git_sha1


def _renames(
    expected: Mapping[str, FileEntry], missing: Iterable[str], extra: Mapping[str, Observed]
) -> dict[str, str]:
    """Return ``{expected path: path where its content lies now}``; empty files are never taken for each other."""
    candidates: dict[str, list[str]] = defaultdict(list)
    for path, seen in sorted(extra.items(), reverse=True):
        if seen.sha256 is not None and seen.size_bytes:
            candidates[seen.sha256].append(path)
    renames = {}
    for path in sorted(missing):
        places = candidates.get(expected[path].sha256)
        if places:
            renames[path] = places.pop()
    return renames


def _damages(
    expected: Mapping[str, FileEntry], damaged: Mapping[str, Observed], repair_step: str | None
) -> list[Difference]:
    owners: dict[str, list[str]] = defaultdict(list)
    for path, entry in sorted(expected.items()):
        if entry.size_bytes:
            owners[entry.sha256].append(path)
    return [_damage(path, seen, expected, damaged, owners, repair_step) for path, seen in sorted(damaged.items())]


def _damage(path, seen: Observed, expected, damaged, owners, repair_step) -> Difference:
    entry = expected[path]
    if seen.error is not None:
        return Difference(code="unreadable", where=path, what=seen.error, next_step=repair_step)
    others = owners.get(seen.sha256, []) if seen.sha256 else []
    for other in others:
        back = damaged.get(other)
        if back is not None and back.sha256 == entry.sha256:
            what = f"has changed places with {other}"
            return Difference(code="swapped", where=path, what=what, next_step=repair_step, other=other)
    if others:
        what = f"holds the content of {others[0]}"
        return Difference(code="mislabelled", where=path, what=what, next_step=repair_step, other=others[0])
    return Difference(code="changed", where=path, what=_change(entry, seen), next_step=repair_step)


def _change(entry: FileEntry, seen: Observed) -> str:
    if seen.size_bytes < entry.size_bytes:
        return f"is truncated: expected {entry.size_bytes} bytes, got {seen.size_bytes}"
    if seen.size_bytes > entry.size_bytes:
        return f"is too long: expected {entry.size_bytes} bytes, got {seen.size_bytes}"
    if seen.sha256 is not None:
        return f"expected sha256 {entry.sha256[:12]}…, got {seen.sha256[:12]}…"
    return f"expected git id {str(entry.git_sha1)[:12]}…, got {str(seen.git_sha1)[:12]}…"


def _renamed(expected: str, got: str) -> Difference:
    what = f"lies under another name: {got}"
    return Difference(code="renamed", where=expected, what=what, other=got, next_step="give it back its name")


def _missing(path: str, repair_step: str | None) -> Difference:
    return Difference(code="missing", where=path, what="is not there", next_step=repair_step)


def _extra(path: str) -> Difference:
    step = "remove it, or move it out of this folder"
    return Difference(code="extra", where=path, what="does not belong to the release", next_step=step)
