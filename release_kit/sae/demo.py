"""The study that ``release-kit sae demo`` runs, as it ships; running it is a command of its own."""

from importlib.resources import files
from pathlib import Path

from release_kit.core.files import write_atomic
from release_kit.sae.spec.read import STUDY_FILE

MARK = "DEMO.txt"
"""Says that a folder is the demo's, so that nobody's study is taken for one."""


def write_demo_study(folder: Path, study: Path | None = None) -> Path:
    """Put ``study``, or the ``sae.yaml`` that ships, into ``folder`` and return it.

    One that is already there is kept, so that people can change it and run again.
    """
    file = folder / STUDY_FILE
    if not file.is_file():
        shipped = files("release_kit.sae").joinpath("demo_study", STUDY_FILE)
        write_atomic(file, shipped.read_bytes() if study is None else study.read_bytes())
    return file
