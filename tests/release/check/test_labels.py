"""A label that disagrees with what the checkpoint says of itself is found, whichever file says so."""

import shutil

import pytest
import yaml
from study_factory import (
    TinyShape,
    change_json,
    change_study,
    find_cell,
    model_config,
    tuned_tensors,
    write_adapter,
    write_model,
)

from release_kit.core.cell import read_cell, write_cell
from release_kit.core.hashing import hash_file
from release_kit.core.study import read_study
from release_kit.release.check import check_study
from release_kit.release.check.labels import names_level

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"


def full_cell(study, **levels):
    return find_cell(study, **{"dataset": "lima", "method": "full", "seed": 1, **levels})


def change_provenance(folder, **changes):
    cell = read_cell(folder / "cell.json")
    provenance = {key: value for key, value in {**cell.provenance, **changes}.items() if value is not None}
    write_cell(folder.parent.parent, type(cell).from_dict({**cell.to_dict(), "provenance": provenance}))


def test_seed_in_provenance(make_study, only):
    study = make_study()
    change_provenance(full_cell(study), seed=0)
    (found,) = only(study, "label-seed", LIMA, severity="error")
    assert "its provenance has seed 0" in found.what


def test_seed_in_trainer_state(make_study, only):
    study = make_study()
    change_json(full_cell(study) / "model" / "trainer_state.json", seed=0)
    (found,) = only(study, "label-seed", LIMA)
    assert "trainer_state.json has seed 0" in found.what


def test_swapped_artifact_folders_are_found_by_their_seeds(make_study, only):
    study = make_study()
    one, two = (full_cell(study, seed=seed) / "model" for seed in (0, 1))
    for seed, folder in enumerate((one, two)):
        change_json(folder / "trainer_state.json", seed=seed)
    spare = study.folder / "spare"
    one.rename(spare), two.rename(one), spare.rename(two)
    only(study, "label-seed", "*dataset=lima method=full*", n=2)


def test_base_model_named_by_provenance(make_study, only):
    study = make_study(base_models=("tiny-llama", "other-7B"))
    folder = full_cell(study)
    recorded = read_cell(folder / "cell.json").provenance["base_model"]
    change_provenance(folder, base_model={**recorded, "name": "test-lab/other-7B"})
    (found,) = only(study, "label-base-model", LIMA)
    assert "'test-lab/other-7B'" in found.what


def test_base_model_named_by_config(make_study, only):
    study = make_study(base_models=("tiny-llama", "other-7B"))
    change_json(full_cell(study) / "model" / "config.json", _name_or_path="models/other-7B")
    only(study, "label-base-model", LIMA)


def test_undeclared_name_in_config_proves_nothing(make_study):
    from release_kit.release.check import check_study

    study = make_study()
    change_json(full_cell(study) / "model" / "config.json", _name_or_path="work/merged-17")
    assert check_study(study).problems == ()


def test_architecture_of_another_base_model(make_study, only):
    study = make_study()
    folder = full_cell(study) / "model"
    shape = TinyShape(layers=3)
    write_model(folder, tuned_tensors("tiny-llama", "another", shape), shape)
    (found,) = only(study, "label-base-model", LIMA)
    assert "num_hidden_layers 3, the base model has 2" in found.what


def test_base_model_of_other_bytes(make_study, only):
    study = make_study()
    change_provenance(full_cell(study), base_model={"name": "tiny-llama", "digest": "0" * 64})
    (found,) = only(study, "label-base-model", LIMA)
    assert "000000000000" in found.what


def test_dataset_named_by_provenance(make_study, only):
    study = make_study()
    folder = full_cell(study)
    other = read_cell(full_cell(study, dataset="alpaca") / "cell.json").provenance["data"]
    change_provenance(folder, data={"alpaca": next(iter(read_cell(folder / "cell.json").provenance["data"].values()))})
    (found,) = only(study, "label-dataset", LIMA)
    assert "'alpaca'" in found.what and other


def test_mixture_is_named_by_all_of_its_parts_and_by_nothing_else(make_study, only):
    study = make_study(datasets=("alpaca", "both", "lima", "other"))
    document = yaml.safe_load((study.folder / "study.yaml").read_text(encoding="utf-8"))
    document["factors"]["dataset"]["both"]["mix"] = ["alpaca", "lima"]
    study = change_study(study, factors=document["factors"])
    digests = {}
    for name in ("alpaca", "lima", "other"):
        digests |= read_cell(full_cell(study, dataset=name) / "cell.json").provenance["data"]
    for method in ("full", "lora"):
        for seed in (0, 1):
            folder = full_cell(study, dataset="both", method=method, seed=seed)
            change_provenance(folder, data={name: digests[name] for name in ("alpaca", "lima")})
    assert not check_study(read_study(study.folder)).problems
    for wrong in (["alpaca"], ["alpaca", "lima", "other"]):
        change_provenance(full_cell(study, dataset="both"), data={name: digests[name] for name in wrong})
        found = [each for each in check_study(read_study(study.folder)).problems if "names the data" in each.what]
        assert [each.where for each in found] == [LIMA.replace("lima", "both")]


def test_two_datasets_that_are_one_file(make_study, only):
    study = make_study()
    digest = read_cell(full_cell(study, dataset="alpaca") / "cell.json").provenance["data"]["alpaca"]
    for method in ("full", "lora"):
        for seed in (0, 1):
            change_provenance(full_cell(study, method=method, seed=seed), data={"lima": digest})
    (found,) = only(study, "label-dataset", "*dataset=lima*")
    assert "the same bytes as the cell with dataset=alpaca" in found.what


def test_one_cell_trained_on_another_version_of_the_data(make_study, only):
    study = make_study()
    change_provenance(full_cell(study), data={"lima": "0" * 64})
    (found,) = only(study, "label-dataset", LIMA)
    assert "3 other cells of lima" in found.what


def test_adapter_under_the_label_of_full_weights(make_study, only):
    study = make_study()
    folder = full_cell(study) / "model"
    state = (folder / "trainer_state.json").read_bytes()
    shutil.rmtree(folder)
    write_adapter(folder, "another", "test-lab/tiny-llama", TinyShape())
    (folder / "trainer_state.json").write_bytes(state)
    only(study, "label-method", LIMA)


def test_full_weights_under_the_label_of_an_adapter(make_study, only):
    study = make_study()
    folder = full_cell(study, method="lora") / "model"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    write_model(folder, tuned_tensors("tiny-llama", "another", TinyShape()), TinyShape())
    only(study, "label-method", LIMA.replace("full", "lora"))


def test_rank_that_the_settings_fix(make_study, only):
    study = make_study(extra={"settings": {"lora": {"r": 4}}})
    found = only(study, "label-method", "*method=lora*", n=4)
    assert "adapter_config.json has rank 2, the study's settings say 4" in found[0].what


def test_step_that_the_settings_fix(make_study, only):
    study = make_study()
    change_json(full_cell(study) / "model" / "trainer_state.json", global_step=20)
    (found,) = only(study, "label-step", LIMA)
    assert "global_step 20, the study's settings say 30" in found.what


def test_rank_that_the_level_names(make_study, only):
    study = make_study(methods=("full", "lora-r8"))
    for folder in (study.folder / "cells").iterdir():
        levels = read_cell(folder / "cell.json").levels
        if levels["method"] == "lora-r8":
            state = (folder / "model" / "trainer_state.json").read_bytes()
            shutil.rmtree(folder / "model")
            write_adapter(folder / "model", folder.name, "test-lab/tiny-llama", TinyShape())
            (folder / "model" / "trainer_state.json").write_bytes(state)
    found = only(study, "label-method", "*method=lora-r8*", n=4)
    assert "rank 2" in found[0].what


@pytest.mark.parametrize(
    ("code", "levels", "said"), [("label-step", (30, 20), "global_step 30"), ("label-epoch", (1, 3), "epoch 1.0")]
)
def test_step_and_epoch_that_a_factor_takes(make_study, only, code, levels, said):
    """The levels of the last factor are taken for steps or epochs; every checkpoint was saved at the first."""
    study = make_study(seeds=levels)
    factors = yaml.safe_load((study.folder / "study.yaml").read_text())["factors"]
    factors["seed"] = {"levels": list(levels), "role": code.removeprefix("label-")}
    study = change_study(study, seeds=None, factors=factors)
    found = only(study, code, f"*seed={levels[1]}", n=4)
    assert said in found[0].what


def test_folder_that_is_named_by_another_step(make_study, only):
    study = make_study()
    folder = full_cell(study)
    shutil.move(folder / "model", study.folder / "runs" / "lima" / "checkpoint-10")
    cell = read_cell(folder / "cell.json")
    write_cell(study.folder, type(cell).from_dict({**cell.to_dict(), "artifact_path": "runs/lima/checkpoint-10"}))
    (found,) = only(study, "label-step", LIMA)
    assert "checkpoint-10" in found.what and "global_step 30" in found.what


def test_files_that_training_did_not_record(make_study, only):
    study = make_study()
    folders = [full_cell(study, seed=seed) for seed in (0, 1)]
    for folder in folders:
        digest = hash_file(folder / "model" / "model.safetensors").sha256
        change_provenance(folder, artifact={"model.safetensors": digest})
    one, two = (folder / "model" / "model.safetensors" for folder in folders)
    spare = study.folder / "spare"
    one.rename(spare), two.rename(one), spare.rename(two)
    found = only(study, "label-swapped", "*dataset=lima method=full*", n=2)
    assert "it is that of the cell with seed=1" in found[0].what


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Test-Lab/Tiny-Llama", {"tiny-llama"}),
        ("/data/models/tiny-llama/", {"tiny-llama"}),
        ("C:\\models\\other-7B", {"other-7B"}),
        ("someone/else", set()),
        ("", set()),
        (None, set()),
    ],
)
def test_names_of_base_models_are_recognised_by_hub_id_path_and_last_part(make_study, text, named):
    factor = make_study(base_models=("tiny-llama", "other-7B"), benchmarks=()).factor("base_model")
    assert names_level(text, factor) == named


def test_config_of_the_same_architecture_is_no_contradiction(make_study):
    from release_kit.release.check import check_study

    study = make_study()
    change_json(full_cell(study) / "model" / "config.json", **model_config(TinyShape()), _name_or_path="tiny-llama")
    assert check_study(study).problems == ()
