"""``verify --sample``: a few random tensors, read by their byte ranges, of a folder or of a Hub.

Costs little and finds with known odds what a listing cannot: content that is not what its identity says. Draws are
by size, so that every byte of the weights is equally likely to be read; the same seed draws the same tensors.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from release_kit.core.errors import ArtifactError, HubError, RecordError, ReleaseKitError
from release_kit.core.manifest import TENSORS_FILE, FileEntry, Manifest
from release_kit.core.safetensors import Header, header_length, parse_header
from release_kit.core.tensors_file import parse_tensors
from release_kit.hub.client import HubClient
from release_kit.hub.errors import UnreachableError
from release_kit.release.download.source import RemoteRelease
from release_kit.release.verify.report import Difference, VerifyReport, as_it_lies

TRIES = 4
_BLOCK_BYTES = 1 << 20


class Reader(Protocol):
    """Reads ranges of files of the release tree."""

    def pieces(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` … ``end`` (exclusive)."""


class LocalReader:
    """Reads files of this disk."""

    def __init__(self, locate: Callable[[str], Path]):
        self._locate = locate

    def pieces(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` … ``end`` (exclusive).

        Raises:
            ArtifactError: the file cannot be read.
        """
        file = self._locate(path)
        try:
            with open(file, "rb", buffering=0) as stream:
                stream.seek(start)
                while start < end and (block := stream.read(min(_BLOCK_BYTES, end - start))):
                    start += len(block)
                    yield block
        except OSError as error:
            raise ArtifactError(f"cannot be read ({error.strerror})", where=str(file)) from error


class HubReader:
    """Reads files of a Hub by range."""

    def __init__(self, client: HubClient, release: RemoteRelease):
        self._client, self._release = client, release

    def pieces(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` … ``end`` (exclusive), going on where the connection broke off.

        Raises:
            HubError: the Hub cannot be reached or does not have the file.
        """
        source = self._release.source(path)
        for attempt in range(TRIES):
            try:
                with self._client.stream(source.repo, source.revision, source.path, start=start, end=end) as pieces:
                    for piece in pieces:
                        start += len(piece)
                        yield piece
            except UnreachableError:
                if attempt == TRIES - 1:
                    raise
            if start >= end:
                return


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a sample looked at and found."""

    differences: tuple[Difference, ...]
    n_drawn: int
    n_choices: int
    """How many tensors (or files, in a release without safetensors) there were to draw from."""
    n_files: int
    n_cells: int
    n_bytes: int
    unit: str
    """``tensors`` or ``files``."""


def sample(reader: Reader, expected: Mapping[str, FileEntry], n: int, seed: int) -> Sample:
    """Read ``n`` random tensors and compare them with the release's records.

    Args:
        reader: where to read.
        expected: tree path → entry of the files to draw from.
        n: how many.
        seed: the same seed draws the same ones.

    Returns:
        What was found; unreadable or missing files are differences.
    """
    rng = random.Random(seed)
    weights = {path: entry for path, entry in sorted(expected.items()) if entry.tensors is not None}
    if weights:
        return _Tensors(reader, expected, weights).draw(n, rng)
    files = [path for path, entry in sorted(expected.items()) if entry.size_bytes]
    drawn = rng.sample(files, min(n, len(files)))
    found = [difference for path in drawn if (difference := _whole_file(reader, path, expected[path])) is not None]
    return Sample(
        differences=tuple(found), n_drawn=len(drawn), n_choices=len(files), n_files=len(drawn),
        n_cells=_n_cells(drawn), n_bytes=sum(expected[path].size_bytes for path in drawn), unit="files",
    )  # fmt: skip


class _Tensors:
    """Draws tensors file by file; headers and records of each file are read once."""

    def __init__(self, reader: Reader, expected: Mapping[str, FileEntry], weights: Mapping[str, FileEntry]):
        self._reader, self._expected, self._weights = reader, expected, weights
        self.n_bytes = 0

    def draw(self, n: int, rng: random.Random) -> Sample:
        """Draw ``n`` tensors, files by their size and tensors within a file by theirs."""
        paths = list(self._weights)
        n_choices = sum(entry.tensors.n_tensors for entry in self._weights.values() if entry.tensors)
        shares = rng.choices(paths, [self._weights[path].size_bytes for path in paths], k=n)
        differences: list[Difference] = []
        n_drawn = 0
        for path in sorted(set(shares)):
            drawn, found = self._file(path, shares.count(path), rng)
            n_drawn += drawn
            differences += found
        return Sample(
            differences=tuple(differences), n_drawn=n_drawn, n_choices=n_choices, n_files=len(set(shares)),
            n_cells=_n_cells(shares), n_bytes=self.n_bytes, unit="tensors",
        )  # fmt: skip

    def _file(self, path: str, n: int, rng: random.Random) -> tuple[int, list[Difference]]:
        try:
            recorded = self._recorded(path)
            header = self._header(path)
            spans = [span for span in header.spans if span.end > span.start]
            chosen = _distinct(spans, n, rng)
            return len(chosen), [d for span in chosen if (d := self._tensor(path, span, recorded)) is not None]
        except ReleaseKitError as error:
            where = path if not isinstance(error, HubError) else (error.where or path)
            return 0, [Difference(code="unreadable", where=where, what=error.what, next_step=error.next_step)]

    def _recorded(self, path: str) -> dict:
        cell = "/".join(path.split("/")[:2])
        name = f"{cell}/{TENSORS_FILE}"
        entry = self._expected.get(name)
        if entry is None:
            raise RecordError(f"the release has no {TENSORS_FILE} for it", where=path)
        data = b"".join(self._reader.pieces(name, 0, entry.size_bytes))
        self.n_bytes += len(data)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise RecordError(f"its {TENSORS_FILE} is damaged", where=name)
        return parse_tensors(data, name).get(path.split("/", 2)[2], {})

    def _header(self, path: str) -> Header:
        size = self._weights[path].size_bytes
        prefix = b"".join(self._reader.pieces(path, 0, 8))
        length = header_length(prefix, size, path)
        raw = b"".join(self._reader.pieces(path, 8, 8 + length))
        self.n_bytes += 8 + len(raw)
        return parse_header(raw, size, path)

    def _tensor(self, path: str, span, recorded: dict) -> Difference | None:
        expected = recorded.get(span.name)
        if expected is None or expected[:2] != (span.dtype, span.shape):
            what = f"its header lists {span.name!r} as the release does not"
            return Difference(code="tensors", where=path, what=what, tensors=(span.name,))
        hasher = blake3()
        for piece in self._reader.pieces(path, span.start, span.end):
            hasher.update(piece)
            self.n_bytes += len(piece)
        if hasher.hexdigest() == expected[2]:
            return None
        return Difference(code="changed", where=path, what=f"tensor {span.name!r} differs", tensors=(span.name,))


def _distinct(spans: list, n: int, rng: random.Random) -> list:
    """Return up to ``n`` different spans, drawn by size, in the order of the file."""
    keyed = sorted(spans, key=lambda span: rng.expovariate(span.end - span.start))
    return sorted(keyed[:n], key=lambda span: span.start)


def _whole_file(reader: Reader, path: str, entry: FileEntry) -> Difference | None:
    hasher = hashlib.sha256()
    try:
        for piece in reader.pieces(path, 0, entry.size_bytes):
            hasher.update(piece)
    except ReleaseKitError as error:
        return Difference(code="unreadable", where=path, what=error.what, next_step=error.next_step)
    if hasher.hexdigest() == entry.sha256:
        return None
    what = f"expected sha256 {entry.sha256[:12]}…, got {hasher.hexdigest()[:12]}…"
    return Difference(code="changed", where=path, what=what)


def sample_report(
    result: Sample, manifest: Manifest, *, target: str, kind: str, seed: int, n_requests: int = 0
) -> VerifyReport:
    """Return the report on a sample; it says how much was not looked at."""
    note = f"{result.n_drawn} of {result.n_choices} {result.unit} were read (seed {seed}); the others were not"
    return VerifyReport(
        target=target,
        kind=kind,
        how="sampled",
        root=manifest.root,
        study=manifest.study,
        version=manifest.version,
        differences=as_it_lies(result.differences, dataset=manifest.is_dataset),
        n_files=result.n_files,
        n_bytes=result.n_bytes,
        n_read=result.n_files,
        n_bytes_read=result.n_bytes,
        n_cells=result.n_cells,
        n_requests=n_requests,
        notes=(note,),
    )


def _n_cells(paths) -> int:
    return len({path.split("/")[1] for path in paths if path.startswith("cells/")})
