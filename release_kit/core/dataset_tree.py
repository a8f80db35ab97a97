"""Releases that are one dataset: where their files lie, and which names inside them are not theirs.

In such a release every cell is a part of the dataset (kind ``dataset``) and the index holds what all parts share. On
the Hub and in a download each file lies at its own path in the dataset; the release's own files lie in ``.release/``.
"""

from collections.abc import Iterable

from release_kit.core.errors import RecordError
from release_kit.core.files import STATE_FOLDER
from release_kit.core.words import STUDY_FILE

DATASET_KIND = "dataset"
"""Kind of a cell that is a part of a dataset; also the word in ``artifacts`` of study.yaml."""

TREE_LAYOUT = "tree"

NO_LEVEL = "none"
"""Level of a part that has nothing to do with a factor: annotations belong to no subject."""

HOME_FOLDER = ".release"
"""Folder of the release's own files in a dataset; names with a dot in front are none of BIDS's business."""

_RESERVED = frozenset({".git", HOME_FOLDER, STATE_FOLDER})


def own_file(name: str, *, dataset: bool) -> str:
    """Return where a file of the release itself (``manifest.json``) lies, relative to the repo or download."""
    return f"{HOME_FOLDER}/{name}" if dataset else name


def local_path(tree_path: str, *, dataset: bool) -> str:
    """Return where a file of the release tree lies in a download: in a dataset, at its own path."""
    if not dataset:
        return tree_path
    return tree_path.split("/", 2)[2] if tree_path.startswith("cells/") else tree_path.partition("/")[2]


def reserved_path(path: str) -> bool:
    """Return whether no file of a dataset may lie at ``path``: git, a study or release_kit would take it for theirs."""
    parts = path.casefold().split("/")
    return not _RESERVED.isdisjoint(parts) or parts == [STUDY_FILE]


def check_dataset_paths(paths: Iterable[str], where: str) -> None:
    """Refuse a dataset in which two parts hold one path, or whose files would lie where they must not.

    Args:
        paths: the paths of all files, each as its part lists it.
        where: how the error names the place.

    Raises:
        RecordError: some of both; the first of them are named.
    """
    seen: set[str] = set()
    wrong = []
    for path in paths:
        if reserved_path(path):
            wrong.append(f"{path!r} is not a place for a file of a dataset")
        elif path.casefold() in seen:
            wrong.append(f"{path!r} belongs to two parts")
        seen.add(path.casefold())
    if wrong:
        more = f"; … and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        step = "nothing was written; do not trust this release"
        raise RecordError("; ".join(wrong[:5]) + more, where=where, next_step=step)
