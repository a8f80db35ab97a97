"""``prepare`` makes what a study names, once, and refuses whatever is not what it claims to be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from release_kit.cli import cli
from release_kit.cli.output import run
from release_kit.core.errors import IntegrityError, StudyError, UsageError
from release_kit.core.files import iter_files
from release_kit.core.grid import iter_levels
from release_kit.core.study import Study, read_study
from release_kit.sft.prepare.inputs import place_study, plan_inputs, prepare_inputs, shipped_tasks
from release_kit.sft.prepare.pretrain import state_folder
from release_kit.sft.prepare.records import read_base_record
from release_kit.sft.spec.runs import plan_runs, untouched_cells

STUDIES = Path(__file__).resolve().parents[3] / "studies"
RECIPE = {
    "text": ["bbh-cot"],
    "tokenizer": {"vocab_size": 280},
    "model": {"hidden_size": 8, "n_layers": 1, "n_heads": 2, "max_length": 64},
    "steps": 3,
    "batch": 2,
    "seq_len": 16,
}
STUDY: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "version": "1.0.0",
    "factors": {
        "base_model": {"tiny": {"license": "mit", "source": {"pretrain": RECIPE}}},
        "dataset": {"mmlu-dev": {}, "chains": {"source": "bbh-cot"}, "both": {"mix": ["mmlu-dev", "chains"]}},
        "method": ["full"],
    },
    "settings": {
        "training": {"steps": 1, "batch_size": 2, "max_length": 64, "learning_rate": 1e-3},
        "evaluation": {"tasks": ["mmlu_holdout"]},
    },
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Study]:
    def write(change: Callable[[dict], None] = lambda document: None) -> Study:
        document = json.loads(json.dumps(STUDY))
        change(document)
        (tmp_path / "study").mkdir(exist_ok=True)
        (tmp_path / "study" / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return read_study(tmp_path / "study")

    return write


def _snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path: (stat.st_mtime_ns, (folder / path).read_bytes()) for path, stat in iter_files(folder)}


def test_everything_that_the_study_names_is_made_and_a_second_run_makes_nothing(make: Callable[..., Study]):
    study, events = make(), []
    records = prepare_inputs(study, events.append)
    assert [record.name for record in records] == ["mmlu-dev", "chains", "mmlu-holdout", "tiny"]
    assert [event["name"] for event in events if event["event"] == "ready"] == [record.name for record in records]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3]
    before = _snapshot(study.folder)
    assert {"tasks/mmlu_holdout.yaml", "data/chains.json", "bases/tiny/base.json"} <= set(before)
    assert not state_folder(study.folder / "bases" / "tiny").exists()
    again = []
    assert prepare_inputs(study, again.append) == records
    assert _snapshot(study.folder) == before and not [event for event in again if event["event"] == "step"]


def test_record_of_a_base_says_what_it_was_made_from(make: Callable[..., Study]):
    study = make()
    prepare_inputs(study)
    record = read_base_record(study.folder / "bases" / "tiny")
    assert type(record).from_dict(record.to_dict()) == record
    made = record.source["pretrain"]
    assert made["recipe"]["steps"] == 3 and made["texts"][0]["license"] == "mit" and record.license == "mit"
    assert record.versions["torch"] and "pre-trained here, held-out loss" in record.summary()


def test_plan_names_inputs_without_making_them(make: Callable[..., Study]):
    study = make()
    inputs = plan_inputs(study)
    assert inputs.tasks == ("mmlu_holdout",) and inputs.bases == ("tiny",)
    assert [(item.name, item.source) for item in inputs.data] == [
        ("mmlu-dev", "mmlu-dev"), ("chains", "bbh-cot"), ("mmlu-holdout", "mmlu-holdout"),
    ]  # fmt: skip
    assert [path for path, _ in iter_files(study.folder)] == ["study.yaml"]


def test_all_data_without_file_and_source_are_named_at_once(make: Callable[..., Study]):
    def change(document: dict) -> None:
        document["factors"]["dataset"] = {"mine": {}, "bbh": {}}

    with pytest.raises(StudyError, match=r"no file and no source of data/mine\.jsonl, data/bbh\.jsonl"):
        prepare_inputs(make(change))


def test_data_of_ones_own_need_no_source(make: Callable[..., Study]):
    study = make(lambda document: document["factors"].update(dataset={"mine": {}}))
    (study.folder / "data").mkdir()
    (study.folder / "data" / "mine.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    assert "mine" not in [record.name for record in prepare_inputs(study)]


def test_what_somebody_else_put_there_is_never_overwritten(make: Callable[..., Study]):
    study = make()
    for name in ("data/chains.jsonl", "bases/tiny/model.safetensors"):
        (study.folder / name).parent.mkdir(parents=True)
        (study.folder / name).write_text('{"prompt": "my own", "completion": "work"}\n', encoding="utf-8")
    before = _snapshot(study.folder)
    with pytest.raises(IntegrityError, match=r"chains\.jsonl: holds other examples than"):
        prepare_inputs(study)
    (study.folder / "data" / "chains.jsonl").unlink()
    with pytest.raises(IntegrityError, match=r"tiny: holds files, but no base\.json says who made them"):
        prepare_inputs(study)
    name = "bases/tiny/model.safetensors"
    assert _snapshot(study.folder)[name] == before[name]


def test_changed_data_are_refused(make: Callable[..., Study]):
    study = make()
    prepare_inputs(study)
    with open(study.folder / "data" / "chains.jsonl", "a", encoding="utf-8") as stream:
        stream.write("{}\n")
    with pytest.raises(IntegrityError, match=r"chains\.jsonl: its sha256 is .* but its record says"):
        prepare_inputs(study)


def test_data_that_the_study_pins_otherwise_are_refused(make: Callable[..., Study]):
    def change(document: dict) -> None:
        document["factors"]["dataset"]["chains"]["sha256"] = "0" * 64

    with pytest.raises(IntegrityError, match="the study pins 0000"):
        prepare_inputs(make(change))


def test_changed_weights_are_refused(make: Callable[..., Study]):
    study = make()
    prepare_inputs(study)
    path = study.folder / "bases" / "tiny" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"tiny: its weights are .* but its record says"):
        prepare_inputs(study)


def test_base_made_by_another_recipe_is_not_taken_for_this_one(make: Callable[..., Study]):
    prepare_inputs(make())

    def change(document: dict) -> None:
        document["factors"]["base_model"]["tiny"]["source"]["pretrain"]["steps"] = 4

    with pytest.raises(StudyError, match=r"made from another source than .*factors.base_model.tiny says"):
        prepare_inputs(make(change))


def test_pinned_weights_are_held_against_what_was_made(make: Callable[..., Study]):
    def change(document: dict) -> None:
        document["factors"]["base_model"]["tiny"]["weights_sha256"] = "1" * 64

    with pytest.raises(IntegrityError, match="pins 1111"):
        prepare_inputs(make(change))


@pytest.mark.parametrize(
    "properties, message",
    [
        ({}, "there is no base model and no `source`"),
        ({"source": "smollm3"}, "no base model 'smollm3'; did you mean 'smollm2'"),
        ({"source": {"pretrain": RECIPE}}, "says no `license`"),
    ],
)
def test_base_that_cannot_be_made_is_named(make: Callable[..., Study], properties: dict, message: str):
    def change(document: dict) -> None:
        document["factors"]["base_model"]["tiny"] = properties

    with pytest.raises(StudyError) as caught:
        prepare_inputs(make(change))
    assert message in str(caught.value) and "factors.base_model.tiny" in str(caught.value)


def test_unknown_task_names_the_nearest(make: Callable[..., Study]):
    def change(document: dict) -> None:
        document["settings"]["evaluation"]["tasks"] = ["maths_asdif"]

    with pytest.raises(StudyError, match="no task 'maths_asdif'; did you mean 'maths_asdiv'"):
        prepare_inputs(make(change))


def test_study_file_is_copied_once_with_its_own_tasks(make: Callable[..., Study], tmp_path: Path):
    study = make()
    (study.folder / "tasks").mkdir()
    (study.folder / "tasks" / "own.yaml").write_text("task: own\n", encoding="utf-8")
    file, target = study.folder / "study.yaml", tmp_path / "here"
    placed = place_study(file, target)
    assert placed.folder == target and (target / "tasks" / "own.yaml").is_file()
    (target / "study.yaml").write_text(file.read_text(encoding="utf-8") + "title: mine\n", encoding="utf-8")
    assert place_study(file, target).title == "mine", "a changed copy is kept"
    make(lambda document: document.update(version="2.0.0"))
    with pytest.raises(StudyError, match=r"holds the study small 1\.0\.0, not small 2\.0\.0"):
        place_study(file, target)
    with pytest.raises(UsageError, match="give --dir"):
        place_study(STUDIES / "mini.yaml", None)


def test_command_says_what_is_ready(make: Callable[..., Study], capsys: pytest.CaptureFixture[str]):
    study = make()
    assert run(cli, ["sft", "prepare", str(study.folder)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("small 1.0.0 is ready in ") and out.endswith(": 3 data files and 1 base model\n")
    assert "tiny: 0.00329 M parameters (mit) pre-trained here" in err
    assert run(cli, ["sft", "prepare", str(study.folder), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] and [record["name"] for record in value["bases"]] == ["tiny"] and len(value["data"]) == 3
    assert run(cli, ["sft", "prepare", str(STUDIES / "mini.yaml")]) == 2


@pytest.mark.parametrize("name, n_runs, n_cells, n_untouched", [("mini", 96, 96, 4), ("mini-1000", 240, 1200, 4)])
def test_shipped_study_has_a_source_for_all_it_needs(name: str, n_runs: int, n_cells: int, n_untouched: int):
    study = read_study(STUDIES / f"{name}.yaml")
    runs, untouched = plan_runs(study), untouched_cells(study)
    assert (len(runs), sum(len(run.cells) for run in runs), len(untouched)) == (n_runs, n_cells, n_untouched)
    assert len(list(iter_levels(study))) == n_cells + n_untouched
    inputs = plan_inputs(study)
    assert all(item.source for item in inputs.data) and set(inputs.tasks) <= set(shipped_tasks())
    assert set(study.benchmarks) == set(inputs.tasks)
