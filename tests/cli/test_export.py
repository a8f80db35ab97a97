"""``release-kit export`` as people and programs see it."""

import json
import os
from pathlib import Path

import pytest
from cli_in_process import release_kit
from download_factory import make_download


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "copy"
    make_download(folder, datasets=("lima",), seeds=(0,))
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "there"),
    [
        ("sha256sums", "SHA256SUMS", ""),
        ("bagit", "bag", "manifest-sha256.txt"),
        ("croissant", "croissant.json", ""),
        ("ro-crate", "crate", "ro-crate-metadata.json"),
    ],
)
def test_each_format_is_written_and_reported(download, tmp_path, kind, name, there):
    outcome = release_kit("export", kind, download, "-o", tmp_path / name, "--json")
    value = json.loads(outcome.stdout)
    assert (outcome.returncode, value["ok"], value["left_out"]) == (0, True, [])
    assert value["n_files"] == sum(1 for path in download.rglob("*") if path.is_file())
    assert (tmp_path / name / there).is_file()


def test_list_goes_to_stdout_for_a_dash(download):
    outcome = release_kit("export", "sha256sums", download, "-o", "-")
    listed = {line.split("  ", 1)[1] for line in outcome.stdout.splitlines()}
    assert listed == {os.path.relpath(path, download) for path in download.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["sha256sums", "nowhere", "-o", "x"], 1, "manifest.json"),
        (["bagit", "nowhere"], 2, "--output"),
        (["zip", "nowhere"], 2, "zip"),
    ],
)
def test_wrong_use_is_one_line(arguments, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = release_kit("export", *arguments)
    assert outcome.returncode == code
    assert says in outcome.stderr
    assert "Traceback" not in outcome.stderr
