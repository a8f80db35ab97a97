"""Planted defects of the grid: each is found at its place, and nothing else is reported."""

import shutil

from study_factory import change_json, change_study, find_cell, write_json

from release_kit.core.cell import read_cell, write_cell
from release_kit.core.study import read_study
from release_kit.release.check.run import check_study

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"


def test_missing_cell_is_named_with_its_levels(make_study, only):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1)
    shutil.rmtree(folder)
    (found,) = only(study, "cell-missing", LIMA, severity="error")
    assert folder.name in found.what


def test_level_without_any_cell_is_named_once(make_study, only):
    study = make_study()
    for method in ("full", "lora"):
        for seed in (0, 1):
            shutil.rmtree(find_cell(study, dataset="lima", method=method, seed=seed))
    (found,) = only(study, "cell-missing", "dataset=lima")
    assert "4 cells" in found.what


def test_line_of_the_grid_without_any_cell_is_named_once(make_study, only):
    study = make_study(seeds=(0, 1, 2))
    for seed in (0, 1, 2):
        shutil.rmtree(find_cell(study, dataset="lima", method="lora", seed=seed))
    (found,) = only(study, "cell-missing", "base_model=tiny-llama dataset=lima method=lora")
    assert "seed 0, 1, 2" in found.what


def test_study_without_any_cell_has_one_hole(make_study, only):
    study = make_study()
    shutil.rmtree(study.folder / "cells")
    (found,) = only(study, "cell-missing", "the whole grid")
    assert "9 cells" in found.what


def test_cell_that_the_study_leaves_out_is_undeclared(make_study, only):
    study = change_study(make_study(), exclude=[{"dataset": "lima", "method": "full", "seed": 1}])
    (found,) = only(study, "cell-undeclared", LIMA)
    assert "exclude" in found.what


def test_cell_with_an_unknown_level_is_undeclared(make_study, only):
    study = make_study()
    document = {"base_model": {"tiny-llama": {"license": "mit", "path": "bases/tiny-llama"}}}
    document |= {"dataset": ["alpaca", "none"], "method": ["full", "lora", "base"]}
    include = [{"dataset": "alpaca", "method": ["full", "lora"]}, {"dataset": "none", "method": "base", "seed": 0}]
    study = change_study(study, factors=document, include=include)
    found = only(study, "cell-undeclared", "*dataset=lima*", n=4)
    assert all("does not declare dataset=lima" in each.what for each in found)


def test_changed_settings_are_named_key_by_key(make_study, only):
    study = make_study()
    study = change_study(study, settings={"learning_rate": 2e-4, "n_steps": 30})
    found = only(study, "cell-settings", n=9)
    assert all("learning_rate: 0.0001 then, 0.0002 now" in each.what for each in found)


def test_two_cells_that_take_one_folder_are_duplicates(make_study, only):
    study = make_study()
    first, second = (find_cell(study, dataset="lima", method="full", seed=seed) for seed in (0, 1))
    shutil.copytree(first / "model", study.folder / "runs" / "one")
    for folder in (first, second):
        cell = read_cell(folder / "cell.json")
        write_cell(study.folder, type(cell).from_dict({**cell.to_dict(), "artifact_path": "runs/one"}))
    (found,) = only(study, "cell-duplicate", "*dataset=lima method=full*")
    assert "runs/one" in found.what


def test_broken_cell_file_is_named_and_hides_no_other(make_study, only):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1)
    (folder / "cell.json").write_bytes(b'{"schema_version": 1, "cell_id"')
    (found,) = only(study, "cell-broken", f"cells/{folder.name}/cell.json")
    assert found.path == f"cells/{folder.name}/cell.json"


def test_cell_whose_id_does_not_follow_from_its_config_is_broken(make_study, only):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1)
    cell = read_cell(folder / "cell.json")
    change_json(folder / "cell.json", config={**cell.config, "settings": {}})
    only(study, "cell-broken", f"cells/{folder.name}/cell.json")


def test_unfinished_declared_cell_is_an_error_and_a_stray_folder_a_warning(make_study, only):
    study = make_study()
    folder = find_cell(study, dataset="lima", method="full", seed=1)
    (folder / "cell.json").unlink()
    only(study, "cell-incomplete", LIMA, severity="error")
    write_json(folder / "cell.json.bak", {})
    only(study, "cell-incomplete", LIMA, severity="error")


def test_stray_folder_is_a_warning(make_study, only):
    study = make_study()
    write_json(study.folder / "cells" / "notes" / "todo.json", {})
    only(study, "cell-incomplete", "cells/notes", severity="warning")


def test_names_that_collide_are_reported_together(make_study, only):
    study = change_study(make_study(), names="{base_model}-{dataset}")
    (found,) = only(study, "cell-names", "study.yaml: names")
    assert "tiny-llama-alpaca" in found.what and "tiny-llama-lima" in found.what


def test_a_grid_of_which_nothing_is_left_is_no_good_grid(tmp_path):
    (tmp_path / "study.yaml").write_text(
        'schema_version: 1\nname: un\nversion: "1"\nlicense: mit\nfactors: {dataset: [a]}\nexclude: [{dataset: a}]\n'
    )
    report = check_study(read_study(tmp_path))
    assert [found.code for found in report.problems] == ["grid-empty"] and not report.is_good()
