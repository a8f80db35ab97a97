"""Wheels are exactly the pinned bytes, are downloaded once, and are read without being installed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from release_kit.core import packages
from release_kit.core.errors import ArtifactError, IntegrityError, MissingExtraError, ReleaseKitError
from release_kit.core.packages import PackageFiles, fetch_package, installed_package, package_cache

FILES = {"real_data/data/a.jsonl": b'{"x": 1}\n', "real_data/data/deep/b.txt": b"b", "real_data/__init__.py": b""}


def test_wheel_is_downloaded_once_and_then_needs_nobody(make_wheel: Callable, monkeypatch: pytest.MonkeyPatch):
    path, sha256 = make_wheel("real-data", "1.2", FILES)
    first = fetch_package("real-data", "1.2", sha256)
    assert first.read_bytes() == path.read_bytes() and first.parent == package_cache()
    path.unlink()
    monkeypatch.setattr("sys.executable", "/no/python")
    assert fetch_package("real-data", "1.2", sha256) == first


def test_other_bytes_are_refused_and_not_kept(make_wheel: Callable):
    _, sha256 = make_wheel("real-data", "1.2", FILES)
    wrong = "0" * 64
    with pytest.raises(IntegrityError, match=f"{sha256}; expected {wrong}"):
        fetch_package("real-data", "1.2", wrong)
    assert list(package_cache().iterdir()) == []


def test_damaged_wheel_in_the_cache_is_fetched_again(make_wheel: Callable):
    path, sha256 = make_wheel("real-data", "1.2", FILES)
    kept = fetch_package("real-data", "1.2", sha256)
    kept.write_bytes(b"half a wh")
    assert fetch_package("real-data", "1.2", sha256).read_bytes() == path.read_bytes()


def test_missing_package_says_what_pip_said_and_where_to_put_the_wheel(make_wheel: Callable):
    with pytest.raises(ReleaseKitError, match="not-there 9 could not be downloaded") as caught:
        fetch_package("not-there", "9", "0" * 64)
    assert "No matching distribution" in str(caught.value) and str(package_cache()) in str(caught.value)


def test_wheel_on_this_machine_can_be_added_when_it_is_a_pinned_one(
    make_wheel: Callable, monkeypatch: pytest.MonkeyPatch
):
    path, sha256 = make_wheel("real-data", "1.2", FILES)
    assert packages.add_to_cache(path) == []
    monkeypatch.setattr(packages, "PINS", {"real-data": ("1.2", sha256)})
    (kept,) = packages.add_to_cache(path)
    path.unlink()
    assert packages.open_package("real-data").root == kept


@pytest.mark.parametrize("form", ["wheel", "folder"])
def test_files_read_alike_from_a_wheel_and_from_a_folder(form: str, make_wheel: Callable, tmp_path: Path):
    root, _ = make_wheel("real-data", "1.2", FILES)
    if form == "folder":
        root = tmp_path / "installed"
        for name, data in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    package = PackageFiles(name="real-data", version="1.2", root=root)
    assert package.names("real_data/data") == ["real_data/data/a.jsonl", "real_data/data/deep/b.txt"]
    assert package.read("real_data/data/a.jsonl") == b'{"x": 1}\n'
    with pytest.raises(ArtifactError, match=r"real-data 1\.2: holds no readable file 'real_data/none'"):
        package.read("real_data/none")


def test_installed_distribution_is_read_and_an_absent_one_named():
    assert installed_package("lm_eval").names("lm_eval/tasks/bbh/cot_fewshot")
    with pytest.raises(MissingExtraError, match="'no-such-distribution', which is not installed"):
        installed_package("no-such-distribution")
