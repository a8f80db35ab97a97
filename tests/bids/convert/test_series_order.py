"""A run that lies as one file a volume: the order of its volumes follows from the numbers in the names."""

import shutil
from collections.abc import Callable
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import yaml
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


def test_one_persons_runs_may_lie_in_another_form_than_the_others(study: Path, out: Path, converted: Convert):
    converted()
    wanted = {path.name: nibabel.load(path).get_fdata() for path in out.rglob("*_bold.nii.gz")}
    for run in (1, 2):
        whole = study / f"CD34/film_run{run}.nii.gz"
        data = nibabel.load(whole).get_fdata()
        whole.unlink()
        for n in range(data.shape[3]):
            bids_factory.write_nifti(study / f"CD34/part{run}/f_{n:03d}.nii.gz", data[..., n], tr_s=None)
    common = "kind: nifti, tr_s: 1.0"
    other = 'subjects: {"02": {kind: nifti-series, pattern: "{source}/part{run}"}}'
    replace_in_recipe(study, common, f"{common}, {other}")
    shutil.rmtree(out)
    converted()
    made = {path.name: nibabel.load(path).get_fdata() for path in out.rglob("*_bold.nii.gz")}
    assert made.keys() == wanted.keys() and all(np.array_equal(made[name], wanted[name]) for name in made)
    published = yaml.safe_load((out / "code/release_kit/recipe.yaml").read_text(encoding="utf-8"))
    assert published["runs"][0]["subjects"] == {"02": {"pattern": "{source}/part{run}", "kind": "nifti-series"}}
    assert "CD34" not in (out / "code/release_kit/recipe.yaml").read_text(encoding="utf-8")
