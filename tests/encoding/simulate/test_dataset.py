"""A simulated study that was written is read back as it was made, by what reads measured ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from release_kit.core.files import iter_files
from release_kit.encoding.data.bids_annotations import read_bids_annotations
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.samples import SampleRule, plan_samples
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.features.word_vectors import read_word_vectors
from release_kit.encoding.features.words import words_of
from release_kit.encoding.simulate.dataset import word_vectors, write_dataset
from release_kit.encoding.simulate.make import simulate
from release_kit.encoding.simulate.plan import PlantedRegion, SimulationSpec

SPEC = SimulationSpec(
    titles={"heist": 2, "tower": 3}, n_volumes=40, tr_s=1.5, n_subjects=2, n_constant=1,
    bands={"speech": 2, "story": 3},
    regions=(PlantedRegion(name="both", n_voxels=4, shares={"speech": 0.2, "story": 0.2}),
             PlantedRegion(name="silent", n_voxels=3, shares={})),
)  # fmt: skip


def test_responses_runs_and_held_out_samples_come_back_as_they_were_made(tmp_path: Path):
    made = simulate(SPEC)
    dataset = open_dataset(write_dataset(made, tmp_path / "study"), ResponsesSpec(derivative="responses"))
    assert dataset.subjects == tuple(made.responses) == ("01", "02")
    for subject in dataset.subjects:
        runs = dataset.runs(subject)
        samples = plan_samples(runs, SampleRule(drop_start_s=0))
        assert (samples.runs, samples.titles) == (made.samples.runs, made.samples.titles)
        for name in ("run", "volume", "train"):
            np.testing.assert_array_equal(getattr(samples, name), getattr(made.samples, name))
        read = np.concatenate([dataset.responses(subject, run) for run in runs])
        np.testing.assert_array_equal(read, made.responses[subject])
        assert [(run.stim_id, run.stim_start_s) for run in runs] == [
            ("heist", 0.0), ("heist", 60.0), ("tower", 0.0), ("tower", 60.0), ("tower", 120.0)
        ]  # fmt: skip


def test_the_planted_truth_lies_beside_the_responses(tmp_path: Path):
    made = simulate(SPEC)
    truth = write_dataset(made, tmp_path / "study") / "derivatives/truth"
    shown = np.loadtxt(truth / "stim-tower_desc-story_features.tsv", skiprows=1)
    np.testing.assert_allclose(shown, made.bands[1].x[made.samples.title_of_sample == 1], rtol=1e-7)
    lines = [line.split("\t") for line in (truth / "sub-02_truth.tsv").read_text().splitlines()]
    assert lines[0] == ["voxel", "null", "speech", "story", "speech+story"]
    whole = [float(line[4]) for line in lines[1:-1]]
    np.testing.assert_allclose(whole, made.truth("02")[frozenset(["speech", "story"])][:-1], rtol=1e-7)
    assert [line[1] for line in lines[1:]] == ["0"] * 4 + ["1"] * 3 + ["0"] and lines[-1][2:] == ["n/a"] * 3
    regions = [line.split("\t")[1] for line in (truth / "regions.tsv").read_text().splitlines()[1:]]
    assert regions == ["both"] * 4 + ["silent"] * 3 + ["constant"]


def test_annotations_and_word_vectors_give_the_planted_features_back(tmp_path: Path):
    made = simulate(SPEC)
    table = read_bids_annotations(write_dataset(made, tmp_path / "study"))
    for band in made.bands:
        rows = [row for row in table.to_pylist() if row["level"] == band.name]
        words = [row["text"] for row in sorted(rows, key=lambda row: (row["stim_id"], row["onset_s"]))]
        assert len(set(words)) == made.samples.n and words_of(words[0], "en") == words[:1]
        path = tmp_path / f"{band.name}.txt"
        path.write_bytes(word_vectors(made, band.name))
        vectors, place = read_word_vectors(path, words)
        np.testing.assert_array_equal(vectors[[place[word] for word in words]], band.x)
    assert [row["onset_s"] for row in rows if row["stim_id"] == "heist"][:3] == [0.0, 1.5, 3.0]


def test_the_same_study_gives_the_same_bytes(tmp_path: Path):
    one, two = (write_dataset(simulate(SPEC), tmp_path / name) for name in "ab")
    files = [name for name, _ in iter_files(one)]
    assert files == [name for name, _ in iter_files(two)] and len(files) > 20
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_names_that_are_no_labels_and_a_folder_in_use_are_refused_at_once(tmp_path: Path):
    write_dataset(simulate(SPEC), tmp_path)
    with pytest.raises(AnalysisError, match=r"'big bang' is no label.*already"):
        write_dataset(simulate(replace(SPEC, titles={"big bang": 2})), tmp_path)
