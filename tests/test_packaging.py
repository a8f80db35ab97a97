"""What is installed is what the checkout holds: package list, wheel, sdist and the folders that ship as data."""

import configparser
import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED_FOLDERS = ("bids", "dataset_cards")


def _setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def _git_files(*paths: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return ``(wheel, sdist)``, built from a clean copy of the files that git knows."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in _git_files("."):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_package_list_names_every_folder_with_code():
    listed = set(_setup()["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "release_kit").rglob("__init__.py")}
    assert {name for name in listed if "._data." not in name} == found
    assert {name for name in listed if "._data." in name} == {f"release_kit._data.{name}" for name in SHIPPED_FOLDERS}


def test_shipped_folders_are_no_packages():
    """An ``__init__.py`` in ``bids/`` would shadow pybids for everyone who works in the checkout."""
    assert not [path for folder in SHIPPED_FOLDERS for path in (ROOT / folder).rglob("__init__.py")]


def test_wheel_ships_exactly_the_files_of_the_checkout(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    data = {name.removeprefix("release_kit/_data/") for name in names if name.startswith("release_kit/_data/")}
    assert data == {name for name in _git_files(*SHIPPED_FOLDERS) if not name.endswith("/.keep")}
    package = {name for name in names if name.startswith("release_kit/") and "/_data/" not in name}
    assert package == _git_files("release_kit")


def test_wheel_says_what_it_needs(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[0]) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
        message = email.message_from_bytes(wheel.read(metadata))
        entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "release-kit = release_kit.cli:main" in wheel.read(entry).decode()
    assert message["License-Expression"] == "Apache-2.0"
    assert message["Requires-Python"] == ">=3.11"
    plain = [line for line in message.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in plain if line.startswith(("torch", "transformers", "datasets", "lm_eval"))]
    assert {"hub", "sign", "sft", "all", "test"} <= set(message.get_all("Provides-Extra"))


def test_wheel_finds_its_folders_away_from_the_checkout(built: tuple[Path, Path], tmp_path: Path):
    site = tmp_path / "site"
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import release_kit; print(release_kit.__file__)\n"
        "from release_kit.core.resources import resource_root\n"
        "print(sorted(entry.name for entry in resource_root('dataset_cards').iterdir()))\n"
        "from importlib.resources import files\n"
        "print(len(files('release_kit.sft').joinpath('demo_study', 'study.yaml').read_text()) > 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    origin, listing, study = ran.stdout.splitlines()
    assert origin.startswith(str(site))
    assert listing == str(sorted(path.name for path in (ROOT / "dataset_cards").iterdir() if path.name != ".keep"))
    assert study == "True"


def test_editable_install_finds_the_same_folders(tmp_path: Path):
    code = (
        "from release_kit.core.resources import resource_root\n"
        f"print(*[resource_root(name) for name in {SHIPPED_FOLDERS!r}], sep='\\n')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(ROOT / name) for name in SHIPPED_FOLDERS]


def test_sdist_can_build_the_same_wheel(built: tuple[Path, Path]):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", *_git_files("release_kit", *SHIPPED_FOLDERS)}
    assert {name for name in needed if not name.endswith("/.keep")} <= names


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_what_is_missing_on_a_machine_without_python(tmp_path: Path):
    tools, checkout = tmp_path / "bin", tmp_path / "checkout"
    tools.mkdir()
    checkout.mkdir()
    for name in ("make", "sh", "cat", "cksum", "cut", "rm", "touch"):
        (tools / name).symlink_to(shutil.which(name))
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    command = [tools / "make", "test"]
    ran = subprocess.run(command, cwd=checkout, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "no Python 3.11 or newer" in ran.stderr and "make CHOSEN_PYTHON=/path/to/python test" in ran.stderr
    assert not (checkout / ".venv").exists()
