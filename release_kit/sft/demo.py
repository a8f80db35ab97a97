"""The study that ``release-kit demo`` runs, as it ships; making its inputs and running it are commands of their own."""

from importlib.resources import files
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.core.study import STUDY_FILE, Study, read_study


def write_demo_study(folder: Path) -> Study:
    """Put the shipped study into ``folder`` and return it.

    A ``study.yaml`` that is already there is kept, so that people can change it and run again.
    """
    if not (folder / STUDY_FILE).is_file():
        write_atomic(folder / STUDY_FILE, files("release_kit.sft").joinpath("demo_study", STUDY_FILE).read_bytes())
    return read_study(folder)
