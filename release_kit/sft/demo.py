"""The study that ``release-kit demo`` runs: its files, its data and its base model, put into one folder.

Owns copying what ships in ``demo_study/`` and calling the preparation of data and base model; training is
``grid_run.py``.
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.study import STUDY_FILE, Study, read_study
from release_kit.sft.base_model import BaseModel, prepare_base_model
from release_kit.sft.old_data import DataRecord, prepare_datasets
from release_kit.sft.worker import DATA_FOLDER

BASE_FOLDER = "base/SmolLM2-135M-Instruct"
SHIPPED = (STUDY_FILE, "tasks/mmlu_holdout.yaml")


def write_demo_study(folder: Path) -> Study:
    """Put the shipped study and task files into ``folder``; the same files stay untouched.

    A ``study.yaml`` that is already there is kept, so that people can change it and run again.
    """
    for name in SHIPPED:
        if not (folder / name).is_file():
            write_atomic(folder / name, files("release_kit.sft").joinpath("demo_study", name).read_bytes())
    return read_study(folder)


def prepare_demo_inputs(folder: Path) -> Iterator[DataRecord | BaseModel]:
    """Make the data and the base model of the study in ``folder``; yield each record as it is ready."""
    yield from prepare_datasets(folder / DATA_FOLDER).values()
    yield prepare_base_model(folder / BASE_FOLDER)
