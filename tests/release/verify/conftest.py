"""A small download to damage."""

from pathlib import Path

import pytest
from release_factory import TinyRelease, make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    """A release of four cells, in memory."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release: TinyRelease, tmp_path: Path) -> Path:
    """That release as a download."""
    return release.write(tmp_path / "copy")
