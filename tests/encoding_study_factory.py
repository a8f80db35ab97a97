"""A small study that an analysis finishes in seconds: texts of words that drive known voxels, responses as volumes.

Six voxels follow the words of each level and six those of both, four seconds later; the rest is noise, one voxel never
changes, one holds a NaN.
"""

import json
from pathlib import Path

import numpy as np
from encoding_data_factory import nifti, text

SHAPE = (4, 5, 2)
N_VOXELS = 40
N_VOLUMES = 90
DELAY = 4
TITLES = ("crown", "glee", "suits")
STORY, OBJECT, BOTH = slice(0, 6), slice(6, 12), slice(12, 18)
STILL, BROKEN = 38, 39
WORDS = {"story": ("love", "war", "sea", "night"), "object": ("door", "boat", "dog", "lamp")}

ANALYSIS = """\
schema_version: 1
name: small
dataset: {path: dataset, derivative: clean, kind: volume, space: MNI}
samples: {drop_start_s: 4}
clean: {detrend: none}
delays: {seconds: [4]}
features:
  story-words: {level: story, kind: bag-of-words}
  object-words: {level: object, kind: bag-of-words}
ridge: {alphas: {from: 0, to: 4, n: 5}}
bands: {both: {features: [story-words, object-words], n_iter: 0}}
compare: [{name: story against objects, a: story-words, b: object-words}]
statistics: {permutations: 99, block_s: 10, bootstrap: 50}
regions: regions.tsv
"""


def write_study(folder: Path, *, subjects: tuple[str, ...] = ("01", "02"), analysis: str = ANALYSIS) -> Path:
    """Write dataset, regions and ``encoding.yaml`` into ``folder``; returns the file."""
    root = folder / "dataset"
    description = {"Name": "Small films", "BIDSVersion": "1.11.1"}
    text(root / "dataset_description.json", json.dumps(description))
    derivative = {**description, "DatasetType": "derivative", "GeneratedBy": [{"Name": "nobody"}]}
    text(root / "derivatives/clean/dataset_description.json", json.dumps(derivative))
    seen = _write_annotations(root)
    for title in TITLES:
        text(root / f"task-{title}_bold.json", json.dumps({"RepetitionTime": 1.0, "TaskName": title}))
    for k, subject in enumerate(subjects):
        random = np.random.default_rng([7, k])
        for title in TITLES:
            for run in (1, 2):
                _write_run(root, subject, title, run, seen[title], random)
    rows = [("story", STORY), ("object", OBJECT), ("both", BOTH)]
    lines = [f"{voxel}\t{name}" for name, part in rows for voxel in range(part.start, part.stop)]
    text(folder / "regions.tsv", "\n".join(["voxel\tregion", *lines]) + "\n")
    file = folder / "encoding.yaml"
    text(file, analysis)
    return file


def _write_annotations(root: Path) -> dict[str, np.ndarray]:
    """Write two words a second for each level; returns title → (n_seconds, 8) how often each word is there."""
    text(root / "stimuli/stimuli.tsv", "stimulus_id\n" + "".join(f"stim-{title}\n" for title in TITLES))
    rows = [f"{level}A01\t{level}\tA01\ten" for level in WORDS]
    text(root / "stimuli/annotations.tsv", "\n".join(["annot_id\tlevel\tannotator_id\tlanguage", *rows]) + "\n")
    seen = {}
    for n, title in enumerate(TITLES):
        random = np.random.default_rng([5, n])
        chosen = random.integers(4, size=(2, 2 * N_VOLUMES, 2))
        for k, (level, words) in enumerate(WORDS.items()):
            lines = [f"{second}\t1\t{words[one]} {words[other]}" for second, (one, other) in enumerate(chosen[k])]
            name = root / f"stimuli/stim-{title}_annot-{level}A01_events.tsv"
            text(name, "\n".join(["onset\tduration\ttext", *lines]) + "\n")
        seen[title] = np.concatenate([np.eye(4)[each].sum(axis=1) for each in chosen], axis=1)
    return seen


def _write_run(root: Path, subject: str, title: str, run: int, seen: np.ndarray, random: np.random.Generator) -> None:
    start = (run - 1) * N_VOLUMES
    stem = f"sub-{subject}/func/sub-{subject}_task-{title}_run-{run:02d}"
    shown = seen[start : start + N_VOLUMES]
    signal = np.zeros((N_VOLUMES, N_VOXELS))
    weights = np.random.default_rng(11).standard_normal((8, N_VOXELS)) * 2
    weights[4:, STORY], weights[:4, OBJECT], weights[:, 18:] = 0, 0, 0
    signal[DELAY:] = shown[:-DELAY] @ weights
    values = 100 + signal + random.standard_normal(signal.shape)
    values[:, STILL] = 100
    values[7, BROKEN] = np.nan
    volumes = values.reshape(N_VOLUMES, *SHAPE).astype(np.float32)
    space = "_space-MNI_desc-clean_bold.nii.gz"
    nifti(root / "derivatives/clean" / f"{stem}{space}", np.moveaxis(volumes, 0, -1))
    row = f"0\t{N_VOLUMES}\tstimulus\tstim-{title}\t{start}\t{start + N_VOLUMES}"
    text(root / f"{stem}_events.tsv", f"onset\tduration\ttrial_type\tstim_id\tstim_start\tstim_end\n{row}\n")
