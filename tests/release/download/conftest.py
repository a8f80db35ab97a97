"""A release on a local Hub, and a download of it in one call."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease, make_release

from release_kit.core.digest_cache import DigestCache, default_cache_path
from release_kit.hub.client import HubClient
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import parse_reference
from release_kit.hub.server import LocalHub
from release_kit.release.download.release import DownloadOptions, DownloadReport, download_release

QUICK = Patience(tries=2, base_s=0.01, pause_s=0.02, connect_s=5, read_s=5)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    """A release of four cells, in memory."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """An empty Hub of its own for each test, so that faults and counts stay apart."""
    with LocalHub(root=tmp_path / "hub") as running:
        yield running


@pytest.fixture
def reference(hub: LocalHub, release: TinyRelease) -> str:
    """The release, published in the layout of one repo for each cell."""
    reference = publish_by_hand(hub.endpoint, release)
    hub.clear_requests()
    return reference


@pytest.fixture
def fetch() -> Callable[..., DownloadReport]:
    """Return ``fetch(reference, folder, **options)``."""
    return download


def download(reference: str, folder: Path | None, *, patience: Patience = QUICK, **options) -> DownloadReport:
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint, patience=patience) as client, DigestCache(default_cache_path()) as cache:
        return download_release(client, parsed, folder, DownloadOptions(**options), cache=cache)
