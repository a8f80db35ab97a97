"""``release-kit sae import``: what was recognised is said, what is written gives the same features."""

import json
from pathlib import Path

import pytest
import torch
from cli_in_process import release_kit
from click.testing import CliRunner
from sae.formats.test_layouts import LAYOUTS, D, N, gemma_scope, sparsify

from release_kit.cli.sae_import import import_command
from release_kit.sae.formats.read import read_sae


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_import_says_what_it_found_and_gives_the_same_features(name: str, tmp_path: Path):
    source = tmp_path / "layer_12" / "width_16k" / "average_l0_82"
    source.mkdir(parents=True)
    LAYOUTS[name](source)
    before = read_sae(source)
    done = CliRunner().invoke(
        import_command, [str(source), "--out", str(tmp_path / "out"), "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    said = json.loads(done.output)
    assert (said["layout"], said["d_in"], said["n_features"]) == (before.layout, D, N)
    after = read_sae(tmp_path / "out").sae
    x = 2 * torch.randn(30, D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.features(x), before.sae.features(x))
    torch.testing.assert_close(after.decode(after.encode(x)), before.sae.decode(before.sae.encode(x)))
    cfg = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert cfg["metadata"]["imported_from"]["layout"] == before.layout
    assert str(tmp_path) not in (tmp_path / "out" / "cfg.json").read_text(), "no path of this machine is written"


def test_one_file_of_a_folder_may_be_named_and_facts_are_printed(tmp_path: Path):
    source = tmp_path / "layer_12" / "width_16k" / "average_l0_82"
    source.mkdir(parents=True)
    gemma_scope(source)
    done = release_kit("sae", "import", source / "params.npz", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "layout     gemma-scope" in done.stdout
    assert "says       layer: 12" in done.stdout


@pytest.mark.parametrize("case", ["missing", "unknown", "full", "damaged"])
def test_what_cannot_be_imported_is_named_and_nothing_is_written(case: str, tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    if case != "missing":
        source.mkdir()
        sparsify(source)
    if case == "unknown":
        (source / "sae.safetensors").rename(source / "weights.bin")
    if case == "damaged":
        data = (source / "sae.safetensors").read_bytes()
        (source / "sae.safetensors").write_bytes(data[: len(data) // 2])
    if case == "full":
        out.mkdir()
        (out / "mine.txt").write_text("keep")
    done = release_kit("sae", "import", source, "--out", out)
    assert done.returncode != 0
    words = {"missing": "does not exist", "unknown": "weights.bin", "full": "not empty", "damaged": "sae.safetensors"}
    assert words[case] in done.stderr
    assert [path.name for path in out.glob("*")] == (["mine.txt"] if case == "full" else [])
