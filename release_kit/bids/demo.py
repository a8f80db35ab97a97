"""The study that ``release-kit bids demo`` converts: real recordings out of packages, a film that was made up.

Owns cutting the example recordings into runs and laying them out as a lab would have them; every step after that is
a command of its own. Sources: nitime (two runs of 40 volumes), nibabel (an anatomy), heudiconv (a DICOM mosaic).
"""

import gzip
import io
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.packages import installed_package, open_package

RECIPE_FILE = "recipe.yaml"
ANATOMY = "nibabel/tests/data/anatomical.nii"
DICOM = "heudiconv/tests/data/axasc35.dcm"
MARK = "DEMO.txt"
"""Says that a folder is the demo's, so that nobody's study is taken for one."""
RUNS = {"N41A": "nitime/data/fmri1.nii.gz", "N41B": "nitime/data/fmri2.nii.gz"}
"""Name in the lab → the recording whose two halves are this person's two runs."""


def write_demo_study(folder: Path) -> Path:
    """Put recordings, annotations and recipe into ``folder`` and return the recipe's path.

    A recipe that is already there is kept, so that people can change it and run again.

    Raises:
        ReleaseKitError: a pinned package is neither in the cache nor to be had.
        MissingExtraError: nibabel is not installed.
    """
    shipped = files("release_kit.bids").joinpath("demo_study")
    recordings = folder / "recordings"
    write_atomic(folder / MARK, b"Made by `release-kit bids demo`; `--fresh` throws this folder away.\n")
    for item in shipped.joinpath("annotations").iterdir():
        write_atomic(recordings / "annotations" / item.name, item.read_bytes())
    nitime = open_package("nitime")
    for source, path in RUNS.items():
        for number, data in enumerate(_halves(nitime.read(path)), start=1):
            write_atomic(recordings / source / f"boat_part{number}.nii.gz", data)
    first = next(iter(RUNS))
    write_atomic(recordings / first / "t1.nii", installed_package("nibabel", "bids").read(ANATOMY))
    write_atomic(recordings / first / "dicom" / "0001.dcm", open_package("heudiconv").read(DICOM))
    return _recipe(folder / RECIPE_FILE, shipped.joinpath(RECIPE_FILE))


def _recipe(path: Path, shipped: Traversable) -> Path:
    if not path.is_file():
        write_atomic(path, shipped.read_bytes())
    return path


def _halves(data: bytes) -> list[bytes]:
    """Return the first and the second half of the volumes of a compressed NIfTI file, numbers as stored."""
    import nibabel
    import numpy as np

    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    stored = np.asanyarray(image.dataobj.get_unscaled())
    middle = stored.shape[3] // 2
    halves = []
    for part in (stored[..., :middle], stored[..., middle:]):
        stream = io.BytesIO()
        nibabel.Nifti1Image(part, None, header=image.header).to_stream(stream)
        halves.append(gzip.compress(stream.getvalue(), mtime=0))
    return halves
