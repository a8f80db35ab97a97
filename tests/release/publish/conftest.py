"""Fixtures of the tests of publish: a built study, a Hub, and publishing with quick retries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from publish_hub import QUICK
from study_factory import make_study

from release_kit.core.study import Study
from release_kit.hub.client import HubClient
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release
from release_kit.release.publish.run import PublishOptions, PublishReport, publish_release
from release_kit.release.tree import open_tree


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """Serve an empty Hub."""
    with LocalHub(tmp_path / "hub", durability="fast") as served:
        yield served


@pytest.fixture
def built(tmp_path: Path) -> Study:
    """Return a small built study: two adapters, one full model with its seed, one baseline without weights."""
    return build(tmp_path / "study")


def build(folder: Path, **changes: Any) -> Study:
    """Write and build a study of three cells."""
    wanted = {"datasets": ("alpaca",), "methods": ("lora",), "seeds": (0, 1)} | changes
    study = make_study(folder, **wanted)
    build_release(study)
    return study


@pytest.fixture
def publish(hub: LocalHub) -> Callable[..., PublishReport]:
    """Return a function that publishes a study to the Hub."""

    def run(study: Study, layout: str | None = "repos", **options: Any) -> PublishReport:
        wish = {"namespace": "lab", "layout": layout, "collection": "A tiny grid"} | options
        with HubClient(hub.endpoint, patience=QUICK) as client:
            return publish_release(open_tree(study.folder), client, PublishOptions(**wish))

    return run
