"""Series of tiny models that are trained once, and studies that start from copies of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sae.small_study import write_study

from release_kit.sae.pipeline.models import train_series
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder with the finished series of the size ``small``."""
    folder = write_study(tmp_path_factory.mktemp("series"))
    train_series(read_study(folder), "small")
    return folder


@pytest.fixture
def make_study(trained_models: Path, tmp_path: Path) -> Callable[..., SaeStudy]:
    """Return a function that writes a study beside a copy of the trained models."""

    def make(name: str = "study", **settings: str) -> SaeStudy:
        folder = write_study(tmp_path / name, **settings)
        shutil.copytree(trained_models / "models", folder / "models")
        return read_study(folder)

    return make
