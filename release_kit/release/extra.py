"""Files that a study publishes beside its cells as they are: an index of its own, a report, a browser to look into it.

They lie under ``extra/`` of the study and go to the top of the release (``index/<path>`` of the tree), copied by build,
so that a release is whole without the study. Names that build itself writes there are refused.
"""

from pathlib import Path

from release_kit.core.errors import ArtifactError
from release_kit.core.files import iter_files
from release_kit.core.manifest import MANIFEST_FILE
from release_kit.core.placement import PLACEMENT_FILE
from release_kit.release.contents import why_unfit

EXTRA_FOLDER = "extra"
_BUILT = frozenset({"README.md", MANIFEST_FILE, PLACEMENT_FILE, ".gitattributes"})
_BUILT_FOLDERS = ("analysis", "cells", "figures")


def extra_files(study_folder: Path) -> list[tuple[str, Path]]:
    """Return ``(path at the top of the release, file)`` of everything under ``extra/``, sorted.

    Raises:
        ArtifactError: files that no release can hold, or whose names belong to the release itself.
    """
    folder = study_folder / EXTRA_FOLDER
    if not folder.is_dir():
        return []
    found = sorted((path, folder / path) for path, _ in iter_files(folder))
    unfit = [text for path, file in found if (text := why_unfit(path, file, study_folder))]
    taken = [path for path, _ in found if path in _BUILT or path.partition("/")[0] in _BUILT_FOLDERS]
    unfit += [f"{path!r} is the name of a file of the release itself" for path in taken]
    if unfit:
        raise ArtifactError(
            f"{len(unfit)} files cannot go into a release: " + "; ".join(unfit[:5]),
            where=str(folder),
            next_step="rename or remove them, then build again",
        )
    return found


def extra_tops(study_folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return name at the top of ``extra/`` → (file to begin with, number of files, bytes).

    A folder begins with its ``index.html``; without one, with itself.
    """
    tops: dict[str, tuple[str, int, int]] = {}
    found = extra_files(study_folder)
    paths = {path for path, _ in found}
    for path, file in found:
        top, _, inner = path.partition("/")
        first = path if not inner else f"{top}/index.html" if f"{top}/index.html" in paths else f"{top}/"
        _, number, size = tops.get(top, (first, 0, 0))
        tops[top] = (first, number + 1, size + file.stat().st_size)
    return tops
