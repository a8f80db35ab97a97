"""A simulated study as a BIDS dataset on disk, so that it is read and analysed like a measured one.

Owns the files: events, annotations, responses as a derivative (a row of voxels as a volume), and beside them what was
planted. Bands of a simulation are numbers and no texts: each volume's annotation is a word of its own, and the word's
vector (``word_vectors``) is the row of the band, so that an analysis of word vectors sees exactly what was planted.
"""

import json
import re
from pathlib import Path

import numpy as np

from release_kit.bids.recordings.header import ImageFacts
from release_kit.bids.recordings.nifti_write import write_nifti_gz
from release_kit.core.files import write_atomic
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.partition.sets import FloatMap
from release_kit.encoding.simulate.make import Simulated
from release_kit.encoding.simulate.plan import SimulationSpec

RESPONSES, TRUTH = "responses", "truth"
"""Folders below ``derivatives/``."""
_SAMPLE_MM = 2.0
_README = """A simulated study: nobody was measured.

`derivatives/responses` holds responses that follow planted features, and noise. `derivatives/truth` says what was
planted: the features of each band as they were shown, the region of each voxel, and the R2 that each union of bands
reaches with endless data.
"""


def write_dataset(made: Simulated, folder: Path) -> Path:
    """Write a simulated study as a BIDS dataset and return its folder; the same study gives the same bytes.

    ``open_dataset(folder, ResponsesSpec(derivative="responses"))`` reads it; its runs come in the order of their tasks,
    and no volume is left out with ``SampleRule(drop_start_s=0)``. Tables of ``derivatives/truth``:
    ``stim-<title>_desc-<band>_features.tsv`` (a row a volume, all runs of the title one after the other),
    ``regions.tsv`` (``voxel``, ``region``) and ``sub-<label>_truth.tsv`` (``voxel``, ``null``, an R² a union of bands).
    Each band is a level of annotation.

    Args:
        made: the study.
        folder: of the dataset; it must not hold one already.

    Raises:
        AnalysisError: titles or bands that are no labels of BIDS, a folder that holds a dataset.
    """
    _check(made.spec, folder)
    _write_descriptions(made.spec, folder)
    for run, part in enumerate(made.samples.borders):
        name, title = made.samples.runs[run], made.samples.titles[run]
        number = made.samples.titles[:run].count(title)
        for subject, responses in made.responses.items():
            stem = f"sub-{subject}/func/sub-{subject}_{name}"
            path = folder / "derivatives" / RESPONSES / f"{stem}_bold.nii.gz"
            _write_run(path, responses[part], made.spec.tr_s)
            write_atomic(folder / f"{stem}_events.tsv", _events(made.spec, title, number), durable=False)
    _write_annotations(made, folder / "stimuli")
    _write_truth(made, folder / "derivatives" / TRUTH)
    # Written last: it says that the dataset is complete.
    write_atomic(folder / "README", _README.encode())
    return folder


def word_vectors(made: Simulated, band: str) -> bytes:
    """Return the vectors of the words of a band's annotations as a text file (word2vec): each volume's row exactly."""
    x = next(each.x for each in made.bands if each.name == band)
    lines = [f"{word} {' '.join(f'{value:.9g}' for value in row)}\n" for word, row in zip(_words(made), x, strict=True)]
    return f"{len(x)} {x.shape[1]}\n{''.join(lines)}".encode()


def _words(made: Simulated) -> list[str]:
    """Return the word of each row: its title and its place in it."""
    counts = {title: 0 for title in made.samples.title_names}
    words = []
    for place in made.samples.title_of_sample:
        title = made.samples.title_names[place]
        words.append(f"{title}{counts[title]:06d}")
        counts[title] += 1
    return words


def _write_annotations(made: Simulated, folder: Path) -> None:
    """Write one annotator of each band; an annotation lasts a volume."""
    titles, tr_s = made.samples.title_names, made.spec.tr_s
    write_atomic(folder / "stimuli.tsv", "".join(["stimulus_id\n", *(f"stim-{title}\n" for title in titles)]).encode())
    rows = "".join(f"{band}A01\t{band}\tA01\ten\n" for band in made.spec.bands)
    write_atomic(folder / "annotations.tsv", f"annot_id\tlevel\tannotator_id\tlanguage\n{rows}".encode())
    words = np.array(_words(made))
    for place, title in enumerate(titles):
        said = words[made.samples.title_of_sample == place]
        lines = "".join(f"{k * tr_s:.12g}\t{tr_s:.12g}\t{word}\n" for k, word in enumerate(said))
        for band in made.spec.bands:
            path = folder / f"stim-{title}_annot-{band}A01_events.tsv"
            write_atomic(path, f"onset\tduration\ttext\n{lines}".encode())


def _check(spec: SimulationSpec, folder: Path) -> None:
    names = [*spec.titles, *spec.bands]
    problems = [
        f"{name!r} is no label (letters and digits)" for name in names if not re.fullmatch("[A-Za-z0-9]+", name)
    ]
    if (folder / "dataset_description.json").exists():
        problems.append("a dataset is there already")
    if problems:
        raise AnalysisError("; ".join(problems), where=str(folder), next_step="choose other names or another folder")


def _write_run(path: Path, responses: FloatArray, tr_s: float) -> None:
    """Write (n_volumes, n_voxels) float32 as a row of voxels along x."""
    n_volumes, n_voxels = responses.shape
    rows = [[_SAMPLE_MM * (x == y) for y in range(3)] + [0.0] for x in range(3)]
    facts = ImageFacts(
        shape=(n_voxels, 1, 1),
        n_volumes=n_volumes,
        n_dims=4,
        voxel_mm=(_SAMPLE_MM,) * 3,
        tr_s=tr_s,
        tr_unit_known=True,
        affine=tuple(tuple(row) for row in [*rows, [0.0, 0.0, 0.0, 1.0]]),
        orientation="RAS",
        dtype="float32",
        sform_code=1,
        qform_code=0,
    )
    write_nifti_gz(path, facts, (np.asfortranarray(row.astype("<f4").reshape(-1, 1, 1)) for row in responses))


def _events(spec: SimulationSpec, title: str, number: int) -> bytes:
    """Return the events of a title's run, counted from 0: each run goes on where the one before ended."""
    length = spec.n_volumes * spec.tr_s
    row = f"0\t{length:.12g}\tstimulus\tstim-{title}\t{number * length:.12g}"
    return f"onset\tduration\ttrial_type\tstim_id\tstim_start\n{row}\n".encode()


def _write_truth(made: Simulated, folder: Path) -> None:
    titles = np.array(made.samples.title_names)[made.samples.title_of_sample]
    for title in made.samples.title_names:
        for band in made.bands:
            header = [f"{band.name}{k}" for k in range(band.x.shape[1])]
            path = folder / f"stim-{title}_desc-{band.name}_features.tsv"
            write_atomic(path, _table(header, band.x[titles == title]), durable=False)
    regions = [*(region.name for region in made.spec.regions), "constant"]
    lines = [f"{voxel}\t{regions[place]}\n" for voxel, place in enumerate(made.region)]
    write_atomic(folder / "regions.tsv", "".join(["voxel\tregion\n", *lines]).encode())
    for subject in made.responses:
        scores = {"+".join(b for b in made.spec.bands if b in union): r2 for union, r2 in made.truth(subject).items()}
        columns = [np.arange(made.spec.n_voxels), made.null, *scores.values()]
        data = _table(["voxel", "null", *scores], np.column_stack(columns).astype(np.float64))
        write_atomic(folder / f"sub-{subject}_truth.tsv", data)


def _table(header: list[str], rows: FloatMap | FloatArray) -> bytes:
    lines = ("\t".join("n/a" if np.isnan(cell) else f"{cell:.9g}" for cell in row) for row in rows)
    return "\n".join(["\t".join(header), *lines, ""]).encode()


def _write_descriptions(spec: SimulationSpec, folder: Path) -> None:
    raw = {"Name": "A simulated study", "BIDSVersion": "1.11.1", "DatasetType": "raw", "License": "CC0-1.0"}
    made_by = [{"Name": "release_kit", "Description": "Simulated: no person was measured."}]
    derived = {**raw, "DatasetType": "derivative", "GeneratedBy": made_by}
    described: dict[str, dict] = {
        "dataset_description.json": raw,
        f"derivatives/{RESPONSES}/dataset_description.json": {**derived, "Name": "Simulated responses"},
        f"derivatives/{TRUTH}/dataset_description.json": {**derived, "Name": "What was planted"},
    }
    for title in spec.titles:
        facts = {"TaskName": title, "RepetitionTime": spec.tr_s, "SkullStripped": False}
        described[f"derivatives/{RESPONSES}/task-{title}_bold.json"] = facts
    for path, value in described.items():
        write_atomic(folder / path, (json.dumps(value, indent=1) + "\n").encode())
    # BIDS has no names for what was planted.
    write_atomic(folder / f"derivatives/{TRUTH}/.bidsignore", b"*.tsv\n")
