"""What the demo breaks on purpose: one byte of a download, and two checkpoints in a copy of the study."""

import os
import shutil
from pathlib import Path

from release_kit.core.cell import artifact_folder, read_cells
from release_kit.core.files import TEMPORARY_PREFIX, iter_files


def flip_one_byte(path: Path) -> int:
    """Change one byte in the middle of ``path``, same size, and return its offset."""
    offset = path.stat().st_size // 2
    with open(path, "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 0x01]))
    return offset


def copy_study(study: Path, target: Path) -> None:
    """Make ``target`` a copy of ``study`` that shares the files' bytes (hard links); folders are new.

    The copy can be rearranged without touching the original, and nothing is read again to hash it.
    """
    shutil.rmtree(target, ignore_errors=True)
    for relative, _ in iter_files(study):
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(study / relative, place)
        except OSError:
            shutil.copy2(study / relative, place)


def swap_artifacts(study: Path, one: str, other: str) -> None:
    """Exchange the artifact folders of two cells, given by cell id; their records stay where they are."""
    cells, _ = read_cells(study)
    first, second = (artifact_folder(study, cells[cell]) for cell in (one, other))
    aside = first.with_name(f"{TEMPORARY_PREFIX}{first.name}")
    os.replace(first, aside)
    os.replace(second, first)
    os.replace(aside, second)
