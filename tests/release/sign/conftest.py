"""A signed world: one download, one key of each kind."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from download_factory import make_download

from release_kit.core.manifest import Manifest
from release_kit.release.sign.keys import PrivateKey, read_private_key, write_key_pair


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A key pair on disk."""

    private: PrivateKey
    private_path: Path
    public_path: Path


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Return a clean download."""
    make_download(tmp_path / "copy", datasets=("lima",))
    return tmp_path / "copy"


@pytest.fixture
def manifest(download: Path) -> Manifest:
    """Return the manifest of the clean download."""
    from release_kit.core.manifest import read_manifest

    return read_manifest(download)


@pytest.fixture(params=["ec-p256", "ed25519"])
def keys(request, tmp_path: Path) -> Keys:
    """Return a new key pair of each kind."""
    return make_keys(tmp_path / "keys", request.param)


@pytest.fixture
def ec_keys(tmp_path: Path) -> Keys:
    """Return a new EC key pair."""
    return make_keys(tmp_path / "ec-keys", "ec-p256")


def make_keys(folder: Path, algorithm: str) -> Keys:
    """Make a key pair in ``folder``."""
    write_key_pair(folder, algorithm)
    private_path = folder / "private.pem"
    return Keys(private=read_private_key(private_path), private_path=private_path, public_path=folder / "public.pem")
