"""A tiny random Llama and seeded examples: training in milliseconds, with everything that a real one has."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_training

from release_kit.sft.train.warm import WarmBase


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a base model that nobody changes."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_training.write_base(folder)
    return folder


@pytest.fixture(scope="session")
def warm(tiny_folder: Path) -> WarmBase:
    """Return the base, loaded once for all tests: what one test leaves in it, the next must not see."""
    return WarmBase(tiny_folder)


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return the function that reads every file below a folder."""
    return tiny_training.contents
