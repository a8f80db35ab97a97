"""Fixtures that every room may use."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import study_factory

from release_kit.core.study import Study


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Return a function that writes a clean tiny study into ``tmp_path/study`` (see ``study_factory.StudySpec``)."""
    return partial(study_factory.make_study, tmp_path / "study")


@pytest.fixture(autouse=True)
def own_digest_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep remembered digests of tests apart from the user's and from each other's."""
    monkeypatch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
