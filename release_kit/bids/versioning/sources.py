"""Where a dataset can be had: references, and single files or annex objects read from a folder or over http.

Understands ``ria+file://…#~alias``, ``ria+http(s)://…#id``, http(s) addresses and paths; a folder may be a clone, a
bare repository, a directory sibling or a plain tree. Every byte that leaves here was held against its sha256.
"""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from release_kit.bids.versioning.annex import VersioningError
from release_kit.bids.versioning.paths import MANIFEST_FILE
from release_kit.bids.versioning.tracked import Key
from release_kit.core.errors import IntegrityError, UsageError
from release_kit.core.files import safe_relative_path

DIRECTORY_GIT, DIRECTORY_ANNEX = "dataset.git", "annex"
"""What lies in a directory sibling: the history, and the special remote."""

TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 20
_MIXED = "0123456789zqjxkmvwgpfZQJXKMVWGPF"
_LOOPBACK = re.compile(r"127(?:\.\d{1,3}){3}|\[?::1\]?|localhost", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A place that a dataset can be had from."""

    text: str
    kind: str
    """``ria``, ``git``, ``directory`` or ``plain``."""
    base: str
    """Folder or address of the repository, the directory sibling or the plain tree."""

    @property
    def over_http(self) -> bool:
        """Whether it is reached over http."""
        return self.base.startswith(("http://", "https://"))

    @property
    def git_url(self) -> str:
        """What git clones."""
        return os.path.join(self.base, DIRECTORY_GIT) if self.kind == "directory" else self.base

    @property
    def settings(self) -> dict[str, str]:
        """git settings that it needs: git-annex asks no local address over http unless that very address is allowed."""
        host = urllib.parse.urlsplit(self.base).hostname or "" if self.over_http else ""
        if not _LOOPBACK.fullmatch(host):
            return {}
        return {"annex.security.allowed-ip-addresses": "127.0.0.1 ::1" if host == "localhost" else host.strip("[]")}


class Files(Protocol):
    """Something that files can be read from by relative path."""

    def open(self, path: str) -> BinaryIO:
        """Return the stream of a file; ``FileNotFoundError`` when there is none."""
        ...


class FolderFiles:
    """The files of a folder on this machine; links are followed."""

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def open(self, path: str) -> BinaryIO:
        """Return the stream of a file; ``FileNotFoundError`` when there is none."""
        return open(self._folder / safe_relative_path(path, where=str(self._folder)), "rb")


class HttpFiles:
    """The files below an address."""

    def __init__(self, address: str):
        self._address = address.rstrip("/")

    def open(self, path: str) -> BinaryIO:
        """Return the stream of a file; ``FileNotFoundError`` when there is none.

        Raises:
            VersioningError: the server cannot be reached or refuses.
        """
        url = f"{self._address}/{urllib.parse.quote(safe_relative_path(path, where=self._address))}"
        try:
            return urllib.request.urlopen(url, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(url) from error
            raise VersioningError(
                f"the server answered {error.code}", where=url, next_step="try again later"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            raise VersioningError(f"cannot be reached ({why})", where=url, next_step="check the address") from error


def files_of_base(base: str) -> Files:
    """Return how files below a folder or an address are read."""
    return HttpFiles(base) if base.startswith(("http://", "https://")) else FolderFiles(base)


def resolve(text: str) -> Reference:
    """Return what a reference names, looked up where it can be.

    Raises:
        UsageError: no such form, or no such folder.
        VersioningError: nothing at the place is a dataset.
    """
    if text.startswith("ria+"):
        return Reference(text=text, kind="ria", base=_ria_base(text))
    if text.startswith(("http://", "https://")):
        return _over_http(text.rstrip("/"))
    path = urllib.parse.unquote(urllib.parse.urlsplit(text).path) if text.startswith("file://") else text
    if "://" in path:
        step = "take a path, http(s)://…, or ria+file:///STORE#~NAME"
        raise UsageError(f"{text!r} is no reference to a dataset", next_step=step)
    return _local(text, os.path.abspath(path))


def _local(text: str, folder: str) -> Reference:
    if not os.path.isdir(folder):
        raise UsageError("there is no such folder", where=folder)
    if os.path.isdir(os.path.join(folder, DIRECTORY_GIT)):
        return Reference(text=text, kind="directory", base=folder)
    if os.path.exists(os.path.join(folder, ".git")) or os.path.isfile(os.path.join(folder, "HEAD")):
        return Reference(text=text, kind="git", base=folder)
    if os.path.isfile(os.path.join(folder, MANIFEST_FILE)):
        return Reference(text=text, kind="plain", base=folder)
    step = f"a plain tree needs {MANIFEST_FILE}, which `release-kit bids save` writes"
    raise VersioningError("is neither a repository nor a plain tree with a manifest", where=folder, next_step=step)


def _over_http(url: str) -> Reference:
    files = HttpFiles(url)
    for path, kind, base in (
        ("HEAD", "git", url),
        (".git/HEAD", "git", f"{url}/.git"),
        (MANIFEST_FILE, "plain", url),
    ):
        try:
            with files.open(path) as stream:
                if kind == "plain" or stream.read(5) == b"ref: ":
                    return Reference(text=url, kind=kind, base=base)
        except FileNotFoundError:
            continue
    what = f"neither git's HEAD nor {MANIFEST_FILE} is there"
    raise VersioningError(what, where=url, next_step="name the folder of the repository or of the plain tree")


def _ria_base(text: str) -> str:
    """Return the folder or address of the repository inside a RIA store."""
    url, _, fragment = text.removeprefix("ria+").partition("#")
    name = fragment.partition("@")[0]
    if not name or not url.startswith(("file://", "http://", "https://")):
        step = "write it as ria+file:///STORE#~NAME or ria+file:///STORE#ID"
        raise UsageError(f"{text!r} names no dataset of a store", next_step=step)
    relative = f"alias/{name[1:]}" if name.startswith("~") else f"{name[:3]}/{name[3:]}"
    safe_relative_path(relative, where=text)
    if not url.startswith("file://"):
        return f"{url.rstrip('/')}/{relative}"
    folder = os.path.join(urllib.parse.unquote(urllib.parse.urlsplit(url).path), relative)
    if not os.path.isdir(folder):
        raise UsageError(f"the store holds no dataset {name}", where=text)
    if not os.path.isfile(os.path.join(folder, "HEAD")):
        step = "its publication did not end: run `release-kit bids publish` again"
        raise VersioningError("is no repository yet", where=text, next_step=step)
    return os.path.realpath(folder)


def object_places(key: Key) -> list[str]:
    """Return where a key's content may lie below a repository, a store or a directory sibling.

    Both of git-annex's layouts: three hex digits twice, and two characters twice of an alphabet of its own.
    """
    digest = hashlib.md5(os.fsencode(key.text), usedforsecurity=False).digest()
    hexdigits, word = digest.hex(), int.from_bytes(digest[:4], "little")
    letters = [_MIXED[(word >> (6 * place)) & 31] for place in range(4)]
    lower = f"{hexdigits[:3]}/{hexdigits[3:6]}/{key.text}/{key.text}"
    mixed = f"{letters[1]}{letters[0]}/{letters[3]}{letters[2]}/{key.text}/{key.text}"
    roots = ("annex/objects/", ".git/annex/objects/", f"{DIRECTORY_ANNEX}/", "")
    return [f"{root}{place}" for root in roots for place in (mixed, lower)]


def copy_checked(
    stream: BinaryIO, write: Callable[[bytes], object], *, size: int | None, sha256: str, where: str
) -> None:
    """Copy a stream, reading each byte once, and refuse it when it is not what was expected.

    Raises:
        IntegrityError: another size or sha256; the caller's file takes no name then.
    """
    hasher, n = hashlib.sha256(), 0
    for block in _blocks(stream, where):
        hasher.update(block)
        n += len(block)
        if size is not None and n > size:
            break
        write(block)
    if size is not None and n != size:
        what = f"has {'more than ' if n > size else ''}{min(n, size) if n > size else n:,} bytes instead of {size:,}"
        raise IntegrityError(what, where=where, next_step="it was not taken; name another source")
    if hasher.hexdigest() != sha256:
        what = f"has the sha256 {hasher.hexdigest()[:12]}… instead of {sha256[:12]}…"
        raise IntegrityError(what, where=where, next_step="it was not taken; name another source")


def _blocks(stream: BinaryIO, where: str) -> Iterator[bytes]:
    try:
        while block := stream.read(_BLOCK_BYTES):
            yield block
    except (OSError, http.client.HTTPException) as error:
        what = f"the connection ended in the middle ({error})"
        raise VersioningError(what, where=where, next_step="run the command again to continue") from error
