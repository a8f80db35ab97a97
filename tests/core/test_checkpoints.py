"""Import of checkpoints: nothing moved, nothing guessed, everything odd named, a second run changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from study_factory import TinyShape, base_tensors, write_adapter, write_json, write_model, write_safetensors

from release_kit.core.cell import artifact_folder, read_cells
from release_kit.core.checkpoint_facts import holds_weights, read_facts
from release_kit.core.checkpoints import find_checkpoints, import_checkpoints
from release_kit.core.errors import RecordError
from release_kit.core.study import Study, read_study

RULE = {"path": "runs/{base_model}/{dataset}-seed{seed}/checkpoint-*"}


def make_study(folder: Path, *rules: dict, **changes) -> Study:
    document = {
        "schema_version": 1, "name": "s", "version": "1", "seeds": [0, 1],
        "factors": {"base_model": ["smol-lm", "smol"], "dataset": ["lima", "lima-long"]},
        "checkpoints": list(rules or [RULE]), **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return read_study(folder)


def write_checkpoint(folder: Path, step: int = 10, **state) -> None:
    write_safetensors(folder / "model.safetensors", {"w": np.full(4, step, "float32")})
    write_json(folder / "config.json", {"_name_or_path": "org/smol", "transformers_version": "5.0.0"})
    write_json(folder / "trainer_state.json", {"global_step": step, "epoch": 1.0, "log_history": [], **state})


def write_grid(folder: Path, steps=(10,)) -> list[str]:
    paths = [
        f"runs/{base}/{dataset}-seed{seed}/checkpoint-{step}"
        for base in ("smol-lm", "smol") for dataset in ("lima", "lima-long") for seed in (0, 1) for step in steps
    ]  # fmt: skip
    for path in paths:
        write_checkpoint(folder / path, int(path.rpartition("-")[2]))
    return paths


def snapshot(folder: Path) -> dict:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def told(problems) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in problems]


def test_every_cell_gets_its_folder_and_nothing_is_moved(tmp_path):
    study = make_study(tmp_path)
    paths = write_grid(tmp_path)
    before = snapshot(tmp_path / "runs")
    report = import_checkpoints(study)
    assert report.ok
    assert report.problems == report.unexplained == report.without_checkpoint == ()
    cells, problems = read_cells(tmp_path)
    assert problems == []
    assert len(report.written) == len(cells) == 8
    assert sorted(cell.artifact_path for cell in cells.values()) == sorted(paths)
    for cell in cells.values():
        levels = cell.levels
        expected = f"runs/{levels['base_model']}/{levels['dataset']}-seed{levels['seed']}/checkpoint-10"
        assert cell.artifact_path == expected
        assert artifact_folder(tmp_path, cell) == tmp_path / expected
    assert snapshot(tmp_path / "runs") == before


def test_a_second_import_touches_nothing(tmp_path):
    study = make_study(tmp_path)
    write_grid(tmp_path)
    first = import_checkpoints(study)
    before = snapshot(tmp_path)
    again = import_checkpoints(study)
    assert (again.written, again.unchanged) == ((), first.written)
    assert snapshot(tmp_path) == before


def test_dry_run_writes_nothing(tmp_path):
    study = make_study(tmp_path)
    write_grid(tmp_path)
    planned = import_checkpoints(study, dry_run=True)
    assert len(planned.written) == 8
    assert not (tmp_path / "cells").exists()
    assert import_checkpoints(study).written == planned.written


def test_several_checkpoints_of_one_cell_are_refused_until_the_rule_picks(tmp_path):
    write_grid(tmp_path, steps=(9, 10))
    report = import_checkpoints(make_study(tmp_path))
    assert not report.ok
    assert len(report.problems) == 8
    first = next(problem for problem in report.problems if problem.where.startswith("runs/smol/lima-seed0/"))
    assert "2 folders for the one cell base_model=smol dataset=lima seed=0" in first.what
    assert first.what.endswith("checkpoint-9, runs/smol/lima-seed0/checkpoint-10")
    assert "`pick: last`" in first.next_step
    assert not (tmp_path / "cells").exists()
    for pick, step in (("last", 10), ("first", 9)):
        findings = find_checkpoints(make_study(tmp_path, RULE | {"pick": pick}))
        assert {found.path.rpartition("-")[2] for found in findings.found} == {str(step)}
        assert all(len(found.passed_over) == 1 for found in findings.found)
        assert findings.unexplained == findings.problems == ()


def test_a_factor_can_take_the_step(tmp_path):
    write_grid(tmp_path, steps=(9, 10))
    rule = {"path": "runs/{base_model}/{dataset}-seed{seed}/checkpoint-{step}"}
    factors = {"base_model": ["smol-lm", "smol"], "dataset": ["lima", "lima-long"], "step": [9, 10]}
    report = import_checkpoints(make_study(tmp_path, rule, factors=factors))
    assert report.ok
    cells, _ = read_cells(tmp_path)
    assert len(cells) == 16
    assert all(cell.provenance["global_step"] == cell.levels["step"] for cell in cells.values())


def test_folders_that_no_rule_explains_are_named_with_the_reason(tmp_path):
    study = make_study(tmp_path)
    write_grid(tmp_path)
    write_checkpoint(tmp_path / "runs/smol/limo-seed0/checkpoint-10")
    write_checkpoint(tmp_path / "runs/smol/lima-seed7/checkpoint-10")
    write_checkpoint(tmp_path / "runs/old")
    (tmp_path / "runs/smol/logs").mkdir()
    report = import_checkpoints(study)
    assert report.ok
    assert told(report.unexplained) == [
        "runs/old: looks like a checkpoint, but does not follow 'runs/{base_model}/{dataset}-seed{seed}/checkpoint-*'",
        "runs/smol/lima-seed7/checkpoint-10: looks like a checkpoint, but seed has no level '7'; known here: 0, 1",
        "runs/smol/limo-seed0/checkpoint-10: looks like a checkpoint, but dataset has no level 'limo'; "
        "did you mean 'lima'?",
    ]


def test_cells_without_a_checkpoint_are_named(tmp_path):
    write_checkpoint(tmp_path / "runs/smol/lima-seed0/checkpoint-10")
    report = import_checkpoints(make_study(tmp_path))
    assert report.ok
    assert len(report.without_checkpoint) == 7
    assert {"base_model": "smol", "dataset": "lima", "seed": 0} not in report.without_checkpoint
    report = import_checkpoints(make_study(tmp_path, results_only=[{"base_model": "smol-lm"}]))
    assert len(report.without_checkpoint) == 3


def test_folders_without_weights_and_outside_the_grid_are_refused(tmp_path):
    write_grid(tmp_path)
    half = tmp_path / "runs/smol/lima-seed0/checkpoint-10"
    (half / "model.safetensors").unlink()
    (half / "optimizer.pt").write_bytes(b"x")
    assert not holds_weights(half)
    report = import_checkpoints(make_study(tmp_path, exclude=[{"base_model": "smol-lm", "seed": 1}]))
    assert told(report.problems) == [
        "runs/smol-lm/lima-long-seed1/checkpoint-10: is base_model=smol-lm dataset=lima-long seed=1, "
        "which is not in the grid",
        "runs/smol-lm/lima-seed1/checkpoint-10: is base_model=smol-lm dataset=lima seed=1, which is not in the grid",
        "runs/smol/lima-seed0/checkpoint-10: holds no weights",
    ]
    assert len(report.written) == 5


def test_two_rules_for_one_cell_and_a_rule_that_finds_nothing_are_named(tmp_path):
    write_checkpoint(tmp_path / "runs/smol/lima-seed0/checkpoint-10")
    write_checkpoint(tmp_path / "extra/smol-lima-0")
    nothing = {"path": "nowhere/{base_model}-{dataset}-{seed}"}
    report = import_checkpoints(make_study(tmp_path, RULE, {"path": "extra/{base_model}-{dataset}-{seed}"}, nothing))
    messages = told(report.problems)
    assert len(messages) == 2
    assert any("2 folders for the one cell base_model=smol dataset=lima seed=0" in message for message in messages)
    assert any("checkpoints[2].path: no folder follows 'nowhere/" in message for message in messages)
    assert report.written == ()


def test_a_cell_that_was_trained_here_is_not_taken_over(tmp_path):
    study = make_study(tmp_path)
    write_grid(tmp_path)
    import_checkpoints(study)
    path = next(tmp_path.glob("cells/*/cell.json"))
    cell = json.loads(path.read_text())
    where = cell.pop("artifact_path")
    path.write_text(json.dumps(cell))
    write_checkpoint(path.parent / "model")
    before = path.read_bytes()
    report = import_checkpoints(study)
    (problem,) = report.problems
    assert problem.where == where
    assert f"has its artifact in cells/{path.parent.name}/model already" in problem.what
    assert path.read_bytes() == before


def test_what_people_added_to_a_cell_survives_and_what_changed_is_updated(tmp_path):
    study = make_study(tmp_path, RULE | {"provenance": {"code_commit": "abc", "hardware": {"gpu": "h100"}}})
    folder = tmp_path / "runs/smol/lima-seed0/checkpoint-10"
    write_checkpoint(folder)
    import_checkpoints(study)
    path = next(tmp_path.glob("cells/*/cell.json"))
    cell = json.loads(path.read_text())
    assert cell["provenance"]["code_commit"] == "abc"
    cell["provenance"]["base_model"]["digest"] = "f" * 64
    cell["provenance"]["note"] = "by hand"
    path.write_text(json.dumps(cell))
    assert import_checkpoints(study).written == ()
    write_checkpoint(folder, global_step=11)
    assert len(import_checkpoints(study).written) == 1
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["global_step"] == 11
    assert provenance["note"] == "by hand"
    assert provenance["base_model"] == {"name": "org/smol", "digest": "f" * 64}


def test_facts_are_read_from_what_the_trainer_left(tmp_path):
    write_adapter(tmp_path / "adapter", "c", "org/base", TinyShape())
    write_json(
        tmp_path / "adapter" / "trainer_state.json",
        {"global_step": 30, "epoch": 2.0, "max_steps": 30, "best_metric": None,
         "log_history": [{"loss": 2.0}, {"loss": 1.5}, {"eval_loss": 1.0}]},
    )  # fmt: skip
    assert read_facts(tmp_path / "adapter", "a") == {
        "base_model": {"name": "org/base"},
        "adapter": {
            "peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"],
        },
        "global_step": 30,
        "epoch": 2.0,
        "max_steps": 30,
        "train_loss": 1.5,
    }  # fmt: skip
    write_model(tmp_path / "model", base_tensors("a", TinyShape()), TinyShape())
    assert read_facts(tmp_path / "model", "m") == {}


def test_paths_of_somebodys_machine_do_not_become_names(tmp_path):
    for path in ("/home/someone/models/smol", "~/smol", "./smol", "..\\smol", "C:\\models\\smol", ""):
        write_json(tmp_path / "config.json", {"_name_or_path": path})
        assert read_facts(tmp_path, "x") == {}


def test_nan_in_a_trainers_log_is_read_and_a_half_written_file_is_named(tmp_path):
    (tmp_path / "trainer_state.json").write_text('{"global_step": 3, "log_history": [{"loss": 1.5}, {"loss": NaN}]}')
    assert read_facts(tmp_path, "x") == {"global_step": 3, "train_loss": 1.5}
    (tmp_path / "trainer_state.json").write_text('{"global_step": 3,')
    with pytest.raises(RecordError, match=r"x/trainer_state\.json: is not valid JSON"):
        read_facts(tmp_path, "x")
    (tmp_path / "trainer_state.json").write_text("[]")
    with pytest.raises(RecordError, match="is not a JSON object"):
        read_facts(tmp_path, "x")


def test_a_broken_trainer_state_stops_only_its_own_cell(tmp_path):
    write_grid(tmp_path)
    (tmp_path / "runs/smol/lima-seed0/checkpoint-10/trainer_state.json").write_text("{")
    report = import_checkpoints(make_study(tmp_path))
    assert len(report.written) == 7
    (problem,) = report.problems
    assert problem.where == "runs/smol/lima-seed0/checkpoint-10/trainer_state.json"


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (RULE | {"pick": "lats"}, "`checkpoints[0].pick` is 'lats'; did you mean 'last'?"),
        (RULE | {"paths": "x"}, "`checkpoints[0].paths` is not a known key; did you mean 'path'?"),
        ({"path": "runs/{base_model}/{dataset}"}, "says nothing of seed"),
        (RULE | {"provenance": []}, "`checkpoints[0].provenance` expected mapping, got list"),
    ],
)
def test_each_mistake_in_a_rule_is_named(tmp_path, rule, part):
    (problem,) = import_checkpoints(make_study(tmp_path, rule)).problems
    assert part in str(problem)


def test_weights_elsewhere_can_be_linked_in_when_the_rule_says_so(tmp_path):
    scratch = tmp_path / "scratch"
    write_checkpoint(scratch / "a")
    study_folder = tmp_path / "study"
    link = study_folder / "runs/smol/lima-seed0"
    link.mkdir(parents=True)
    (link / "checkpoint-10").symlink_to(scratch / "a", target_is_directory=True)
    report = import_checkpoints(make_study(study_folder))
    assert "leaves the study folder" in report.problems[0].what
    report = import_checkpoints(make_study(study_folder, RULE | {"follow_links": True}))
    assert (report.ok, len(report.written)) == (True, 1)
    (cell,) = read_cells(study_folder)[0].values()
    assert cell.artifact_path == "runs/smol/lima-seed0/checkpoint-10"
