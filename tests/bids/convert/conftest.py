"""A tiny study and its conversion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bids_factory
import pytest

from release_kit.bids.convert.run import ConvertReport, convert
from release_kit.bids.recipe.read import read_recipe


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of a study of two subjects x two runs, with anatomies and annotations."""
    return bids_factory.make_recordings(tmp_path / "study").parent


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where its dataset goes."""
    return tmp_path / "dataset"


@pytest.fixture
def converted(study: Path, out: Path) -> Callable[..., ConvertReport]:
    """Return a function that reads the recipe as it is now and converts."""

    def run(**options: Any) -> ConvertReport:
        return convert(read_recipe(study), out, **options)

    return run
