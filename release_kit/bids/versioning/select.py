"""Which files belong to one subject or one level of annotation, and what was asked for in a folder.

A selection is remembered beside the download (never in it as part of the dataset), so that a partial download is
verified as what it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.guard import STATE
from release_kit.bids.versioning.paths import level_of, subject_of
from release_kit.core.canonical import canonical_bytes, read_json
from release_kit.core.errors import UsageError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.core.records import nearest

ANNOTATIONS_TABLE = "stimuli/annotations.tsv"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is asked for; nothing named is everything.

    Subjects without levels: those subjects, and everything that belongs to no subject. Levels without subjects: those
    levels, and everything that belongs to no subject and no level. Both: both.
    """

    subjects: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()

    def wants(self, path: str, levels: Mapping[str, str]) -> bool:
        """Return whether a file is asked for; ``levels`` is annotation id → level."""
        if not self.subjects and not self.levels:
            return True
        if (subject := subject_of(path)) is not None:
            return subject in self.subjects
        level = level_of(path, levels)
        return level is None or not self.levels or level in self.levels

    def check(self, paths: Iterable[str], levels: Mapping[str, str], where: str) -> None:
        """Refuse subjects and levels that the dataset does not have, with the nearest that it has.

        Raises:
            UsageError: an unknown one.
        """
        paths = list(paths)
        subjects = sorted({found for path in paths if (found := subject_of(path))})
        known = sorted({found for path in paths if (found := level_of(path, levels))} | set(levels.values()))
        for asked, there, what in ((self.subjects, subjects, "subject"), (self.levels, known, "level")):
            for name in asked:
                if name not in there:
                    raise UsageError(f"the dataset has no {what} {name!r}{nearest(name, there)}", where=where)


def parse_levels(table: bytes) -> dict[str, str]:
    """Return annotation id → level from ``stimuli/annotations.tsv``; empty when it has no such columns."""
    rows = [line.split("\t") for line in table.decode("utf-8", "replace").splitlines() if line]
    if not rows or not {"annot_id", "level"} <= set(rows[0]):
        return {}
    identity, level = rows[0].index("annot_id"), rows[0].index("level")
    return {row[identity]: row[level] for row in rows[1:] if len(row) == len(rows[0])}


def _record(folder: Path) -> Path:
    git = folder / ".git"
    return git / STATE / "get.json" if git.is_dir() else folder / STATE_FOLDER / "get.json"


def remember(folder: Path, ref: str, selection: Selection | None = None) -> None:
    """Note that ``folder`` is a download of ``ref``, and that ``selection`` was asked for; earlier ones stay."""
    known = recorded(folder)
    asked = [*(known[1] if known else []), *([selection] if selection else [])]
    kept = {(one.subjects, one.levels): one for one in asked}
    value = {
        "ref": ref,
        "selections": [{"subjects": list(one.subjects), "levels": list(one.levels)} for one in kept.values()],
    }
    write_atomic(_record(folder), canonical_bytes(value))


def recorded(folder: Path) -> tuple[str, list[Selection]] | None:
    """Return the reference and the selections that were asked for in ``folder``; None when nothing is noted."""
    path = _record(folder)
    if not path.is_file():
        return None
    value: Any = read_json(path)
    selections = [
        Selection(subjects=tuple(one["subjects"]), levels=tuple(one["levels"])) for one in value["selections"]
    ]
    return value["ref"], selections
