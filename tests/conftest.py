"""Fixtures that every room may use."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import hypothesis
import pytest
import study_factory

from release_kit.core.packages import PINS, PackageFiles, kept_name, open_package, package_cache
from release_kit.core.study import Study

REAL_CACHE = package_cache()
"""The user's cache of wheels, asked for before the tests get one of their own."""

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


@pytest.fixture
def real_package() -> Callable[[str], PackageFiles]:
    """Return a function that opens a package with real data, or skips where its pinned wheel is not on this machine."""

    def open_it(name: str) -> PackageFiles:
        version, sha256 = PINS.get(name, ("", ""))
        wheel = kept_name(name, version, sha256)
        if name in PINS:
            if not (REAL_CACHE / wheel).is_file():
                pytest.skip(f"{wheel} is not in the cache; `make install` fetches it")
            package_cache().mkdir(parents=True, exist_ok=True)
            if not (package_cache() / wheel).exists():
                (package_cache() / wheel).symlink_to(REAL_CACHE / wheel)
        return open_package(name)

    return open_it


@pytest.fixture
def make_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Path, str]]:
    """Return a function that puts a wheel where pip looks, with no registry behind it: ``(path, sha256)``."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("RELEASE_KIT_CACHE", str(tmp_path / "cache" / "digests.sqlite"))

    def make(name: str, version: str, files: Mapping[str, bytes]) -> tuple[Path, str]:
        stem = f"{name.replace('-', '_')}-{version}"
        path = links / f"{stem}-py3-none-any.whl"
        metadata = {
            f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
            f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{stem}.dist-info/RECORD": b"",
        }
        with zipfile.ZipFile(path, "w") as wheel:
            for inner, data in {**files, **metadata}.items():
                wheel.writestr(inner, data)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    return make
