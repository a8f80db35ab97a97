"""A download is what the manifest says, in every layout, and a second call asks for nothing that is here."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease

from release_kit.core.study import LAYOUTS
from release_kit.hub.server import LocalHub
from release_kit.release.verify import verify_folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return ``{path: content}`` of everything but local state."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".release_kit" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_files(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, layout: str, fetch: Callable
) -> None:
    report = fetch(publish_by_hand(hub.endpoint, release, layout), tmp_path / "copy")
    got = tree(tmp_path / "copy")
    assert {path: got[path] for path in release.files} == dict(release.files)
    assert set(got) - set(release.files) == {"manifest.json", "placement.json"}
    assert len(report.cells) == 4
    assert verify_folder(tmp_path / "copy").ok
