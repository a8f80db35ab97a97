"""save, publish, get and verify on the command line: what they print, as text and as JSON, and how they end."""

import json
from pathlib import Path

import pytest
from cli_in_process import release_kit
from versioning_factory import AUTHOR, NOISE, RUNS, copied, make_dataset, writable, write


def test_way_from_save_to_proof_on_the_command_line(tmp_path: Path):
    pytest.importorskip("cryptography")
    dataset, keys = make_dataset(tmp_path / "dataset"), tmp_path / "keys"
    assert release_kit("sign", "--new-key", keys).returncode == 0
    saved = release_kit(
        "bids", "save", dataset, "--version", "1.0.0", "--author", AUTHOR, "--key", keys / "private.pem"
    )
    assert saved.returncode == 0, saved.stderr
    assert saved.stdout.startswith("saved 1.0.0: 22 files") and "recordings" in saved.stderr
    vouched = [word for pattern in NOISE for word in ("--vouch", pattern)]
    published = release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree", "--no-words", *vouched, "--json")
    assert json.loads(published.stdout)["siblings"][0]["ref"] == str(tmp_path / "tree")
    got = release_kit("bids", "get", tmp_path / "tree", tmp_path / "got", "--subject", "01", "--level", "story")
    assert got.returncode == 0 and "of 22" in got.stdout
    proved = release_kit("bids", "verify", tmp_path / "got", "--key", keys / "public.pem", "--no-validate")
    assert proved.returncode == 0, proved.stdout
    assert "Two films 1.0.0 is what it says it is" in proved.stdout
    assert "(downloaded: sub-01, level story)" in proved.stdout and "signature ec-p256 sha256:" in proved.stdout
    write(tmp_path / "got" / RUNS[0], b"damaged")
    damaged = release_kit("bids", "verify", tmp_path / "got", "--no-validate", "--json")
    assert damaged.returncode == 1
    assert [one["code"] for one in json.loads(damaged.stdout)["findings"]] == ["size"]
    healed = release_kit("bids", "verify", tmp_path / "got", "--no-validate", "--heal-from", tmp_path / "tree")
    assert healed.returncode == 0 and f"healed     {RUNS[0]}  from {tmp_path / 'tree'}" in healed.stdout
    writable(tmp_path)


def test_wrong_use_ends_with_2_and_refusals_with_1(saved_once: Path, tmp_path: Path):
    dataset = make_dataset(tmp_path / "dataset")
    assert release_kit("bids", "save", dataset).returncode == 2
    nobody = release_kit("bids", "save", dataset, "--version", "1.0.0")
    assert nobody.returncode == 2 and "--author" in nobody.stderr
    assert release_kit("bids", "publish", dataset).returncode == 2
    assert release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree").returncode == 1
    assert release_kit("bids", "get", "ftp://x/y", tmp_path / "x").returncode == 2
    assert release_kit("bids", "verify", tmp_path).returncode == 1
    again = release_kit(
        "bids", "save", copied(saved_once, tmp_path / "again"), "--version", "1.0.0", "--author", AUTHOR
    )
    assert again.returncode == 0 and "saved already and nothing differs" in again.stdout
    writable(tmp_path)


def test_sibling_is_proved_by_downloading_it(siblings_once: dict[str, Path]):
    ran = release_kit("bids", "verify", siblings_once["directory"], "--no-validate")
    assert ran.returncode == 0 and "Two films 1.0.0 is what it says it is" in ran.stdout
    ran = release_kit("bids", "verify", siblings_once["directory"] / "dataset.git", "--no-validate")
    assert ran.returncode == 1 and "content" in ran.stdout


@pytest.mark.slow
def test_validator_is_run_again_on_what_was_downloaded(siblings_once: dict[str, Path], tmp_path: Path):
    release_kit("bids", "get", siblings_once["tree"], tmp_path / "got")
    ran = release_kit("bids", "verify", tmp_path / "got", "--json")
    value = json.loads(ran.stdout)
    assert ran.returncode == 1 and value["validation"]["ok"] is False, "random bytes are no recordings"
    assert any(one["code"] == "invalid" and one["path"] in RUNS for one in value["findings"])
