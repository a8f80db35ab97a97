"""What a verification says: one ``Difference`` for each thing that is wrong, and the report around them.

Pure records and their text; nothing here reads a file. ``docs/verify.md`` lists the codes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from release_kit.core.dataset_tree import local_path

ORDER = (
    "empty", "incomplete", "manifest", "placement", "signature", "unreachable", "missing", "renamed", "swapped",
    "mislabelled", "changed", "tensors", "unreadable", "tag", "extra",
)  # fmt: skip
"""All codes; a report is sorted by place, then by this order."""

SHOWN = 40
"""Differences that the text form lists; ``--json`` always has all of them."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One way in which files are not what the manifest says.

    ``where`` is the path in the release tree (``cells/<name>/<file>``), or the file itself for what has none; in a
    report on a dataset it is the path in the dataset (``as_it_lies``).
    """

    code: str
    where: str
    what: str
    next_step: str | None = None
    other: str | None = None
    """The second path of a rename, a swap or a mislabelled file."""
    tensors: tuple[str, ...] = ()
    """Names of the tensors that differ, where they were looked at."""

    def to_dict(self) -> dict[str, Any]:
        """Return the form for ``--json``."""
        result: dict[str, Any] = {"code": self.code, "severity": "error", "where": self.where, "what": self.what}
        result["next_step"] = self.next_step
        if self.other is not None:
            result["other"] = self.other
        if self.tensors:
            result["tensors"] = list(self.tensors)
        return result

    def sentence(self) -> str:
        """Return one line for people."""
        step = f" — {self.next_step}" if self.next_step else ""
        return f"{self.code:<11} {self.where}: {self.what}{step}"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The outcome of one verification; ``ok`` only when something was checked and nothing was wrong."""

    target: str
    kind: str
    """``download``, ``study``, ``cache``, ``repo``, ``cell``, ``results`` or ``hub``."""
    root: str
    study: str
    version: str
    differences: tuple[Difference, ...]
    n_files: int
    """Files that the manifest expects in the part that was checked."""
    n_bytes: int
    n_read: int
    """Files whose bytes were read in this run; the others were remembered or compared by metadata."""
    n_bytes_read: int
    n_cells: int
    not_downloaded: tuple[str, ...] = ()
    """Cells of the release that are not here and were never asked for."""
    signed_by: str | None = None
    n_requests: int = 0
    notes: tuple[str, ...] = field(default=())
    how: str = "verified"
    """``verified`` (every byte, or remembered), ``verified by metadata``, or ``sampled``."""

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is right, and something was."""
        return not self.differences and self.n_files > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the form for ``--json``."""
        return {
            "ok": self.ok,
            "how": self.how,
            "target": self.target,
            "kind": self.kind,
            "study": self.study,
            "version": self.version,
            "root": self.root,
            "n_cells": self.n_cells,
            "n_files": self.n_files,
            "n_bytes": self.n_bytes,
            "n_read": self.n_read,
            "n_bytes_read": self.n_bytes_read,
            "n_requests": self.n_requests,
            "signed_by": self.signed_by,
            "not_downloaded": list(self.not_downloaded),
            "notes": list(self.notes),
            "problems": [difference.to_dict() for difference in self.differences],
        }

    def text(self) -> str:
        """Return the readable form: every problem (up to ``SHOWN``), then one line with the outcome."""
        lines = [difference.sentence() for difference in self.differences[:SHOWN]]
        if len(self.differences) > SHOWN:
            lines.append(f"… and {len(self.differences) - SHOWN} more (all of them with --json)")
        lines += [f"note: {note}" for note in self.notes]
        if self.not_downloaded:
            lines.append(f"note: {len(self.not_downloaded)} cells not downloaded: {shortened(self.not_downloaded)}")
        return "\n".join([*lines, self._outcome()])

    def _outcome(self) -> str:
        name = f"{self.study} {self.version}, root {self.root[:12]}"
        size = f"{self.n_files} files of {self.n_cells} cells, {human_bytes(self.n_bytes)}"
        signed = f", signed by {self.signed_by}" if self.signed_by else ""
        if self.ok:
            return f"{self.how}: {size} ({name}{signed})"
        return f"NOT {self.how}: {len(self.differences)} problems in {size} ({name}{signed})"


def as_it_lies(differences: Iterable[Difference], *, dataset: bool) -> tuple[Difference, ...]:
    """Return the differences with the places that whoever reads the report finds: in a dataset, its own paths.

    Args:
        differences: with paths of the release tree.
        dataset: whether the release is one dataset.
    """
    if not dataset:
        return ordered(differences)
    found = []
    for one in differences:
        where, other, what = _own_path(one.where), one.other and _own_path(one.other), one.what
        if one.other and other:
            what = what.replace(one.other, other)
        found.append(replace(one, where=where, other=other, what=what))
    return ordered(found)


def _own_path(tree_path: str) -> str:
    inside = tree_path.startswith("index/") or (tree_path.startswith("cells/") and tree_path.count("/") > 1)
    return local_path(tree_path, dataset=True) if inside else tree_path


def ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Return the differences sorted by place and code."""
    return tuple(sorted(differences, key=lambda d: (d.where, ORDER.index(d.code), d.what)))


def shortened(names: Sequence[str], n: int = 5) -> str:
    """Return the first ``n`` names and how many more there are."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


def human_bytes(n_bytes: float) -> str:
    """Return ``n_bytes`` in the largest decimal unit that keeps it at least 1 (``1.5 GB``)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
