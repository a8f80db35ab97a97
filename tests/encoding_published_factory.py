"""A tiny copy of the seed's published layout with responses that can be read: real names and lengths, invented values.

``published_twin.py`` has every name of the published tree and contents that nobody can read; this one is for reading.
"""

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import scipy.io

from release_kit.bids.recipe.model import Run
from release_kit.encoding.data.published import (
    MASK_FILE,
    REFERENCE,
    published_name,
    read_published_recipe,
    response_path,
)

SHAPE = (4, 3, 5)
AFFINE = np.array([[2.0, 0, 0, -4], [0, 2, 0, -3], [0, 0, 2, -5], [0, 0, 0, 1]])
N_AFTER = 5
"""Volumes that were measured after the film."""


def published_runs(tasks: tuple[str, ...]) -> list[Run]:
    """Return the declared runs of some tasks."""
    return [run for run in read_published_recipe(Path()).runs if run.task in tasks]


def write_published(
    root: Path,
    tasks: tuple[str, ...] = ("glee", "gis"),
    subjects: tuple[str, ...] = ("S01",),
    masked: bool = False,
    shape: tuple[int, int, int] = SHAPE,
) -> dict[str, np.ndarray]:
    """Write the layout and return the responses, each (n_volumes, x, y, z).

    Args:
        root: made new.
        tasks: films; of the others there is nothing.
        subjects: labels.
        masked: store the voxels of the mask only, instead of all of the volume.
        shape: of the volumes.

    Returns:
        ``<subject> <published name>`` → values.
    """
    random, values = np.random.default_rng(5), {}
    for subject in subjects:
        selected = _write_geometry(root, subject, random, shape)
        for run in published_runs(tasks):
            n_volumes = int(run.shows.duration_s) + N_AFTER
            whole = random.normal(0, 1, (n_volumes, *shape)).astype(np.float32)
            values[f"{subject} {published_name(run)}"] = whole
            columns = np.stack([volume.ravel(order="F") for volume in whole])
            columns = columns[:, selected.ravel(order="F")] if masked else columns
            save_mat(root / response_path(subject, run), dataDT=columns)
            sidecar = root / f"sub-{subject}/func/sub-{subject}_task-{published_name(run)}_bold.json"
            write(sidecar, json.dumps({"RepetitionTime": 1.0, "TaskName": run.task}))
    for run in published_runs(tasks):
        _write_annotations(root, run)
    write(root / "dataset_description.json", json.dumps({"Name": "Twin", "BIDSVersion": "1.9.0"}))
    return values


def _write_geometry(root: Path, subject: str, random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    selected = random.random(shape) < 0.5
    path = root / f"derivatives/preprocessed_data/sub-{subject}/{MASK_FILE}"
    path.parent.mkdir(parents=True, exist_ok=True)
    counted = np.flatnonzero(selected.ravel(order="F")) + 1.0
    scipy.io.savemat(path, {"tvoxels": counted[:, None]}, do_compression=True)
    reference = root / REFERENCE.format(subject=subject)
    reference.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(random.random(shape).astype(np.float32), AFFINE).to_filename(reference)
    return selected


def _write_annotations(root: Path, run: Run) -> None:
    begin, n = int(run.shows.start_s), int(run.shows.duration_s)
    folder = root / "derivatives/annotation"
    texts = {
        "objectiveAnnot50chara": lambda t: f"扉{t}/b{t}/c{t}/d{t}/e{t}",
        "story": lambda t: f"話{t // 5}/story {t // 5}",
        "speechTranscription": lambda t: f"メイン#レイチェル:台詞{t}" if t % 3 else "メイン#不明:",
        "speechTranscription_EN": lambda t: f"メイン#Rachel:line {t}" if t % 3 else "メイン#不明:",
    }
    for level, text in texts.items():
        lines = "".join(f"[{k}]{text(begin + k)}\n" for k in range(n))
        write(folder / f"{published_name(run)}_{level}_each1sec.txt", lines)


def save_mat(path: Path, **variables: np.ndarray) -> None:
    """Write matrices as published: HDF5 behind a block of 512 bytes; h5py shows (n_volumes, n_voxels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            stored = file.create_dataset(name, data=value, compression="gzip")
            stored.attrs["MATLAB_class"] = np.bytes_("single")
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def write(path: Path, text: str) -> None:
    """Write a text file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
