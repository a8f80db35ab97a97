"""Published autoencoders give others what they gave us: SAELens and sparsify in an interpreter of their own.

``RELEASE_KIT_SAE_PEERS`` names an interpreter that has them; without it, the one that runs the tests is asked.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_in_process import release_kit
from sae.publish.sae_study import WIDTHS, make_study
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from release_kit.sae.dictionary import Sae
from release_kit.sae.formats.saelens import read_saelens
from release_kit.sae.formats.sparsify import write_sparsify
from release_kit.sae.metrics.reconstruction import reconstruction
from release_kit.sae.pipeline.published import publish_cells

N_TOKENS, CLOSE = 500, 1e-5


def interpreter(library: str) -> str:
    """Return an interpreter that has the library, or skip the test."""
    if named := os.environ.get("RELEASE_KIT_SAE_PEERS"):
        return named
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed, and RELEASE_KIT_SAE_PEERS names no interpreter that has it")
    return sys.executable


def activations() -> dict[str, torch.Tensor]:
    """Return activations by width, of the spread that residual streams have."""
    generator = torch.Generator().manual_seed(3)
    return {str(d): 3 * torch.randn(N_TOKENS, d, generator=generator) + 0.5 for d in WIDTHS.values()}


def theirs(library: str, root: Path, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, float]]]:
    """Return features, outputs and figures by name of the autoencoder, as the library gives them."""
    inputs, out = folder / "x.safetensors", folder / "out.safetensors"
    save_file(activations(), inputs)
    script = Path(__file__).with_name("peer_reads.py")
    command = [interpreter(library), str(script), library, str(root), str(inputs), str(out)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with safe_open(out, "pt") as stored:
        figures = json.loads(stored.metadata()["figures"])
    return load_file(out), figures


def hold_against(sae: Sae, name: str, tensors: dict[str, torch.Tensor], figures: dict[str, float]) -> dict[str, float]:
    """Hold one autoencoder against what a library made of it; return the differences, those of tensors relative."""
    x = activations()[str(sae.config.d_in)]
    said = reconstruction(sae, [(x, np.arange(len(x)))]).by_language["all"]
    apart = {
        "features": relative(sae.features(x), tensors[f"{name}/features"]),
        "restored": relative(sae.decode(sae.encode(x)), tensors[f"{name}/restored"]),
        "fvu": abs(said.fvu - figures["fvu"]),
        "l0": abs(said.l0 - figures["l0"]),
    }
    assert max(apart.values()) < CLOSE, f"{name}: {apart}"
    return apart


def relative(own: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((own - other).abs().max() / own.abs().max())


@pytest.fixture(scope="module", params=[("topk", "unit-norm"), ("topk", "none"), ("jumprelu", "none")], ids="-".join)
def download(request, tmp_path_factory) -> Path:
    """Return the tree of a built release, cells as a download has them."""
    architecture, normalise = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        study = make_study(tmp_path_factory.mktemp("s") / "study", architecture=architecture, normalise=normalise)
        published = publish_cells(study).folder
        assert release_kit("build", published).returncode == 0
    root = tmp_path_factory.mktemp("download")
    for one in json.loads((published / "extra" / "index.json").read_bytes())["autoencoders"]:
        if (one["step"], one["layer"]) == (3, 2):
            folder = root / one["path"]
            folder.mkdir(parents=True)
            for file in (published / "cells" / one["cell_id"] / "model").iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            built = published / "release" / one["path"] / "README.md"
            (folder / "README.md").write_bytes(built.read_bytes())
    return root


@pytest.mark.slow
def test_saelens_gives_the_same_features_outputs_and_figures(download, tmp_path):
    tensors, figures = theirs("sae_lens", download, tmp_path)
    assert len(figures) == 4
    for name, found in figures.items():
        print(name, hold_against(read_saelens(download / "cells" / name).sae, name, tensors, found))


@pytest.mark.slow
def test_sparsify_gives_the_same_features_outputs_and_figures(tmp_path):
    study = make_study(tmp_path / "study", normalise="none")
    saes = {}
    for size in WIDTHS:
        sae = read_saelens(study.folder / "saes" / size / "step-3" / "layer-2" / "seed-0").sae
        write_sparsify(sae, tmp_path / "written" / size)
        saes[size] = sae
    tensors, figures = theirs("sparsify", tmp_path / "written", tmp_path)
    for name, sae in saes.items():
        print(name, hold_against(sae, name, tensors, figures[name]))


def test_the_code_on_a_card_gives_the_same_without_any_library(download, monkeypatch):
    monkeypatch.chdir(download)
    for card in sorted(download.rglob("README.md")):
        blocks = re.findall(r"```python\n(.*?)\n```", card.read_text(), re.DOTALL)
        (plain,) = [block for block in blocks if "import numpy" in block]
        known: dict = {}
        exec(compile(plain, str(card), "exec"), known)
        sae = read_saelens(card.parent).sae
        x = activations()[str(sae.config.d_in)]
        features = known["encode"](x.numpy())
        more = (x.numpy(),) if sae.config.normalise == "unit-norm" else ()
        assert relative(sae.features(x), torch.from_numpy(features)) < CLOSE
        restored = torch.from_numpy(known["decode"](features, *more))
        assert relative(sae.decode(sae.encode(x)), restored) < CLOSE


@pytest.mark.slow
def test_the_code_on_a_card_loads_it_with_saelens(download):
    python = interpreter("sae_lens")
    card = sorted(download.rglob("README.md"))[0]
    (code,) = [b for b in re.findall(r"```python\n(.*?)\n```", card.read_text(), re.DOTALL) if "sae_lens" in b]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [python, "-c", code + "\nprint(sae.cfg.d_sae)"]
    done = subprocess.run(command, cwd=download, capture_output=True, text=True, env=quiet, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("48")
