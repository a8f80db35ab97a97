"""A local Hub for the audits of one test file, and a function that puts a replica on it and audits it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_replica import put_release

from release_kit.hub.client import HubClient
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import Repo
from release_kit.hub.server import LocalHub
from release_kit.release.audit import AuditOptions, AuditReport, audit_releases


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[LocalHub]:
    """Return a running Hub."""
    with LocalHub(root=tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def client(hub: LocalHub) -> Iterator[HubClient]:
    """Return a client of it that gives up soon."""
    with HubClient(hub.endpoint, patience=Patience(tries=2)) as opened:
        yield opened


@pytest.fixture
def audit(client: HubClient, tmp_path: Path) -> Callable[..., AuditReport]:
    """Return ``audit(release, name=…, **options)``: put the release into a new repo and audit it."""

    def run(release, name: str | None = None, **options) -> AuditReport:
        repo = Repo(f"lab/{name or tmp_path.name.replace('_', '-')[-60:].strip('-')}")
        put_release(client, repo, release)
        return audit_releases(client, [repo.id], AuditOptions(**options))

    return run
