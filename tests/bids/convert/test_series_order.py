"""A run that lies as one file a volume: the order of its volumes follows from the numbers in the names."""

from collections.abc import Callable
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
from bids_factory import replace_in_recipe

from release_kit.bids.convert.run import ConvertReport

Convert = Callable[..., ConvertReport]
RUN = "  - {task: film, run: 1, "


def test_series_that_is_numbered_otherwise_is_made_anew(
    study: Path, out: Path, converted: Callable[..., ConvertReport]
):
    replace_in_recipe(study, RUN, RUN + 'pattern: "{source}/film_run1", kind: nifti-series, ')
    for source in ("AB12", "CD34"):
        (study / source / "film_run1.nii.gz").unlink()
        for n in range(1, 21):
            volume = np.full(bids_factory.SHAPE, n + ord(source[0]))
            bids_factory.write_nifti(study / source / "film_run1" / f"f_{n}.nii.gz", volume, tr_s=None)
    converted()
    image = out / "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"
    before = np.asanyarray(nibabel.load(image).dataobj)[0, 0, 0]
    assert (np.diff(before) == 1).all()
    # In the order of texts (f_1, f_10, f_11 ...) nothing changes, in that of numbers everything does.
    for number, path in enumerate(sorted((study / "AB12/film_run1").iterdir()), start=1):
        path.rename(path.with_name(f"g_{number:02d}.nii.gz"))
    assert image.relative_to(out).as_posix() in converted().written
    after = np.asanyarray(nibabel.load(image).dataobj)[0, 0, 0]
    assert after[:3].tolist() == before[[0, 9, 10]].tolist()
