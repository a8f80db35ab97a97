"""``release-kit sign`` as people and programs see it."""

import json
from pathlib import Path

import pytest
from cli_in_process import release_kit
from download_factory import make_download

from release_kit.release.sign.release import SIGNATURE_FILE


@pytest.fixture
def download(tmp_path: Path) -> Path:
    make_download(tmp_path / "copy", datasets=("lima",), seeds=(0,))
    return tmp_path / "copy"


def test_new_key_then_signature_then_one_file_per_cell(download, tmp_path):
    made = json.loads(release_kit("sign", "--new-key", tmp_path / "keys", "--json").stdout)
    assert (made["ok"], made["algorithm"], made["encrypted"]) == (True, "ec-p256", False)
    outcome = release_kit(
        "sign", download, "--key", made["private_key"], "--per-cell", tmp_path / "signatures", "--json"
    )
    signed = json.loads(outcome.stdout)
    assert outcome.returncode == 0
    assert signed["fingerprint"] == made["fingerprint"]
    assert Path(signed["signature"]) == download / SIGNATURE_FILE
    assert {Path(path).name for path in signed["cells"]} == {
        f"{path.name}.sig" for path in (download / "cells").iterdir()
    }
    text = release_kit("sign", download, "--key", made["private_key"]).stdout
    assert "signed tiny-grid 1.0.0" in text
    assert "it was already there" in text


def test_passphrase_comes_from_the_environment_and_is_never_printed(download, tmp_path):
    secret = {"RELEASE_KIT_KEY_PASSPHRASE": "correct horse"}
    made = release_kit("sign", "--new-key", tmp_path / "keys", "--algorithm", "ed25519", **secret)
    assert "ed25519 key" in made.stdout
    refused = release_kit("sign", download, "--key", tmp_path / "keys" / "private.pem")
    assert refused.returncode == 1
    assert "encrypted" in refused.stderr
    signed = release_kit("sign", download, "--key", tmp_path / "keys" / "private.pem", **secret)
    assert signed.returncode == 0
    assert "correct horse" not in made.stdout + made.stderr + signed.stdout + signed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--new-key"),
        (["somewhere"], 2, "--key"),
        (["somewhere", "--key", "k.pem", "--cell", "x"], 2, "--per-cell"),
        (["somewhere", "--key", "missing.pem"], 1, "missing.pem"),
        (["--new-key", "here", "--algorithm", "rsa"], 2, "ed25519"),
    ],
)
def test_wrong_use_is_one_line_with_the_next_step(arguments, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = release_kit("sign", *arguments)
    assert outcome.returncode == code
    assert says in outcome.stderr
    assert "Traceback" not in outcome.stderr
