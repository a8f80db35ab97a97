"""A small study whose models and autoencoders are trained once; tests take copies of its folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sae.measure.small_study import make_study, train

from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the trained study; nobody writes into it."""
    folder = tmp_path_factory.mktemp("trained") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        train(make_study(folder))
    return folder


@pytest.fixture
def copied(trained_folder: Path, tmp_path: Path) -> Callable[[str], SaeStudy]:
    """Return a function: name → the study in a folder of its own."""

    def copy(name: str = "study") -> SaeStudy:
        return read_study(Path(shutil.copytree(trained_folder, tmp_path / name)) / "sae.yaml")

    return copy
