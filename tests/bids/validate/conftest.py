"""A small sound dataset written by hand, so that the checks are not judged by the code that writes datasets."""

import json
from collections.abc import Callable
from pathlib import Path

import bids_factory
import numpy as np
import pytest

from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.run import own_checks
from release_kit.bids.validate.survey import survey_dataset

SECONDS = 20
README = "Two people watch a film in two parts of twenty seconds each. The second part repeats the last four seconds. "


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write the sound dataset: two subjects, two runs, one stimulus, two annotations, one derivative."""
    folder = tmp_path / "dataset"
    random = np.random.default_rng(11)
    text(folder / "README.md", README * 2)
    text(folder / "CHANGES", "1.0.0 2026-01-01\n  - First version\n")
    description = {"Name": "Twenty seconds", "BIDSVersion": "1.11.1", "License": "CC0-1.0", "DatasetType": "raw"}
    document(folder / "dataset_description.json", {**description, "Authors": ["Ada Example", "Ben Example"]})
    text(folder / "participants.tsv", "participant_id\tage\nsub-01\t28\nsub-02\t33\n")
    document(folder / "participants.json", {"age": {"Description": "Age", "Units": "years"}})
    document(folder / "task-film_bold.json", {"TaskName": "film", "RepetitionTime": 1.0})
    for subject in ("01", "02"):
        for run, start in (("01", 0), ("02", 16)):
            stem = folder / f"sub-{subject}/func/sub-{subject}_task-film_run-{run}"
            bids_factory.write_nifti(Path(f"{stem}_bold.nii.gz"), random.integers(0, 900, (4, 4, 3, SECONDS)))
            text(Path(f"{stem}_events.tsv"), _events(start))
        text(folder / f"sub-{subject}/sub-{subject}_scans.tsv", _scans(subject))
    document(folder / "task-film_events.json", {"stim_id": {"Description": "Stimulus"}})
    _stimuli(folder / "stimuli")
    _derivative(folder / "derivatives" / "annotations")
    return folder


@pytest.fixture
def found_in() -> Callable[..., list[Finding]]:
    """Return a function that gives the findings of our own checks, or those of one code."""

    def find(folder: Path, code: str | None = None, **options) -> list[Finding]:
        _, _, found = own_checks(survey_dataset(folder), **options)
        return [one for one in found if code in (None, one.code)]

    return find


def text(path: Path, content: str) -> None:
    """Write a text file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def document(path: Path, value: object) -> None:
    """Write a JSON file, with its folders."""
    text(path, json.dumps(value, indent=2) + "\n")


def _events(start: int) -> str:
    rows = [(0, 20, start), (16, 4, start + 16)]
    lines = [f"{onset}\t{length}\tstim-film\t{begin}\t{begin + length}" for onset, length, begin in rows]
    return "onset\tduration\tstim_id\tstim_start\tstim_end\n" + "\n".join(lines) + "\n"


def _scans(subject: str) -> str:
    names = [f"func/sub-{subject}_task-film_run-{run}_bold.nii.gz" for run in ("01", "02")]
    return "filename\n" + "\n".join(names) + "\n"


def _stimuli(folder: Path) -> None:
    text(folder / "stimuli.tsv", "stimulus_id\tpresent\tduration\nstim-film\tfalse\t36\n")
    text(folder / "annotations.tsv", "annot_id\tdescription\nstoryA01\tstory by A01\nstoryA02\tstory by A02\n")
    for annotator, step in (("A01", 4), ("A02", 6)):
        rows = [f"{t}\t{step}\t{annotator} at {t}" for t in range(0, 36, step)]
        text(
            folder / f"stim-film_annot-story{annotator}_events.tsv", "onset\tduration\ttext\n" + "\n".join(rows) + "\n"
        )


def _derivative(folder: Path) -> None:
    described = {"Name": "Cut", "BIDSVersion": "1.11.1", "DatasetType": "derivative", "GeneratedBy": [{"Name": "us"}]}
    document(folder / "dataset_description.json", described)
    text(folder / "README.md", README)
    text(folder / "descriptions.tsv", "desc_id\tdescription\ndesc-storyA01\tstory by A01\n")
    for run, start in (("01", 0), ("02", 16)):
        rows = [f"{t - start}\t4\tA01 at {t}\tstim-film\t{t}" for t in range(start, start + 20, 4)]
        header = "onset\tduration\ttext\tstim_id\tstim_onset\n"
        text(folder / f"task-film_run-{run}_desc-storyA01_events.tsv", header + "\n".join(rows) + "\n")
