"""Whatever a run did to a base is undone bit for bit, and a checkpoint that changed meanwhile is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from release_kit.core.errors import IntegrityError
from release_kit.sft.train import pristine
from release_kit.sft.train.pristine import Pristine


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Return tensors of which the first is on disk in bfloat16, the second other than on disk, the third not there."""
    monkeypatch.setattr(pristine, "LARGE", 64)
    torch.manual_seed(0)
    half = torch.randn(8, 8).to(torch.bfloat16)
    values = {"on_disk": half.float(), "other": torch.randn(8, 8), "computed": torch.randn(100)}
    save_file({"on_disk": half, "other": torch.randn(8, 8)}, tmp_path / "model.safetensors")
    return values


def test_everything_is_put_back_bit_for_bit(stored: dict[str, torch.Tensor], tmp_path: Path):
    kept = Pristine(tmp_path, stored)
    before = {name: value.clone() for name, value in stored.items()}
    for value in stored.values():
        value.mul_(-3)
    kept.put_back(stored)
    assert all(torch.equal(value, before[name]) for name, value in stored.items())


def test_large_tensors_that_stand_in_the_checkpoint_take_no_memory(stored: dict[str, torch.Tensor], tmp_path: Path):
    assert set(Pristine(tmp_path, stored)._copies) == {"other", "computed"}


def test_checkpoint_that_changed_is_refused_and_nothing_is_written(stored: dict[str, torch.Tensor], tmp_path: Path):
    kept = Pristine(tmp_path, stored)
    before = {name: value.clone() for name, value in stored.items()}
    save_file({"on_disk": torch.zeros(8, 9)}, tmp_path / "model.safetensors")
    with pytest.raises(IntegrityError, match="changed while the base was in use"):
        kept.put_back(stored)
    assert all(torch.equal(value, before[name]) for name, value in stored.items())
