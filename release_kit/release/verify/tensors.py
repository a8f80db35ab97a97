"""Which tensors of a damaged file differ, told apart from a header that alone was changed.

The expected digests come from each cell's ``tensors.json``, which counts only when it is itself what the manifest
says; without it the manifest's one digest over all tensors still tells whether any weight changed.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from release_kit.core.errors import RecordError
from release_kit.core.hashing import FileDigest, TensorDigest, tensors_digest
from release_kit.core.manifest import TENSORS_FILE, FileEntry
from release_kit.core.tensors_file import parse_tensors
from release_kit.release.verify.compare import same
from release_kit.release.verify.report import Difference, shortened

if TYPE_CHECKING:
    from release_kit.release.verify.run import Inspection

Recorded = dict[str, tuple[str, tuple[int, ...], str]]
"""Tensor name → (dtype, shape, BLAKE3)."""

HEADER_ONLY = "only its header differs"


def explain_tensors(inspection: "Inspection", differences: Iterable[Difference]) -> list[Difference]:
    """Return the differences with what is known of single tensors added to those of safetensors files.

    A file that is intact but disagrees with its ``tensors.json`` becomes a difference of its own (``tensors``).
    """
    recorded = _Records(inspection)
    explained = [_explained(inspection, recorded, difference) for difference in differences]
    damaged = {difference.where for difference in explained}
    for path, digest in inspection.digests.items():
        entry = inspection.expected.get(path)
        if entry is None or entry.tensors is None or path in damaged:
            continue
        expected = recorded.of(path)
        if expected is not None and (found := compare_tensors(expected, digest.tensors or ())) is not None:
            what, names = found
            what = f"is intact, but its {TENSORS_FILE} says otherwise: {what}"
            explained.append(Difference(code="tensors", where=path, what=what, tensors=names))
    return explained


def compare_tensors(expected: Recorded, found: Iterable[TensorDigest]) -> tuple[str, tuple[str, ...]] | None:
    """Return what differs between recorded and found tensors and their names, sorted; None when nothing does."""
    seen = {t.name: t for t in found}
    changed, reshaped = [], []
    for name in sorted(expected.keys() & seen.keys()):
        dtype, shape, digest = expected[name]
        if (seen[name].dtype, seen[name].shape) != (dtype, shape):
            reshaped.append(name)
        elif seen[name].blake3 != digest:
            changed.append(name)
    lost, new = sorted(expected.keys() - seen.keys()), sorted(seen.keys() - expected.keys())
    if not (changed or reshaped or lost or new):
        return None
    parts = []
    for names, text in (
        (changed, f"{len(changed)} of {len(expected)} tensors differ"),
        (reshaped, f"{len(reshaped)} have another type or shape"),
        (lost, f"{len(lost)} are missing"),
        (new, f"{len(new)} are not of this release"),
    ):
        if names:
            parts.append(f"{text} ({shortened([_printable(name) for name in names])})")
    return "; ".join(parts), (*changed, *reshaped, *lost, *new)


class _Records:
    """The recorded tensors of each cell, read once, and only where ``tensors.json`` is intact."""

    def __init__(self, inspection: "Inspection"):
        self._inspection = inspection
        self._read: dict[str, dict[str, Recorded] | None] = {}

    def of(self, path: str) -> Recorded | None:
        """Return the recorded tensors of a file of the release tree, or None when they cannot be relied on."""
        _, name, inner = path.split("/", 2)
        if name not in self._read:
            self._read[name] = self._cell(f"cells/{name}/{TENSORS_FILE}")
        cell = self._read[name]
        return None if cell is None else cell.get(inner)

    def _cell(self, path: str) -> dict[str, Recorded] | None:
        entry, seen = self._inspection.expected.get(path), self._inspection.observed.get(path)
        if entry is None or seen is None or not same(entry, seen):
            return None
        try:
            return parse_tensors(Path(self._inspection.found[path][0]).read_bytes(), path)
        except (OSError, RecordError):
            return None


def _explained(inspection: "Inspection", recorded: _Records, difference: Difference) -> Difference:
    entry = inspection.expected.get(difference.where)
    digest = inspection.digests.get(difference.where)
    if entry is None or entry.tensors is None or digest is None or difference.code == "unreadable":
        return difference
    text, names = explain_file(entry, digest, recorded.of(difference.where))
    return replace(difference, what=f"{difference.what}; {text}", tensors=names)


def explain_file(entry: FileEntry, digest: FileDigest, expected: Recorded | None) -> tuple[str, tuple[str, ...]]:
    """Return what the tensors of one damaged file tell, and the names of those that differ.

    Args:
        entry: the file in the manifest, with a digest over its tensors.
        digest: the file as found, tensors included.
        expected: its recorded tensors, None where ``tensors.json`` is damaged or gone.
    """
    if digest.tensors is None:
        return f"its tensors cannot be told apart: it {digest.problem}", ()
    if entry.tensors is not None and tensors_digest(digest.tensors) == entry.tensors.digest:
        return f"{HEADER_ONLY}: all {len(digest.tensors)} tensors are as released", ()
    if expected is None:
        return f"its weights differ, but {TENSORS_FILE} is damaged or gone, so that no tensor can be named", ()
    return compare_tensors(expected, digest.tensors) or (HEADER_ONLY, ())


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)
