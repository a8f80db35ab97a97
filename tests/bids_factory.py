"""Makes a tiny study of recordings and annotations on disk, with its recipe: what a lab has before conversion."""

import gzip
import hashlib
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
  - {id: storyA01, level: story, annotator: A01, language: en, reader: intervals,
     pattern: "annotations/{stimulus}_story_A01.csv"}
  - {id: storyA02, level: story, annotator: A02, language: en, reader: intervals,
     pattern: "annotations/{stimulus}_story_A02.csv"}
  - {id: objectA01, level: object, annotator: A01, language: en, reader: intervals,
     pattern: "annotations/{stimulus}_object_A01.csv"}
"""


def make_recordings(folder: Path) -> Path:
    """Write recordings, annotations and ``recipe.yaml`` of two subjects x two runs; return the recipe's path."""
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


def make_many(folder: Path, *, n_subjects: int, n_runs: int, n_seconds: int = 6) -> Path:
    """Write a study of ``n_subjects`` x ``n_runs`` short runs of one film, annotated once; return the recipe's path."""
    random = np.random.default_rng(11)
    for subject in range(n_subjects):
        for run in range(n_runs):
            path = folder / f"LAB{subject:02d}" / f"film_run{run + 1}.nii.gz"
            write_nifti(path, random.integers(0, 900, (4, 4, 3, n_seconds)))
    total = n_runs * n_seconds
    lines = ["onset,duration,text"] + [f"{t},2,at {t} s" for t in range(0, total, 2)]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / "film_story_A01.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    subjects = "".join(f'  "{n + 1:02d}": {{source: LAB{n:02d}, age: {20 + n}, sex: F}}\n' for n in range(n_subjects))
    shows = "{{stimulus: film, start_s: {}, duration_s: {}}}"
    runs = "".join(
        f"  - {{task: film, run: {n + 1}, shows: {shows.format(n * n_seconds, n_seconds)}}}\n" for n in range(n_runs)
    )
    head, rest = RECIPE.split("subjects:\n")
    text = f"{head}subjects:\n{subjects}tasks:\n" + rest.split("tasks:\n")[1].split("runs:\n")[0] + f"runs:\n{runs}"
    text = text.replace("duration_s: 36,", f"duration_s: {total},")
    text += "annotations:\n" + RECIPE.split("annotations:\n")[1].split("  - {id: storyA02")[0]
    recipe = folder / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


def add_preprocessed(folder: Path) -> None:
    """Add preprocessed responses of every run as MATLAB 7.3 matrices (volumes x voxels of a mask) to the study."""
    import h5py

    random = np.random.default_rng(3)
    mask = np.zeros(SHAPE, np.int16)
    mask[2:6, 2:6, 1:5] = 1
    write_nifti(folder / "mask.nii.gz", mask, tr_s=None)
    for source in ("AB12", "CD34"):
        for run in (1, 2):
            path = folder / "preprocessed" / f"{source}_run{run}.mat"
            path.parent.mkdir(exist_ok=True)
            with h5py.File(path, "w", userblock_size=512) as file:
                # MATLAB's rows are HDF5's columns.
                data = file.create_dataset("dataDT", data=random.normal(size=(int(mask.sum()), 20)).astype(np.float32))
                data.attrs["MATLAB_class"] = np.bytes_("single")
            with path.open("r+b") as stream:
                stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    add_to_recipe(
        folder,
        'derivatives:\n  - {name: preprocessed, description: "Motion corrected, detrended.", kind: mat, '
        'pattern: "preprocessed/{source}_run{run}.mat", options: {variable: dataDT, mask: mask.nii.gz}}\n',
    )


def add_to_recipe(folder: Path, text: str) -> None:
    """Append lines to the study's recipe."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8") + text, encoding="utf-8")


def replace_in_recipe(folder: Path, old: str, new: str) -> None:
    """Change the study's recipe in one place, which must be there."""
    recipe = folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in the recipe"
    recipe.write_text(text.replace(old, new), encoding="utf-8")


def snapshot(folder: Path) -> dict[str, str]:
    """Return path → sha256 of every file below ``folder``, those of git left out."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
