"""Deflate and inflate by one pinned zlib-ng; the only file that imports it.

Owns which library writes compressed bytes. Python's own zlib is whatever the machine has and writes other bytes on
other machines; the pinned package brings its library along and wrote equal bytes on every processor that was tried
(``docs/bids-recordings.md``). Reading is the same with any of them, so it works without the package too.
"""

import zlib
from functools import cache
from types import ModuleType
from typing import Any

from release_kit.core.errors import MissingExtraError

_RAW, _GZIP = -15, 31


def deflater(level: int) -> Any:
    """Return an object with ``compress`` and ``flush`` that makes a raw deflate stream.

    Raises:
        MissingExtraError: zlib-ng is not installed.
    """
    if (library := _zlib_ng()) is None:
        raise MissingExtraError("zlib-ng", "bids")
    return library.compressobj(level, zlib.DEFLATED, _RAW, 8, zlib.Z_DEFAULT_STRATEGY)


def gzip_inflater() -> Any:
    """Return an object like ``zlib.decompressobj`` for one gzip member; it raises one of ``inflate_errors()``."""
    return (_zlib_ng() or zlib).decompressobj(_GZIP)


def inflate_errors() -> tuple[type[Exception], ...]:
    """Return what is raised on a damaged stream."""
    library = _zlib_ng()
    return (zlib.error,) if library is None else (library.error, zlib.error)


def packer_version() -> str:
    """Return which library writes compressed bytes; equal versions write equal bytes."""
    library = _zlib_ng()
    return "none" if library is None else f"zlib-ng {library.ZLIBNG_RUNTIME_VERSION}"


@cache
def _zlib_ng() -> ModuleType | None:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return None
    return zlib_ng
