"""Keeps what dcm2niix made of a series for the look at its header until the same series is converted for good.

Owns the folder for it, its limit, and when what is there is still of the same files. Whoever opens the folder removes
it; losing it costs a second conversion, nothing else.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from release_kit.core.digest_cache import stamp_of
from release_kit.core.files import TEMPORARY_PREFIX

LIMIT_BYTES = 2 << 30
"""Of uncompressed images that wait at one time; less where less than four times that is free."""


@contextlib.contextmanager
def kept_folder() -> Iterator[Path]:
    """Yield a folder for converted series; it goes with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def kept_name(path: Path, series: int | str | None) -> str:
    """Return the name under which a series is kept: another one as soon as any file of it is another."""
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    listed = [[os.fspath(file), *stamp_of(file.stat())] for file in files]
    return hashlib.sha256(json.dumps([series, listed]).encode()).hexdigest()


def keep(folder: Path, name: str, image: Path, sidecar: dict[str, Any], limit: int = LIMIT_BYTES) -> bool:
    """Move a converted series into the folder, if there is room; return whether it was taken."""
    limit = min(limit, shutil.disk_usage(folder).free // 4)
    if sum(file.stat().st_size for file in folder.iterdir()) + image.stat().st_size > limit:
        return False
    with contextlib.suppress(OSError):
        (folder / f"{name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
        os.replace(image, folder / f"{name}.nii")  # on one file system: whole or not there
        return True
    return False


def take(folder: Path, name: str, scratch: Path) -> tuple[Path, dict[str, Any]] | None:
    """Move a kept series into ``scratch``, for one taker only; None where there is none."""
    image = scratch / "kept.nii"
    try:
        sidecar = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        shutil.move(folder / f"{name}.nii", image)
    except (OSError, ValueError):
        return None
    return image, sidecar
