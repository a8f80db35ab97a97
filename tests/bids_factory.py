"""Makes a tiny study of recordings and annotations on disk, with its recipe: what a lab has before conversion."""

import gzip
from pathlib import Path

import nibabel
import numpy as np

SHAPE = (8, 8, 6)
VOXEL_MM = (2.0, 2.0, 2.0)
TR_S = 1.0
OVERLAP_S = 4

RECIPE = """\
schema_version: 1
dataset:
  name: Two films
  version: 1.0.0
  authors: [Ada Example, Ben Example]
  license: CC0-1.0
  description: Two people watch a film in two parts.
  ethics_approvals: [Committee of the example institute]
subjects:
  "01": {source: AB12, age: 28, sex: F, handedness: right}
  "02": {source: CD34, age: 33, sex: M, handedness: right}
tasks:
  film: {name: A film, description: Watching a film with sound.}
stimuli:
  film: {title: The Film, duration_s: 36, language: en, source: made for tests, license: CC0-1.0}
recordings: {pattern: "{source}/{task}_run{run}.nii.gz", kind: nifti, tr_s: 1.0}
runs:
  - {task: film, run: 1, shows: {stimulus: film, start_s: 0, duration_s: 20}}
  - {task: film, run: 2, shows: {stimulus: film, start_s: 16, duration_s: 20, overlap_s: 4}}
anatomy:
  - {suffix: T1w, pattern: "{source}/t1.nii.gz", deface: false}
annotations:
  - {id: storyA01, level: story, annotator: A01, language: en, reader: intervals, pattern: "annotations/{stimulus}_story_A01.csv"}
  - {id: storyA02, level: story, annotator: A02, language: en, reader: intervals, pattern: "annotations/{stimulus}_story_A02.csv"}
  - {id: objectA01, level: object, annotator: A01, language: en, reader: intervals, pattern: "annotations/{stimulus}_object_A01.csv"}
"""


def make_recordings(folder: Path) -> Path:
    """Write recordings, annotations and ``recipe.yaml`` of two subjects × two runs; return the recipe's path."""
    random = np.random.default_rng(7)
    for source in ("AB12", "CD34"):
        for run, seconds in ((1, 20), (2, 20)):
            write_nifti(folder / source / f"film_run{run}.nii.gz", random.integers(0, 900, (*SHAPE, seconds)))
        write_nifti(folder / source / "t1.nii.gz", random.integers(0, 900, SHAPE), tr_s=None)
    for name, step in (("story_A01", 4), ("story_A02", 6), ("object_A01", 1)):
        lines = ["onset,duration,text"] + [f"{t},{step},{name} at {t} s" for t in range(0, 36, step)]
        path = folder / "annotations" / f"film_{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return recipe


def write_nifti(path: Path, data: np.ndarray, tr_s: float | None = TR_S) -> None:
    """Write ``data`` (x, y, z[, t]) as int16 NIfTI with 2 mm voxels; no time of day in the gzip header."""
    image = nibabel.Nifti1Image(data.astype(np.int16), np.diag((*VOXEL_MM, 1.0)))
    image.header.set_zooms((*VOXEL_MM, tr_s) if tr_s else VOXEL_MM)
    image.header.set_xyzt_units("mm", "sec" if tr_s else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
