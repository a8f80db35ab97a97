"""A small study that is trained, measured and intervened on once; tests take copies of its folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sae.measure.small_study import make_study, train

from release_kit.sae.intervene.cell import intervene_cell
from release_kit.sae.measure.cell import measure_cell
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the finished study; nobody writes into it."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        study = make_study(folder)
        train(study)
        for step in (0, 8):
            measure_cell(study, "small", step, report=lambda *_: None)
        intervene_cell(study, "small", 0, report=lambda *_: None)
    return folder


@pytest.fixture
def copied(finished_folder: Path, tmp_path: Path) -> Callable[[str], SaeStudy]:
    """Return a function: name → the study in a folder of its own."""

    def copy(name: str = "study") -> SaeStudy:
        return read_study(Path(shutil.copytree(finished_folder, tmp_path / name)) / "sae.yaml")

    return copy
