"""The reference validator accepts every file that annotations become, raw and as a derivative."""

import json
import subprocess
import sys
from pathlib import Path

import annotation_study
import bids_factory
import numpy as np
import pytest

from release_kit.bids.annotations.events import events_files
from release_kit.bids.annotations.runs import FOLDER, run_derivative_files
from release_kit.bids.annotations.stimuli import stimuli_files
from release_kit.bids.schema import BIDS_VERSION, bids_name

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
EXPLAINED = {"SIDECAR_KEY_RECOMMENDED", "NO_AUTHORS", "JSON_KEY_RECOMMENDED", "TOO_FEW_AUTHORS"}
"""Warnings about images, participants and the description of this fixture, which are not what is tested."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    recipe, table = annotation_study.make_recipe(), annotation_study.good_table()
    for files in (stimuli_files, run_derivative_files, events_files):
        for path, data in files(recipe, table):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    for run in recipe.runs:
        for subject in recipe.subjects:
            if subject.label not in run.missing:
                name = bids_name(subject=subject.label, task=run.task, run=run.run, suffix="bold")
                n_volumes = int(run.shows.onset_s + run.shows.duration_s)
                bids_factory.write_nifti(folder / name, np.ones((*bids_factory.SHAPE, n_volumes)))
    for task in recipe.tasks.values():
        sidecar = {"TaskName": task.name, "RepetitionTime": 1.0}
        (folder / f"task-{task.label}_bold.json").write_text(json.dumps(sidecar))
    description = {
        "Name": "x",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["A", "B"],
    }
    (folder / "dataset_description.json").write_text(json.dumps(description))
    (folder / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    (folder / "README.md").write_text("A dataset of tests, with two films.\n" * 10)
    return folder


def issues(folder: Path) -> list[dict]:
    ran = subprocess.run(
        [VALIDATOR, folder, "--format", "json", "--max-rows", "-1"], capture_output=True, text=True, check=False
    )
    assert ran.returncode in (0, 16), ran.stderr
    return json.loads(ran.stdout)["issues"]["issues"]


def test_raw_dataset_has_no_error_and_no_unexplained_warning(dataset: Path):
    found = [issue for issue in issues(dataset) if issue["code"] not in EXPLAINED]
    assert not found
    about_events = [issue for issue in issues(dataset) if "events" in issue.get("location", "")]
    assert not about_events


def test_annotations_derivative_has_no_error_and_warns_only_that_it_is_subject_free(dataset: Path):
    found = [(issue["code"], issue["severity"]) for issue in issues(dataset / FOLDER)]
    assert found == [("SUBJECT_FOLDERS", "warning")]
