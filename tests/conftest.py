"""Fixtures that every room may use."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import hypothesis
import pytest
import study_factory

from release_kit.core.study import Study

# The same examples in every run, and none refused for being slow on a busy machine.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Return a function that writes a clean tiny study into ``tmp_path/study`` (see ``study_factory.StudySpec``)."""
    return partial(study_factory.make_study, tmp_path / "study")


@pytest.fixture(autouse=True)
def own_digest_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep remembered digests of tests apart from the user's and from each other's."""
    monkeypatch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
