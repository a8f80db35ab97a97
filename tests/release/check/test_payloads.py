"""Wrong content under a label: copied files, copied tensors, the untouched base model."""

import shutil

import numpy as np
import yaml
from study_factory import (
    TinyShape,
    base_tensors,
    change_study,
    find_cell,
    read_tensors,
    write_model,
    write_safetensors,
)

from release_kit.release.check import check_study

SEED_1 = "base_model=tiny-llama dataset=lima method=full seed=1"
N_TENSORS = 20


def models(study, method="full"):
    names = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}
    return [find_cell(study, dataset="lima", method=method, seed=seed) / "model" / names[method] for seed in (0, 1)]


def test_same_file_under_two_labels(make_study, only):
    study = make_study()
    one, two = models(study)
    shutil.copy(one, two)
    (found,) = only(study, "payload-identical-file", SEED_1, severity="error")
    assert "model.safetensors is byte for byte equal to those of the cell with seed=0" in found.what
    assert found.path == two.relative_to(study.folder).as_posix()


def test_one_shared_shard_of_three_is_counted(make_study, only):
    study = make_study(shards=3)
    one, two = (find_cell(study, dataset="lima", method="full", seed=seed) / "model" for seed in (0, 1))
    shutil.copy(one / "model-00001-of-00003.safetensors", two)
    (found,) = only(study, "payload-identical-file", SEED_1)
    assert "1 of 3 weight files" in found.what


def test_same_adapter_under_two_labels(make_study, only):
    study = make_study()
    shutil.copy(*models(study, "lora"))
    only(study, "payload-identical-file", SEED_1.replace("full", "lora"))


def test_same_tensors_behind_another_header(make_study, only):
    study = make_study()
    one, two = models(study)
    write_safetensors(two, read_tensors(one), {"note": "saved again"})
    (found,) = only(study, "payload-identical-tensors", SEED_1, severity="error")
    assert f"{N_TENSORS} of {N_TENSORS} tensors equal those of the cell with seed=0" in found.what


def test_same_tensors_in_other_shards(make_study, only):
    study = make_study()
    one, two = models(study)
    tensors = read_tensors(one)
    two.unlink()
    write_model(two.parent, tensors, TinyShape(), shards=2)
    only(study, "payload-identical-tensors", SEED_1)


def test_one_changed_tensor_does_not_hide_a_copy(make_study, only):
    study = make_study()
    one, two = models(study)
    tensors = read_tensors(one)
    tensors["model.norm.weight"] += 1
    write_safetensors(two, tensors)
    (found,) = only(study, "payload-nearly-identical", SEED_1, severity="warning")
    assert f"{N_TENSORS - 1} of {N_TENSORS} trained tensors" in found.what


def test_frozen_layers_of_one_base_are_no_evidence(make_study):
    """Only two tensors are trained, differently: the cells are mostly their base, but not each other's copy."""
    study = make_study()
    for index, path in enumerate(models(study)):
        tensors = base_tensors("tiny-llama", TinyShape())
        tensors["model.norm.weight"] += 1 + index
        tensors["model.embed_tokens.weight"] += 1 + index
        write_safetensors(path, tensors)
    assert {each.code for each in check_study(study).problems} == {"payload-mostly-base"}


def test_untouched_base_is_not_fine_tuned(make_study, only):
    study = make_study()
    shutil.copy(study.folder / "bases" / "tiny-llama" / "model.safetensors", models(study)[1])
    (found,) = only(study, "payload-is-base", SEED_1, severity="error")
    assert f"{N_TENSORS} of {N_TENSORS} tensors equal those of tiny-llama: this is not fine-tuned" in found.what


def test_two_untouched_copies_are_explained_by_the_base_alone(make_study, only):
    study = make_study()
    for path in models(study):
        shutil.copy(study.folder / "bases" / "tiny-llama" / "model.safetensors", path)
    only(study, "payload-is-base", "*dataset=lima method=full*", n=2)


def test_nearly_untouched_base(make_study, only):
    study = make_study()
    tensors = base_tensors("tiny-llama", TinyShape())
    tensors["model.norm.weight"] += 1
    write_safetensors(models(study)[1], tensors)
    (found,) = only(study, "payload-mostly-base", SEED_1, severity="warning")
    assert f"{N_TENSORS - 1} of {N_TENSORS} tensors" in found.what


def test_declared_base_folder_without_weights(make_study, only):
    study = make_study()
    shutil.rmtree(study.folder / "bases")
    (found,) = only(study, "base-unreadable", "base model tiny-llama")
    assert "bases/tiny-llama" in found.what


def test_undeclared_base_folder_is_a_note(make_study, only):
    study = make_study()
    known = {"tiny-llama": {"license": "apache-2.0", "hub_id": "test-lab/tiny-llama"}}
    factors = {"base_model": known, "dataset": ["alpaca", "lima", "none"], "method": ["full", "lora", "base"]}
    only(change_study(study, factors=factors), "base-not-compared", "base model tiny-llama", severity="note")


def test_every_copy_in_a_large_group_is_named_once(make_study, only):
    study = make_study(seeds=tuple(range(12)), benchmarks=(), with_base=False)
    source = find_cell(study, dataset="lima", method="full", seed=0) / "model" / "model.safetensors"
    for seed in range(1, 12):
        shutil.copy(source, find_cell(study, dataset="lima", method="full", seed=seed) / "model")
    only(study, "payload-identical-file", "*dataset=lima method=full*", n=11)


def test_zero_tensors_are_no_evidence_of_a_copy(make_study, only):
    study = make_study(methods=("lora",))
    for path in models(study, "lora"):
        tensors = read_tensors(path)
        write_safetensors(path, {k: np.zeros_like(v) if "lora_B" in k else v for k, v in tensors.items()})
    only(study, "adapter-untrained", "*dataset=lima method=lora*", n=2)


def baseline_with_weights(make_study, *, declared_path, seeds=(0, 1), **spec):
    """A study whose untouched base model is a cell with weights, not results-only."""
    study = make_study(seeds=seeds, **spec)
    document = yaml.safe_load((study.folder / "study.yaml").read_text())
    if not declared_path:
        for properties in document["factors"]["base_model"].values():
            del properties["path"]
    study = change_study(study, factors=document["factors"], results_only=None)
    for base in spec.get("base_models", ("tiny-llama",)):
        folder = find_cell(study, base_model=base, method="base") / "model"
        shutil.copytree(study.folder / "bases" / base, folder)
    return study


def test_baseline_cell_may_hold_the_base_model(make_study):
    assert check_study(baseline_with_weights(make_study, declared_path=True)).problems == ()


def test_baseline_cell_stands_in_for_a_base_folder_that_is_not_declared(make_study, only):
    study = baseline_with_weights(make_study, declared_path=False)
    assert check_study(study).problems == ()
    shutil.copy(find_cell(study, method="base") / "model" / "model.safetensors", models(study)[1])
    only(study, "payload-is-base", SEED_1)


def test_two_base_models_with_the_same_weights(make_study, only):
    """Each base would be declared from its own folder; one of the two was filled with the other's files."""
    study = baseline_with_weights(make_study, declared_path=True, base_models=("tiny-llama", "other-7B"))
    source, target = (find_cell(study, base_model=name, method="base") for name in ("tiny-llama", "other-7B"))
    shutil.copy(source / "model" / "model.safetensors", target / "model")
    (found,) = only(study, "payload-identical-file", "base_model=other-7B dataset=none method=base seed=0")
    assert "the cell with base_model=tiny-llama" in found.what


def test_weights_of_other_libraries_need_no_config(make_study):
    study = make_study(benchmarks=())
    folder = models(study)[1].parent
    (folder / "model.safetensors").rename(folder / "sae_weights.safetensors")
    (folder / "config.json").unlink()
    assert check_study(study).problems == ()
