"""What conversion writes is what an analysis reads: runs, responses of both kinds, annotations by either way."""

import shutil
from pathlib import Path

import bids_factory
import h5py
import numpy as np
import pytest

from release_kit.bids.annotations.collect import collect_annotations
from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.encoding.data.check import check_dataset
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.samples import SampleRule, plan_samples, shared_seconds


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study with its converted dataset in ``dataset``; only to be read."""
    folder = tmp_path_factory.mktemp("study")
    bids_factory.make_recordings(folder)
    bids_factory.add_preprocessed(folder)
    convert(read_recipe(folder / "recipe.yaml"), folder / "dataset", workers=1)
    return folder


def test_runs_and_their_repeated_seconds_come_from_the_events(study):
    dataset = open_dataset(study / "dataset", ResponsesSpec())
    runs = dataset.runs("01")
    assert [(run.name, run.title, run.stim_id) for run in runs] == [
        ("task-film_run-01", "film", "film"),
        ("task-film_run-02", "film", "film"),
    ]
    assert [(run.stim_start_s, run.overlap_s, run.n_volumes, run.tr_s) for run in runs] == [
        (0, 0, 20, 1.0),
        (16, 4, 20, 1.0),
    ]
    samples = plan_samples(runs, SampleRule(drop_start_s=0))
    assert (samples.train.sum(), (~samples.train).sum()) == (20, 16)
    assert set(shared_seconds(runs, samples).values()) == {0}
    assert check_dataset(dataset, levels=[("story", "en"), ("object", "en")]) == ()


def test_a_derivative_made_of_matrices_gives_their_numbers_back(study):
    found = list((study / "dataset/derivatives/preprocessed").glob("sub-01/func/*_bold.nii.gz"))
    assert len(found) == 2
    dataset = open_dataset(study / "dataset", ResponsesSpec(derivative="preprocessed"))
    run = dataset.runs("01")[0]
    with h5py.File(study / "preprocessed/AB12_run1.mat") as file:
        stored = file["dataDT"][()]  # (n_voxels, n_volumes), voxels counted x fastest
    whole = dataset.mask("01").to_volume(dataset.responses("01", run))
    inside = whole[:, 2:6, 2:6, 1:5]
    assert np.array_equal(np.stack([volume.ravel(order="F") for volume in inside]), stored.T)
    assert np.count_nonzero(whole) == np.count_nonzero(stored)


def test_annotations_are_those_of_the_recipe_by_either_way(study, tmp_path):
    wanted = collect_annotations(read_recipe(study / "recipe.yaml"))
    assert open_dataset(study / "dataset", ResponsesSpec()).annotations().equals(wanted)
    copy = Path(shutil.copytree(study / "dataset", tmp_path / "dataset", symlinks=True))
    shutil.rmtree(copy / "stimuli")
    assert open_dataset(copy, ResponsesSpec()).annotations().equals(wanted)
