"""The Hugging Face cache as a place for a release: names of its folders, and files put there as its clients expect.

Layout: ``models--ns--name/blobs/<identity>``, ``snapshots/<commit>/<path>`` as relative links to blobs, and
``refs/<revision>`` with the commit. Everything that reads this cache (``from_pretrained``, ``load_dataset``) then works
offline.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.files import STATE_FOLDER, inside, safe_relative_path, write_atomic


def default_hub_cache() -> Path:
    """Return the cache that Hugging Face clients use (``$HF_HUB_CACHE``, ``$HF_HOME/hub``, ``~/.cache/…``)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(name):
            return Path(value).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def repo_folder_name(repo_id: str, repo_type: str) -> str:
    """Return the folder of a repo in the cache: ``models--ns--name``."""
    return "--".join([f"{repo_type}s", *repo_id.split("/")])


def snapshot_folder(cache: Path, repo_id: str, repo_type: str, commit: str) -> Path:
    """Return where the files of one commit of a repo stand in the cache."""
    relative = f"{repo_folder_name(repo_id, repo_type)}/snapshots/{safe_relative_path(commit, where='revision')}"
    return inside(cache, relative)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot in a cache: ``<cache>/<repo folder>/snapshots/<commit>``."""

    repo_folder: Path
    commit: str

    @property
    def cache(self) -> Path:
        """The cache."""
        return self.repo_folder.parent

    @property
    def selection_file(self) -> Path:
        """Where it stands which cells of the release were asked for, in a folder where no client looks."""
        return selection_file(self.repo_folder, self.commit)


def selection_file(repo_folder: Path, commit: str) -> Path:
    """Return where it stands which cells of a release at ``commit`` were asked for."""
    return repo_folder / STATE_FOLDER / f"selection-{commit}.json"


def snapshot_at(path: Path) -> Snapshot | None:
    """Return the snapshot that ``path`` is the folder of, or None when it is not in a cache."""
    path = Path(os.path.abspath(path))
    repo_folder = path.parent.parent
    kind, separator, _ = repo_folder.name.partition("--")
    if path.parent.name != "snapshots" or kind not in ("models", "datasets", "spaces") or not separator:
        return None
    return Snapshot(repo_folder=repo_folder, commit=path.name)


def place_in_cache(path: Path, identity: str) -> "CachePlace | None":
    """Return the place of a file by the name that clients open, or None when that is not in a cache."""
    for parent in Path(os.path.abspath(path)).parents:
        if (snapshot := snapshot_at(parent)) is not None:
            inner = Path(os.path.abspath(path)).relative_to(parent).as_posix()
            return CachePlace(repo_folder=snapshot.repo_folder, commit=snapshot.commit, path=inner, identity=identity)
    return None


@dataclass(frozen=True, kw_only=True)
class CachePlace:
    """Where one file goes in the cache."""

    repo_folder: Path
    commit: str
    path: str
    identity: str
    """The name of its blob: sha256 for LFS files, git-sha1 for regular ones."""

    @property
    def blob(self) -> Path:
        """The file with the bytes."""
        return inside(self.repo_folder, f"blobs/{self.identity}")

    @property
    def link(self) -> Path:
        """The name under which clients open it."""
        return inside(self.repo_folder, f"snapshots/{self.commit}/{self.path}")


def link_blob(place: CachePlace, scratch: Path) -> bool:
    """Make the snapshot's name point to the blob; returns whether anything changed.

    Args:
        place: the file.
        scratch: folder of the cache for the link while it has no name; whoever owns it removes what a kill leaves.
    """
    link, blob = place.link, place.blob
    target = os.path.relpath(blob, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f"link-{secrets.token_hex(8)}"
    os.symlink(target, temporary)
    os.replace(temporary, link)
    return True


def write_ref(repo_folder: Path, revision: str, commit: str) -> None:
    """Remember that ``revision`` (a tag or branch) means ``commit``."""
    if revision != commit:
        write_atomic(inside(repo_folder, f"refs/{revision}"), commit.encode(), durable=False)
