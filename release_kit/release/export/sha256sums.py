"""``SHA256SUMS``: the list that ``sha256sum -c`` reads, from the manifest."""

import os

from release_kit.release.export.contents import Contents


def sha256sums(contents: Contents) -> bytes:
    """Return the lines ``<sha256>  <path>`` of every file, paths relative to the folder of the release.

    In a download these are the paths of the release tree; in a study those where each file lies. Check them with
    ``cd FOLDER && sha256sum -c LIST``.
    """
    root = os.path.abspath(contents.tree.root)
    lines = [f"{file.sha256}  {os.path.relpath(os.path.abspath(file.path), root)}\n" for file in contents.files]
    return "".join(sorted(lines, key=lambda line: line[66:])).encode()
