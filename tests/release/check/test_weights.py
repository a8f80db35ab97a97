"""Checkpoints that cannot be loaded, or hold what no training makes; adapters that nobody can put on their base."""

import json
import os
import shutil

import numpy as np
import pytest
from study_factory import TinyShape, change_json, find_cell, read_tensors, write_json, write_safetensors

from release_kit.release.check.shapes import shape_contradictions

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"
LORA = LIMA.replace("full", "lora")
INDEX = "model.safetensors.index.json"


def model_folder(study, method="full"):
    return find_cell(study, dataset="lima", method=method, seed=1) / "model"


def change_tensors(path, change):
    tensors = read_tensors(path)
    change(tensors)
    write_safetensors(path, tensors)


def test_artifact_folder_that_is_not_there(make_study, only):
    study = make_study()
    shutil.rmtree(model_folder(study))
    (found,) = only(study, "weights-absent", LIMA, severity="error")
    assert "is not there" in found.what


def test_artifact_folder_without_weights(make_study, only):
    study = make_study()
    (model_folder(study) / "model.safetensors").unlink()
    (found,) = only(study, "weights-absent", LIMA)
    assert "3 other files" in found.what


@pytest.mark.parametrize("n_bytes", [0, 5, 100, 4000])
def test_truncated_weights(make_study, only, n_bytes):
    study = make_study()
    path = model_folder(study) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    (found,) = only(study, "weights-truncated", LIMA)
    assert "truncated" in found.what and found.path.endswith("model/model.safetensors")


def test_bytes_after_the_last_tensor(make_study, only):
    study = make_study()
    path = model_folder(study) / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    only(study, "weights-truncated", LIMA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(make_study, only):
    study = make_study()
    (model_folder(study) / "model.safetensors").chmod(0)
    only(study, "file-unreadable", LIMA)


def test_file_that_the_system_cannot_read(make_study, only, tmp_path):
    """A descriptor of this process's memory map opens, but reading its start fails with an input/output error."""
    study = make_study()
    (model_folder(study) / "notes.txt").symlink_to("/proc/self/mem")
    only(study, "file-unreadable", LIMA)


def test_missing_shard(make_study, only):
    study = make_study(shards=3)
    (model_folder(study) / "model-00002-of-00003.safetensors").unlink()
    (found,) = only(study, "shard-missing", LIMA)
    assert "7 tensors in model-00002-of-00003.safetensors" in found.what


def test_all_shards_missing_are_named_one_by_one(make_study, only):
    study = make_study(shards=2)
    for path in model_folder(study).glob("*.safetensors"):
        path.unlink()
    only(study, "shard-missing", LIMA, n=2)


def test_shard_that_the_index_does_not_name(make_study, only):
    study = make_study(shards=2)
    write_safetensors(model_folder(study) / "model-old.safetensors", {"left.over": np.ones(3, "float32")})
    only(study, "shard-unindexed", LIMA, severity="warning")


def test_index_that_contradicts_the_headers(make_study, only):
    study = make_study(shards=2)
    path = model_folder(study) / INDEX
    weight_map = json.loads(path.read_text())["weight_map"]
    other = {file: name for name, file in weight_map.items()}
    names = list(other.values())
    weight_map[names[0]], weight_map[names[1]] = weight_map[names[1]], weight_map[names[0]]
    change_json(path, weight_map=weight_map)
    (found,) = only(study, "index-disagrees", LIMA)
    assert "2 tensors are not in the shard that it names" in found.what


def test_tensor_that_the_index_forgets(make_study, only):
    study = make_study(shards=2)
    path = model_folder(study) / INDEX
    weight_map = json.loads(path.read_text())["weight_map"]
    del weight_map["model.norm.weight"]
    change_json(path, weight_map=weight_map)
    (found,) = only(study, "index-disagrees", LIMA)
    assert "1 tensors of the shards are not in it (first: model.norm.weight)" in found.what


@pytest.mark.parametrize("content", [b"{", b'{"weight_map": ["a"]}', b"{}"])
def test_broken_index(make_study, only, content):
    study = make_study(shards=2)
    (model_folder(study) / INDEX).write_bytes(content)
    only(study, "index-broken", LIMA)


def test_missing_and_broken_config(make_study, only):
    study = make_study()
    path = model_folder(study) / "config.json"
    path.unlink()
    only(study, "config-missing", LIMA, severity="warning")
    path.write_bytes(b'{"hidden_size": ')
    only(study, "config-broken", LIMA, severity="error")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("vocab_size", 17, "vocab_size 17"),
        ("hidden_size", 12, "hidden_size 12"),
        ("intermediate_size", 24, "intermediate_size"),
        ("num_hidden_layers", 3, "2 layers, config.json has num_hidden_layers 3"),
        ("num_key_value_heads", 1, "num_key_value_heads"),
    ],
)
def test_shapes_that_contradict_the_config(make_study, key, value, said):
    from release_kit.release.check import check_study

    study = make_study(base_models=("tiny-llama",))
    change_json(model_folder(study) / "config.json", **{key: value})
    found = check_study(study).problems
    assert "shape-contradicts-config" in {each.code for each in found}
    # The base model's config differs now too, which is said as well; nothing else is.
    assert {each.code for each in found} <= {"shape-contradicts-config", "label-base-model"}
    assert all(each.where == LIMA for each in found)
    assert any(said in each.what for each in found)


def test_vocabulary_that_contradicts_the_config_alone(make_study, only):
    study = make_study()
    change_json(model_folder(study) / "config.json", vocab_size=17)
    (found,) = only(study, "shape-contradicts-config", LIMA)
    assert "model.embed_tokens.weight has 16 rows, config.json has vocab_size 17" in found.what


def test_shapes_of_unknown_or_quantised_models_are_not_judged():
    shapes = {"model.layers.0.self_attn.q_proj.weight": (5, 7), "blocks.0.w": (3,)}
    assert shape_contradictions({"model_type": "other", "hidden_size": 8}, shapes, complete=True) == []
    quantised = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "quantization_config": {}}
    assert shape_contradictions(quantised, shapes, complete=True) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_with_a_value_that_is_no_number(make_study, only, value):
    study = make_study()

    def change(tensors):
        tensors["model.norm.weight"][3] = value

    change_tensors(model_folder(study) / "model.safetensors", change)
    (found,) = only(study, "tensor-nonfinite", LIMA, severity="error")
    assert "model.norm.weight holds NaN or infinity in 1 of 8 values" in found.what


def test_matrix_of_zeros(make_study, only):
    study = make_study()

    def change(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][:] = 0

    change_tensors(model_folder(study) / "model.safetensors", change)
    (found,) = only(study, "tensor-zero", LIMA, severity="warning")
    assert "model.layers.1.mlp.up_proj.weight [16, 8]" in found.what


def test_weights_of_nothing_but_zeros(make_study, only):
    study = make_study()
    change_tensors(model_folder(study) / "model.safetensors", lambda tensors: [t.fill(0) for t in tensors.values()])
    (found,) = only(study, "weights-all-zero", LIMA)
    assert "all 20 tensors" in found.what


def test_adapter_without_the_name_of_its_base(make_study, only):
    study = make_study()
    change_json(model_folder(study, "lora") / "adapter_config.json", base_model_name_or_path=None)
    only(study, "adapter-base-missing", LORA)


def test_adapter_of_another_declared_base(make_study, only):
    study = make_study(base_models=("tiny-llama", "other-7B"))
    change_json(model_folder(study, "lora") / "adapter_config.json", base_model_name_or_path="test-lab/other-7B")
    (found,) = only(study, "adapter-base-differs", LORA)
    assert "'test-lab/other-7B', the base model of other-7B; declared is 'test-lab/tiny-llama'" in found.what


def test_adapter_of_an_unknown_base(make_study, only):
    study = make_study()
    change_json(model_folder(study, "lora") / "adapter_config.json", base_model_name_or_path="someone/else")
    only(study, "adapter-base-differs", LORA)


def test_adapter_whose_rank_is_not_its_configured_one(make_study, only):
    study = make_study()
    change_json(model_folder(study, "lora") / "adapter_config.json", r=4)
    (found,) = only(study, "adapter-shape", LORA)
    assert "has rank 2, adapter_config.json has r 4" in found.what


def test_adapter_for_a_wider_model(make_study, only):
    study = make_study()

    def widen(tensors):
        for name, tensor in list(tensors.items()):
            tensors[name] = np.repeat(tensor, 2, axis=1 if "lora_A" in name else 0)

    change_tensors(model_folder(study, "lora") / "adapter_model.safetensors", widen)
    (found,) = only(study, "adapter-shape", LORA)
    assert "is made for [16, 16], the base model has [8, 8]" in found.what


def test_adapter_that_lacks_a_target(make_study, only):
    study = make_study()
    path = model_folder(study, "lora") / "adapter_config.json"
    change_json(path, target_modules=["q_proj", "v_proj", "k_proj"])
    (found,) = only(study, "adapter-shape", LORA)
    assert "targets k_proj, which has no matrices" in found.what


def test_adapter_with_half_of_its_matrices(make_study, only):
    study = make_study()

    def halve(tensors):
        del tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]

    change_tensors(model_folder(study, "lora") / "adapter_model.safetensors", halve)
    (found,) = only(study, "adapter-shape", LORA)
    assert "only one of lora_A and lora_B" in found.what


def test_adapter_that_was_never_trained(make_study, only):
    study = make_study()

    def reset(tensors):
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor[:] = 0

    change_tensors(model_folder(study, "lora") / "adapter_model.safetensors", reset)
    (found,) = only(study, "adapter-untrained", LORA)
    assert "all 4 lora_B matrices are zero" in found.what


def test_shards_of_one_model_are_whole_for_shape_checks(make_study, only):
    study = make_study(shards=3, shape=TinyShape(layers=3))
    change_json(model_folder(study) / "config.json", vocab_size=17)
    only(study, "shape-contradicts-config", LIMA)


def test_configs_with_nan_in_the_trainers_log_are_read(make_study):
    from release_kit.release.check import check_study

    study = make_study()
    path = model_folder(study) / "trainer_state.json"
    state = json.loads(path.read_text())
    write_json(path, {**state, "log_history": [{"grad_norm": float("nan")}]})
    assert check_study(study).problems == ()
