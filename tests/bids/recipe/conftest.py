"""A tiny study with its recipe, to be spoiled by each test."""

from collections.abc import Callable
from pathlib import Path

import bids_factory
import pytest

from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.read import parse_recipe


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return the folder of the factory's study: AB12 and CD34, film_run1 and film_run2, three annotation files."""
    return bids_factory.make_recordings(tmp_path / "study").parent


@pytest.fixture
def reread(study: Path) -> Callable[..., Recipe]:
    """Return a function that reads the study's recipe with texts replaced; every replaced text must be there."""

    def read(*changes: tuple[str, str]) -> Recipe:
        text = (study / "recipe.yaml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        recipe, unfilled = parse_recipe(text, folder=study)
        assert not unfilled
        return recipe

    return read
