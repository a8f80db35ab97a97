"""``release-kit download`` and ``release-kit verify``: what they print, in both forms, and their exit codes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease, make_release

from release_kit.cli import cli
from release_kit.cli.output import run
from release_kit.hub.server import LocalHub

Run = Callable[..., tuple[int, str, str]]
WEIGHTS = "cells/lima-s0/model.safetensors"


@pytest.fixture
def release(tmp_path: Path) -> TinyRelease:
    return make_release(tmp_path / "release")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as running:
        yield running


@pytest.fixture
def reference(hub: LocalHub, release: TinyRelease) -> str:
    return publish_by_hand(hub.endpoint, release)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return ``call(*arguments)`` → (exit code, stdout, stderr)."""

    def run_it(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(cli, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run_it


def damage(copy: Path) -> None:
    path = copy / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_download_says_what_came_and_how_to_check_it(call: Run, reference: str, tmp_path: Path) -> None:
    code, out, err = call("download", reference, tmp_path / "copy")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("tiny 1.0.0: 4 of 4 cells, 32 files, ")
    assert lines[-1] == f"  check it   release-kit verify {tmp_path / 'copy'}"
    code, out, _ = call("download", reference, tmp_path / "copy", "--json")
    value = json.loads(out)
    assert (code, value["ok"], value["n_present"], value["n_fetched"], value["n_requests"]) == (0, True, 32, 0, 1)
    assert value["cells"] == ["alpaca-s0", "alpaca-s1", "lima-s0", "lima-s1"]


def test_download_of_nothing_real_is_one_line_and_exit_1(call: Run, hub: LocalHub, tmp_path: Path) -> None:
    code, out, err = call("download", f"{hub.endpoint}/lab/nothing@v1", tmp_path / "copy")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    code, out, err = call("download", "not a reference", tmp_path / "copy")
    assert code == 2
    assert "is not a reference" in err
    code, _, err = call("download", f"{hub.endpoint}/lab/tiny")
    assert code == 2
    assert "--into-cache" in err


def test_verify_reports_damage_and_repairs_it(call: Run, reference: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    call("download", reference, copy)
    code, out, err = call("verify", copy)
    assert (code, err) == (0, "")
    assert out.startswith("verified: 32 files of 4 cells")
    damage(copy)
    code, out, _ = call("verify", copy, "--tensors")
    assert code == 1
    first, last = out.splitlines()
    assert first.startswith(f"changed     {WEIGHTS}: expected sha256 ")
    assert "1 of 4 tensors differ (layer.3.weight)" in first
    assert last.startswith("NOT verified: 1 problems in 32 files")
    code, out, _ = call("verify", copy, "--repair")
    assert code == 0
    assert "repaired: 1 file, 1 fetched" in out
    assert out.splitlines()[-1].startswith("verified: 32 files")
    damage(copy)
    code, out, _ = call("verify", copy, "--repair", "--json")
    value = json.loads(out)
    assert (code, value["ok"], value["problems"]) == (0, True, [])
    assert [problem["where"] for problem in value["found"]] == [WEIGHTS]
    assert value["repair"]["repaired"] == [WEIGHTS]
    assert (Path(value["repair"]["quarantine"]) / WEIGHTS).is_file()


def test_a_damaged_manifest_is_refused_and_repaired(call: Run, reference: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    call("download", reference, copy)
    (copy / "manifest.json").write_text("{}")
    code, out, err = call("verify", copy, "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert "manifest.json" in err
    code, out, _ = call("verify", copy, "--repair")
    assert code == 0
    assert out.startswith("verified: 32 files")


def test_remote_and_sample_take_a_reference_or_the_place_of_a_download(
    call: Run, hub: LocalHub, reference: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    call("download", reference, copy)
    for arguments in (("--remote", reference), (reference, "--remote"), (reference,), (copy, "--remote")):
        hub.clear_requests()
        code, out, _ = call("verify", *arguments)
        assert (code, out.startswith("verified by metadata: 32 files of 4 cells")) == (0, True), arguments
        assert not any("model.safetensors" in record.path for record in hub.requests)
    for arguments in ((reference, "--sample", 3), ("--remote", reference, "--sample", 3), (copy, "--sample", 3)):
        code, out, _ = call("verify", *arguments, "--seed", 1)
        assert code == 0
        assert "3 of 16 tensors were read (seed 1)" in out
        assert out.splitlines()[-1].startswith("sampled: ")


def test_wrong_use_is_exit_2(call: Run, tmp_path: Path, release: TinyRelease) -> None:
    copy = release.write(tmp_path / "copy")
    for arguments, sentence in (
        ((), "nothing to verify"),
        ((copy, "--repair", "--sample", 3), "--repair works on a folder"),
        ((copy, "--remote"), "not recorded where this release lies"),
        ((copy, "--cell", "nosuch"), "no cell 'nosuch'"),
        ((copy, "--root", "xyz"), "is not a root digest"),
        ((copy, "--sample", 0), "--sample"),
    ):
        code, _, err = call("verify", *arguments)
        assert code == 2, arguments
        assert sentence in err
    code, _, err = call("verify", tmp_path / "nowhere")
    assert code == 1
    assert "does not exist" in err


def test_a_repair_without_a_recorded_source_names_the_option(
    call: Run, reference: str, tmp_path: Path, release: TinyRelease
) -> None:
    copy = release.write(tmp_path / "copy")
    damage(copy)
    code, _, err = call("verify", copy, "--repair")
    assert code == 2
    assert "--repair --from NAMESPACE/STUDY@VERSION" in err
    code, out, _ = call("verify", copy, "--repair", "--from", reference)
    assert code == 0
    assert out.splitlines()[-1].startswith("verified: 32 files")


def test_trusting_the_cache_reads_nothing_again(call: Run, tmp_path: Path, release: TinyRelease) -> None:
    copy = release.write(tmp_path / "copy")
    assert json.loads(call("verify", copy, "--json")[1])["n_read"] == 32
    assert json.loads(call("verify", copy, "--json", "--trust-cache")[1])["n_read"] == 0
    assert json.loads(call("verify", copy, "--json")[1])["n_read"] == 32


def test_the_root_of_a_release_on_a_hub_can_be_demanded(call: Run, reference: str, release: TinyRelease) -> None:
    assert call("verify", reference, "--remote", "--root", release.manifest.root)[0] == 0
    code, out, _ = call("verify", reference, "--remote", "--root", "0" * 64, "--json")
    assert code == 1
    assert [problem["code"] for problem in json.loads(out)["problems"]] == ["manifest"]
