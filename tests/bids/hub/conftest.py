"""A converted dataset, its study, and a local Hub: what the tests of datasets as releases share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import bids_factory
import pytest
from bids_hub import NAMES

from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.bids.release_study import write_release_study
from release_kit.core.study import read_study
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release


@pytest.fixture(scope="session")
def converted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two subjects x two runs with annotations of two levels; never changed."""
    folder = tmp_path_factory.mktemp("converted")
    recipe = bids_factory.make_recordings(folder / "recordings")
    convert(read_recipe(recipe.parent), folder / "dataset")
    return folder / "dataset"


@pytest.fixture(scope="session")
def built_once(converted_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its built study, which lies beside it; never changed."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(converted_once, folder / "dataset")
    write_release_study(folder / "dataset", folder / "study", search=NAMES)
    build_release(read_study(folder / "study"))
    return folder


@pytest.fixture
def dataset(converted_once: Path, tmp_path: Path) -> Path:
    """A copy of the dataset for one test."""
    return Path(shutil.copytree(converted_once, tmp_path / "dataset"))


@pytest.fixture
def study(built_once: Path, tmp_path: Path) -> Path:
    """A copy of the built study for one test, with its own dataset beside it."""
    shutil.copytree(built_once, tmp_path / "built", symlinks=True)
    return tmp_path / "built" / "study"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A local Hub with nothing in it."""
    with LocalHub(tmp_path / "hub", durability="fast") as server:
        yield server
