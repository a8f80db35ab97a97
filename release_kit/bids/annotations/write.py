"""The table of annotations on disk, for annotators and their tools, and back.

``formats.py`` knows the formats, ``reread.py`` reads what was written; this is the door to both.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations.formats import FORMATS as FORMATS
from release_kit.bids.annotations.formats import TABLES, export_files
from release_kit.bids.annotations.reread import absent_annotations as absent_annotations
from release_kit.bids.annotations.reread import read_dataset_annotations as read_dataset_annotations
from release_kit.bids.annotations.reread import read_exports as read_exports
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_atomic


def write_annotations(table: pa.Table, fmt: str, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table in a format and return the files; ``read_exports`` gives the same table back.

    Args:
        table: with the schema of ``table.py``; the order of its rows does not matter.
        fmt: one of ``FORMATS``.
        path: for a table, the file (or a folder, which gets ``annotations.csv``); else the folder.
        overwrite: replace files that hold something else.

    Raises:
        UsageError: no such format.
        ReleaseKitError: a file is there already with other content (nothing is written then), a name that cannot be
            part of a file name, a disk that is full.
    """
    files = list(export_files(table, fmt))
    if fmt in TABLES:
        folder, files = (path, files) if path.is_dir() or not path.suffix else (path.parent, [(path.name, files[0][1])])
    else:
        folder = path
    targets = [(folder / name, data) for name, data in files]
    if not overwrite:
        _refuse_other_content(targets)
    for target, data in targets:
        write_atomic(target, data, durable=False)  # an export can be made again
    return [target for target, _ in targets]


def _refuse_other_content(targets: Sequence[tuple[Path, bytes]]) -> None:
    other = [str(path) for path, data in targets if path.exists() and path.read_bytes() != data]
    if other:
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        raise ReleaseKitError(
            f"there is other content already in {', '.join(other[:5])}{more}",
            next_step="nothing was written; choose another folder, or overwrite what somebody may have edited",
        )
