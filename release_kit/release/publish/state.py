"""What a branch of the Hub holds, held against what a release wants there.

Pure. Content decides, never names or dates: a file is ours when its identity stands in a manifest that this release
published or began to publish; anything else is somebody else's and is not touched without being asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from release_kit.core.manifest import FileEntry, Manifest
from release_kit.hub.remote import RemoteFile

HUB_FILE = ".gitattributes"
"""The Hub puts it into every new repo; it belongs to nobody's release."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a branch lacks, what must go, and what is not ours to change; paths in the repo, sorted."""

    send: tuple[str, ...] = ()
    """Missing, or there with older content of ours."""
    delete: tuple[str, ...] = ()
    """Ours from before, not part of the release any more."""
    foreign: tuple[str, ...] = ()
    """Content that no manifest of this release knows."""

    @property
    def none(self) -> bool:
        """Whether the branch holds exactly what is wanted."""
        return not (self.send or self.delete or self.foreign)


@dataclass(frozen=True)
class Known:
    """Identities of content that is ours, as ``sha256:…`` and ``git:…``; ``everything`` takes all for ours."""

    identities: frozenset[str] = frozenset()
    everything: bool = False

    def holds(self, file: RemoteFile) -> bool:
        """Return whether the content of ``file`` is ours."""
        return self.everything or file.identity in self.identities


def same_content(file: RemoteFile, entry: FileEntry) -> bool:
    """Return whether a file on the Hub is what the manifest says, from metadata alone."""
    if file.size_bytes != entry.size_bytes:
        return False
    if file.lfs_sha256 is not None:
        return file.lfs_sha256 == entry.sha256
    return entry.git_sha1 is not None and file.git_oid == entry.git_sha1


def compare(
    files: Iterable[RemoteFile], wanted: Mapping[str, FileEntry], known: Known, domain: str | None = None
) -> Difference:
    """Return what has to change so that the branch holds ``wanted``.

    Args:
        files: what is there.
        wanted: path → identities.
        known: content that is ours.
        domain: only paths that begin with this count; ``!cells/`` means all that do not begin with ``cells/``.
    """
    present = {file.path: file for file in files if _inside(file.path, domain)}
    send, foreign = [], []
    for path, entry in wanted.items():
        file = present.pop(path, None)
        if file is None:
            send.append(path)
        elif not same_content(file, entry):
            mine = path == HUB_FILE or known.holds(file)
            (send if mine else foreign).append(path)
    present.pop(HUB_FILE, None)
    delete = [path for path, file in present.items() if known.holds(file)]
    foreign += [path for path, file in present.items() if not known.holds(file)]
    return Difference(send=tuple(sorted(send)), delete=tuple(sorted(delete)), foreign=tuple(sorted(foreign)))


def _inside(path: str, domain: str | None) -> bool:
    if domain is None:
        return True
    if domain.startswith("!"):
        return not path.startswith(domain[1:])
    return path.startswith(domain)


def identities(manifests: Iterable[Manifest]) -> set[str]:
    """Return the identities of all files of ``manifests``, both ways."""
    found: set[str] = set()
    for manifest in manifests:
        for _, entry in manifest.iter_files():
            found.add(f"sha256:{entry.sha256}")
            if entry.git_sha1:
                found.add(f"git:{entry.git_sha1}")
    return found


def is_card(tree_path: str, *, dataset: bool = False) -> bool:
    """Return whether a path of the release tree is a page to read, not data: it may be corrected within a version."""
    if dataset:
        return tree_path == "index/README.md"
    group, _, rest = tree_path.partition("/")
    if group == "index":
        return True
    inner = rest if group == "results" else rest.partition("/")[2]
    return inner == "README.md" or inner.startswith((".eval_results/", "figures/"))


def changed_data(old: Manifest, new: Manifest) -> list[str]:
    """Return the data files (not cards) that differ between two manifests, sorted."""
    before, after = (
        {path: entry.sha256 for path, entry in manifest.iter_files() if not is_card(path, dataset=manifest.is_dataset)}
        for manifest in (old, new)
    )
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
