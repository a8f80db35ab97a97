"""A tiny dataset of two subjects and two films, as volumes or as surfaces, written by hand: what these tests read."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (3, 4, 2)
VERTICES = {"L": 5, "R": 7}
N_VOLUMES = 30
OVERLAP_S = 10.0
RUNS = [("crown", "01", 0.0), ("crown", "02", 20.0), ("glee", "01", 0.0), ("glee", "02", 20.0)]
"""Task, run, time of the film at its start; run 02 repeats 10 s."""


@dataclass
class Written:
    """What was written: the folder and the values of every response."""

    root: Path
    values: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """Subject and name of run → (n_volumes, x, y, z) or (n_volumes, left + right)."""
    selected: np.ndarray | None = None


def write(root: Path, kind: str = "volume", subjects: tuple[str, ...] = ("01", "02")) -> Written:
    """Write the dataset with responses in ``derivatives/clean`` (space-T1w or fsaverage5, desc-clean) and a mask."""
    written = Written(root=root)
    description = {"Name": "Two films", "BIDSVersion": "1.11.1"}
    text(root / "dataset_description.json", json.dumps(description))
    text(root / "derivatives/clean/dataset_description.json", json.dumps({**description, "DatasetType": "derivative"}))
    for task in ("crown", "glee"):
        text(root / f"task-{task}_bold.json", json.dumps({"RepetitionTime": 1.0, "TaskName": task}))
    write_annotations(root)
    random = np.random.default_rng(3)
    for subject in subjects:
        folder = root / f"derivatives/clean/sub-{subject}/func"
        for task, run, start_s in RUNS:
            stem = f"sub-{subject}_task-{task}_run-{run}"
            text(root / f"sub-{subject}/func/{stem}_events.tsv", events(task, start_s))
            if kind == "volume":
                values = random.normal(100, 5, (N_VOLUMES, *SHAPE)).astype(np.float32)
                nifti(folder / f"{stem}_space-T1w_desc-clean_bold.nii.gz", np.moveaxis(values, 0, -1))
            else:
                values = random.normal(100, 5, (N_VOLUMES, sum(VERTICES.values()))).astype(np.float32)
                for hemi, part in (("L", values[:, : VERTICES["L"]]), ("R", values[:, VERTICES["L"] :])):
                    gifti(folder / f"{stem}_hemi-{hemi}_space-fsaverage5_desc-clean_bold.func.gii", part)
            written.values[subject, f"task-{task}_run-{run}"] = values
    written.selected = random.random(SHAPE if kind == "volume" else (sum(VERTICES.values()),)) < 0.6
    for subject in subjects:
        folder = root / f"derivatives/clean/sub-{subject}/anat"
        if kind == "volume":
            nifti(folder / f"sub-{subject}_space-T1w_mask.nii.gz", written.selected.astype(np.uint8))
        else:
            for hemi, part in (("L", written.selected[: VERTICES["L"]]), ("R", written.selected[VERTICES["L"] :])):
                gifti(folder / f"sub-{subject}_hemi-{hemi}_mask.shape.gii", part[None].astype(np.float32))
    return written


def events(task: str, start_s: float, *, duration_s: float = N_VOLUMES, title: str | None = None) -> str:
    """Return the events of a run as the converter writes them."""
    rows = [(0, duration_s, "stimulus", start_s, start_s + duration_s)]
    if start_s:
        rows.append((0, OVERLAP_S, "overlap", start_s, start_s + OVERLAP_S))
    head = "onset\tduration\ttrial_type\tstim_id\tstim_start\tstim_end" + ("\ttitle" if title else "")
    lines = [f"{a}\t{b}\t{kind}\tstim-{task}\t{c}\t{d}" + (f"\t{title}" if title else "") for a, b, kind, c, d in rows]
    return "\n".join([head, *lines]) + "\n"


def write_annotations(root: Path) -> None:
    """Write stories of both films and objects of one, in ``stimuli/``."""
    text(root / "stimuli/stimuli.tsv", "stimulus_id\nstim-crown\nstim-glee\n")
    rows = "annot_id\tlevel\tannotator_id\tlanguage\nstoryA01\tstory\tA01\ten\nobjectA01\tobject\tA01\ten\n"
    text(root / "stimuli/annotations.tsv", rows)
    for film in ("crown", "glee"):
        lines = "".join(f"{t}\t5\tin {film} at {t}\n" for t in range(0, 50, 5))
        text(root / f"stimuli/stim-{film}_annot-storyA01_events.tsv", "onset\tduration\ttext\n" + lines)
    text(root / "stimuli/stim-crown_annot-objectA01_events.tsv", "onset\tduration\ttext\n0\t50\tdoor\n")


def text(path: Path, content: str) -> None:
    """Write a text file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def nifti(path: Path, values: np.ndarray, tr_s: float = 1.0) -> None:
    """Write a NIfTI file in mm and seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    if values.ndim == 4:
        image.header.set_zooms((2.0, 2.0, 2.0, tr_s))
    image.to_filename(path)


def gifti(path: Path, values: np.ndarray) -> None:
    """Write a functional GIFTI file, an array a volume; ``values`` is (n_volumes, n_vertices)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES") for row in values]
    nibabel.gifti.GiftiImage(darrays=arrays).to_filename(path)
