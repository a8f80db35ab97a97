"""What the tests of reading datasets share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import encoding_data_factory
import pytest


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., encoding_data_factory.Written]:
    """Return a function that writes the dataset: ``write_dataset(kind="volume")``."""
    return partial(encoding_data_factory.write, tmp_path / "dataset")
