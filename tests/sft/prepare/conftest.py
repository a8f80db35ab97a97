"""A wheel folder that pip reads instead of a registry, and small recipes whose text comes with installed packages."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from release_kit.sft.prepare.packages import PINS, PackageFiles, open_package, package_cache
from release_kit.sft.prepare.pretrain import Recipe, recipe_of

REAL_CACHE = package_cache()
"""The user's cache of wheels, asked for before the tests get one of their own."""

TEXT = ["mmlu-dev", "bbh-cot"]
RECIPE = {
    "text": TEXT,
    "tokenizer": {"vocab_size": 300},
    "model": {"hidden_size": 16, "n_layers": 2, "n_heads": 2, "max_length": 64},
    "steps": 8,
    "batch": 2,
    "seq_len": 32,
    "learning_rate": 1.0e-2,
    "seed": 3,
}
"""Text out of lm-evaluation-harness, which every installation of this room has."""


@pytest.fixture
def recipe() -> Recipe:
    return recipe_of(RECIPE, "study.yaml", "source.pretrain")


@pytest.fixture
def real_package() -> Callable[[str], PackageFiles]:
    """Return a function that opens a package with real data, or skips where its pinned wheel is not on this machine."""

    def open_it(name: str) -> PackageFiles:
        version, sha256 = PINS.get(name, ("", ""))
        wheel = f"{name}-{version}-{sha256[:12]}.whl"
        if name in PINS:
            if not (REAL_CACHE / wheel).is_file():
                pytest.skip(f"{wheel} is not in the cache; `sft prepare studies/mini.yaml --dir …` fetches it")
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
