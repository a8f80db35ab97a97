"""What tests of datasets on a Hub do again and again: publish a study, download it, list a folder with its digests."""

import hashlib
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.identity import Search
from release_kit.core.study import read_study
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Repo, parse_reference
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release
from release_kit.release.download.release import DownloadOptions, DownloadReport, download_release
from release_kit.release.publish.options import PublishOptions, PublishReport
from release_kit.release.publish.run import publish_release
from release_kit.release.tree import open_tree

NAME = "two-films"
REPO = Repo(f"lab/{NAME}", "dataset")
REFERENCE = f"lab/{NAME}@v1.0.0"
NAMES = Search(words=("AB12", "CD34"))
"""Who took part, as the lab calls them."""
OWN = (".release/manifest.json", ".release/placement.json")


def build(study: Path) -> None:
    """Build the study as it lies there now."""
    build_release(read_study(study))


def publish(study: Path, hub: LocalHub, **options: Any) -> PublishReport:
    """Publish a built study to the account ``lab``."""
    with HubClient(hub.endpoint) as client:
        return publish_release(open_tree(study), client, PublishOptions(namespace="lab", **options))


def download(hub: LocalHub, folder: Path, reference: str = REFERENCE, **options: Any) -> DownloadReport:
    """Download a release."""
    with HubClient(hub.endpoint) as client:
        return download_release(client, parse_reference(reference), folder, DownloadOptions(**options))


def on_hub(hub: LocalHub, revision: str = "main") -> set[str]:
    """Return the paths that the dataset's repo holds."""
    with HubClient(hub.endpoint) as client:
        return {file.path for file in client.list_tree(REPO, revision)} - {".gitattributes"}


def contents(folder: Path) -> dict[str, str]:
    """Return path → sha256 of every file below a folder, links followed, local state left out."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {path: digest for path, digest in found.items() if not path.startswith((".release_kit/", ".git/"))}
