"""BagIt (RFC 8493): a bag whose payload is the release tree (a dataset at its own paths).

Its manifest holds the digests that are known. No payload file is read: hard links point at the files of the release
(do not edit them inside the bag).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from release_kit import __version__
from release_kit.core.files import write_atomic
from release_kit.release.export.contents import Contents
from release_kit.release.export.placing import new_folder, place_file


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """What an export of a folder wrote."""

    folder: Path
    n_files: int
    n_linked: int


def write_bag(contents: Contents, folder: Path, *, date: str, link: bool = True) -> FolderReport:
    """Write a bag: ``data/<path>``, ``manifest-sha256.txt`` and the tag files.

    Args:
        contents: the release.
        folder: new folder of the bag.
        date: ``Bagging-Date``, ``YYYY-MM-DD``.
        link: hard links where possible, else copies.

    Raises:
        UsageError: ``folder`` is there and not empty.
        ReleaseKitError: it cannot be written.
    """
    n_linked = 0
    with new_folder(folder) as target:
        for file in contents.files:
            n_linked += place_file(file.path, target / "data" / file.place, link=link)
        tags = {
            "bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
            "bag-info.txt": _bag_info(contents, date),
            # RFC 8493 escapes CR, LF and %; the first two cannot stand in a release, and bagit.py knows no escaped %.
            "manifest-sha256.txt": "".join(f"{file.sha256}  data/{file.place}\n" for file in contents.files),
        }
        lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(tags.items())]
        for name, text in {**tags, "tagmanifest-sha256.txt": "".join(lines)}.items():
            write_atomic(target / name, text.encode())
    return FolderReport(folder=folder, n_files=len(contents.files), n_linked=n_linked)


def _bag_info(contents: Contents, date: str) -> str:
    manifest = contents.manifest
    n_bytes = sum(file.size_bytes for file in contents.files)
    facts = {
        "Bag-Software-Agent": f"release-kit {__version__}",
        "Bagging-Date": date,
        "External-Identifier": f"{manifest.study}@{manifest.version}",
        "Internal-Sender-Identifier": f"sha256:{manifest.root}",
        "Payload-Oxum": f"{n_bytes}.{len(contents.files)}",
    }
    return "".join(f"{key}: {value}\n" for key, value in facts.items())
