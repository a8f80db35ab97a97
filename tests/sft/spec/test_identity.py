"""A run's identity follows everything that decides its bytes, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from release_kit.core.errors import ArtifactError
from release_kit.core.study import parse_study
from release_kit.sft.spec.identity import base_identity, code_digest, run_id, run_identity
from release_kit.sft.spec.runs import RunPlan, plan_runs

TEXT = """
schema_version: 1
name: tiny
version: "1"
factors: {base_model: [a], dataset: [x], method: [full, lora]}
settings: {training: {batch_size: 4, max_length: 64, learning_rate: 0.001, steps: 2}}
"""


@pytest.fixture
def plan() -> RunPlan:
    return plan_runs(parse_study(TEXT, folder=Path("/nowhere")))[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "base.json").write_text('{"made": "yesterday"}')
    return folder


def name_of(plan: RunPlan, base: Path, data: str = "d", code: str = "c", device: str = "cpu") -> str:
    return run_id(run_identity(plan, base_identity(base), data, code, device))


def test_same_inputs_same_identity_wherever_they_lie(plan: RunPlan, base: Path, tmp_path: Path):
    before = name_of(plan, base)
    moved = base.rename(tmp_path / "elsewhere")
    (moved / "base.json").write_text('{"made": "today"}')
    assert name_of(plan, moved) == before


def test_every_input_changes_the_identity(plan: RunPlan, base: Path):
    settings = plan.settings
    names = [name_of(plan, base)]
    names += [name_of(plan, base, data="e"), name_of(plan, base, code="e"), name_of(plan, base, device="cuda")]
    names += [name_of(replace(plan, seed=1), base), name_of(replace(plan, method="lora"), base)]
    for change in ({"threads": 2}, {"micro_batch": 2}, {"template": "paper"}, {"learning_rate": 0.002}):
        names.append(name_of(replace(plan, settings=replace(settings, **change)), base))
    (base / "config.json").write_text('{"rope_theta": 1}')
    names.append(name_of(plan, base))
    (base / "model.safetensors").write_bytes(b"other weights")
    names.append(name_of(plan, base))
    assert len(set(names)) == len(names)


def test_how_often_a_run_saves_is_not_its_identity(plan: RunPlan, base: Path):
    often = replace(plan, settings=replace(plan.settings, checkpoint_every=1))
    assert name_of(often, base) == name_of(plan, base)


def test_base_without_weights_is_refused_with_the_next_step(tmp_path: Path, base: Path):
    with pytest.raises(ArtifactError, match="release-kit sft prepare"):
        base_identity(tmp_path / "absent")
    (base / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="no safetensors"):
        base_identity(base)


def test_code_digest_is_stable_in_one_checkout():
    first = code_digest()
    code_digest.cache_clear()
    assert code_digest() == first
    assert len(first) == 64
