"""The bytes of a recording's file, read once and in order: plain or gzip, hashed on the way.

Owns decompression, the digest of the file as it lies on disk, and where exactly a damaged file ends. What the bytes
mean is ``nifti_read.py``.
"""

import hashlib
import io
import os
from pathlib import Path

from release_kit.bids.recordings.header import RecordingError
from release_kit.bids.recordings.packing import gzip_inflater, inflate_errors

_BLOCK = 1 << 18
_GZIP = b"\x1f\x8b"


class Damage(Exception):
    """The stream cannot go on; ``reason`` says why. The caller knows what the bytes before it were."""

    def __init__(self, reason: str):
        self.reason = reason
        super().__init__(reason)


class Source:
    """A file as a forward stream of its content; gzip is recognised by its first bytes, not by its name.

    ``position`` counts bytes of content. ``sha256()`` is that of the file itself, compressed or not.
    """

    def __init__(self, path: Path):
        self.path, self.position = path, 0
        self._sha256 = hashlib.sha256()
        try:
            self._file = io.FileIO(path)
        except OSError as error:
            step = "check the pattern in the recipe"
            raise RecordingError(f"cannot be read ({error.strerror})", where=str(path), next_step=step) from error
        self.size_bytes = os.fstat(self._file.fileno()).st_size
        self._pending = self._read_file()
        self.compressed = self._pending.startswith(_GZIP)
        self._inflate = gzip_inflater() if self.compressed else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def fill(self, view: memoryview) -> int:
        """Read content into ``view`` (bytes) until it is full or the content ends; return how many bytes it got.

        Raises:
            Damage: gzip's own check failed, or the file ends inside its gzip stream.
        """
        filled = 0
        while filled < len(view) and (n := self._some(view[filled:])):
            filled += n
            self.position += n
        return filled

    def skip(self, n_bytes: int) -> int:
        """Read past ``n_bytes`` of content; return how many there were."""
        scratch, left = memoryview(bytearray(min(n_bytes, _BLOCK))), n_bytes
        while left and (got := self.fill(scratch[: min(left, _BLOCK)])):
            left -= got
        return n_bytes - left

    def count_rest(self) -> int:
        """Read to the end and return how many bytes of content there were still; checks gzip's sums on the way."""
        scratch, total = memoryview(bytearray(_BLOCK)), 0
        while got := self.fill(scratch):
            total += got
        return total

    def content_size(self) -> int | None:
        """Return how long the content is without reading it: exact for a plain file, a claim for gzip.

        Gzip notes the length modulo 2**32 of its last member in the last 4 bytes; of a truncated file those are noise.
        """
        if not self.compressed:
            return self.size_bytes
        return int.from_bytes(os.pread(self._file.fileno(), 4, max(self.size_bytes - 4, 0)), "little")

    def sha256(self) -> str:
        """Return the sha256 of the whole file as it lies on disk; reads what was not read yet, without inflating it."""
        while self._read_file():
            pass
        return self._sha256.hexdigest()

    def _read_file(self) -> bytes:
        block = self._file.read(_BLOCK)
        self._sha256.update(block)
        return block

    def _some(self, view: memoryview) -> int:
        if self._inflate is None:
            return self._plain(view)
        while True:
            if self._inflate.eof and not self._next_member():
                return 0
            self._pending = self._pending or self._read_file()
            ended = not self._pending
            try:
                out = self._inflate.decompress(self._pending, len(view))
            except inflate_errors() as error:
                raise Damage(f"its gzip stream is damaged ({error})") from error
            self._pending = self._inflate.unconsumed_tail
            if out:
                view[: len(out)] = out
                return len(out)
            if ended and not self._inflate.eof:
                raise Damage("the file ends inside its gzip stream")

    def _plain(self, view: memoryview) -> int:
        if self._pending:
            n = min(len(view), len(self._pending))
            view[:n] = self._pending[:n]
            self._pending = self._pending[n:]
            return n
        n = self._file.readinto(view) or 0
        self._sha256.update(view[:n])
        return n

    def _next_member(self) -> bool:
        """Go on to a further gzip member; zeros after a member are padding, anything else is damage."""
        rest = self._inflate.unused_data if self._inflate else b""
        while not (rest := rest.lstrip(b"\0")):
            rest = self._read_file()
            if not rest:
                return False
        if len(rest) < 2:
            rest += self._read_file()
        if not rest.startswith(_GZIP):
            raise Damage("bytes that are not gzip follow its gzip stream")
        self._inflate, self._pending = gzip_inflater(), rest
        return True
