"""Source archives are exactly the pinned bytes, and nothing of other bytes is ever run."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from release_kit.core import packages
from release_kit.core.errors import ArtifactError, IntegrityError
from release_kit.core.packages import PackageFiles, fetch_package, package_cache

BUILD = """
from pathlib import Path

Path({marker!r}).write_text("the build ran")

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder) / "real_source-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: real-source\\nVersion: 1.2\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    return info.name

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing is built")
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "build_it"\nbackend-path = ["."]\n'


@pytest.fixture
def archive(make_wheel: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Put a source archive where pip looks: ``(path, sha256)``; its build leaves ``tmp_path/ran`` behind."""
    links = make_wheel("unrelated", "1", {})[0].parent
    files = {"data/TABLE": b"1\ta\n", "data/deep/B": b"b", "pyproject.toml": PROJECT.encode(),
             "build_it.py": BUILD.format(marker=str(tmp_path / "ran")).encode(),
             "PKG-INFO": b"Metadata-Version: 2.1\nName: real-source\nVersion: 1.2\n"}  # fmt: skip
    path = links / "real_source-1.2.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(f"real_source-1.2/{name}")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    monkeypatch.setattr(packages, "SOURCE_ARCHIVES", frozenset({"real-source"}))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_source_archive_is_downloaded_once_and_then_needs_nobody(archive: tuple[Path, str], monkeypatch):
    path, sha256 = archive
    first = fetch_package("real-source", "1.2", sha256)
    assert first.name == f"real-source-1.2-{sha256[:12]}.tar.gz" and first.read_bytes() == path.read_bytes()
    monkeypatch.setattr("sys.executable", "/no/python")
    assert fetch_package("real-source", "1.2", sha256) == first


def test_nothing_of_an_archive_with_other_bytes_is_run(archive: tuple[Path, str], tmp_path: Path):
    with pytest.raises(IntegrityError, match=f"{archive[1]}; expected {'0' * 64}"):
        fetch_package("real-source", "1.2", "0" * 64)
    assert list(package_cache().iterdir()) == [] and not (tmp_path / "ran").exists()


def test_files_of_an_archive_are_read_by_the_names_they_have_inside(archive: tuple[Path, str]):
    package = PackageFiles(name="real-source", version="1.2", root=archive[0])
    assert package.read("data/TABLE") == b"1\ta\n"
    assert package.names("data") == ["data/TABLE", "data/deep/B"]
    with pytest.raises(ArtifactError, match=r"real-source 1\.2: holds no readable file 'data/none'"):
        package.read("data/none")


def test_damaged_archive_is_an_error_that_names_the_package(archive: tuple[Path, str]):
    archive[0].write_bytes(archive[0].read_bytes()[:-60])
    with pytest.raises(ArtifactError, match=r"real-source 1\.2: holds no readable file"):
        PackageFiles(name="real-source", version="1.2", root=archive[0]).read("data/none")
