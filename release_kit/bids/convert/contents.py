"""What a file of the dataset should hold: bytes made from the recipe, or a file that is copied as it is."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.errors import ArtifactError, StudyError
from release_kit.core.files import open_atomic
from release_kit.core.hashing import hash_file

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file to be: its identity, and where its bytes come from (``data``, or the file ``source``)."""

    sha256: str
    data: bytes | None = field(default=None, repr=False)
    source: Path | None = None

    def write(self, target: Path) -> None:
        """Write the file; it appears under its name only when it is whole.

        Raises:
            ArtifactError: the source changed since it was looked at.
            ReleaseKitError: the target cannot be written.
        """
        found = hashlib.sha256()
        with open_atomic(target) as stream:
            for block in self._blocks():
                found.update(block)
                stream.write(block)
            if found.hexdigest() != self.sha256:
                raise ArtifactError(
                    "changed while it was copied", where=str(self.source), next_step="run the same command again"
                )

    def _blocks(self) -> Iterator[bytes]:
        if self.source is None:
            yield self.data or b""
            return
        with self.source.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block


def of_bytes(data: bytes) -> Content:
    """Return the content that is ``data``."""
    return Content(sha256=hashlib.sha256(data).hexdigest(), data=data)


def of_file(path: Path) -> Content:
    """Return the content that is a copy of ``path``; the file is read once to know it."""
    return Content(sha256=hash_file(path, tensors=False, git=False).sha256, source=path)


def collected(files: Iterable[tuple[str, Content]]) -> dict[str, Content]:
    """Return path → content, in the order of paths.

    Raises:
        StudyError: one path is given two different contents.
    """
    found: dict[str, Content] = {}
    twice: set[str] = set()
    for path, content in files:
        if path in found and found[path].sha256 != content.sha256:
            twice.add(path)
        found[path] = content
    if twice:
        raise StudyError(
            f"two different files would have one name in the dataset: {', '.join(sorted(twice))}",
            next_step="give the sources different names",
        )
    return dict(sorted(found.items()))
