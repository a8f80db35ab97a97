"""Settings are read strictly, and a rule changes just the runs that it is for."""

from pathlib import Path
from textwrap import dedent

import pytest

from release_kit.core.errors import RecordError, ReleaseKitError, StudyError
from release_kit.core.study import Study, parse_study
from release_kit.sft.spec.settings import LoraSettings, evaluation_settings, training_settings

HEAD = """
schema_version: 1
name: tiny
version: "1"
factors:
  base_model: [a]
  dataset: [x, y]
  method: [full, lora]
settings:
"""


def study_with(settings: str, head: str = HEAD) -> Study:
    return parse_study(head + "".join(f"  {line}\n" for line in dedent(settings).strip().splitlines()), folder=Path())


def levels(method: str = "full", dataset: str = "x") -> dict[str, str]:
    return {"base_model": "a", "dataset": dataset, "method": method}


TRAINING = "training: {batch_size: 4, max_length: 64, learning_rate: 0.001, epochs: 2"


def test_rule_changes_only_the_runs_that_it_names():
    study = study_with(
        f"{TRAINING}, by: [{{when: {{method: lora}}, set: {{learning_rate: 0.01, lora: {{rank: 2}}}}}}]}}"
    )
    full, lora = training_settings(study, levels("full")), training_settings(study, levels("lora"))
    assert (full.learning_rate, full.lora) == (0.001, LoraSettings())
    assert (lora.learning_rate, lora.lora.rank, lora.lora.alpha) == (0.01, 2, 16)


def test_later_rule_keeps_what_an_earlier_one_set_beside_it():
    rules = "[{when: {method: lora}, set: {lora: {rank: 2}}}, {when: {dataset: [x]}, set: {lora: {alpha: 4}}}]"
    lora = training_settings(study_with(f"{TRAINING}, lora: {{dropout: 0.1}}, by: {rules}}}"), levels("lora")).lora
    assert lora == LoraSettings(rank=2, alpha=4, dropout=0.1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (f"{TRAINING}, batchsize: 8}}", "`settings.training.batchsize` is not a known key; did you mean 'batch_size'"),
        (f"{TRAINING}, threads: 0}}", "`settings.training.threads` is 0, less than 1"),
        (f"{TRAINING}, weight_decay: -1}}", "`settings.training.weight_decay` is -1, less than 0"),
        (f"{TRAINING}, schedule: cosin}}", "did you mean 'cosine'"),
        (f"{TRAINING}, packing: 1}}", "`settings.training.packing` expected"),
        (f"{TRAINING}, by: [{{when: {{methd: lora}}, set: {{}}}}]}}", "`settings.training.by[0].when.methd`"),
        (f"{TRAINING}, by: [{{when: {{method: lor}}, set: {{}}}}]}}", "has no level 'lor'; did you mean 'lora'"),
        (f"{TRAINING}, by: [{{when: {{method: lora}}, set: {{rat: 1}}}}]}}", "`settings.training.by[0].set.rat`"),
        (f"{TRAINING}, steps: 3}}", "stands beside epochs"),
        ("training: {batch_size: 4}", "lacks max_length, learning_rate"),
    ],
)
def test_wrong_settings_are_refused_with_the_place(settings: str, says: str):
    with pytest.raises(ReleaseKitError) as caught:
        training_settings(study_with(settings), levels())
    assert says in str(caught.value)


def test_rule_that_matches_nothing_is_read_strictly_all_the_same():
    study = study_with(f"{TRAINING}, by: [{{when: {{method: lora}}, set: {{threads: 0}}}}]}}")
    with pytest.raises(RecordError, match="less than 1"):
        training_settings(study, levels("full"))


def test_schedule_of_the_grid_wins():
    head = HEAD.replace("settings:", "  lr: {role: schedule, levels: [cosine, none]}\nsettings:")
    study = study_with(f"{TRAINING}, schedule: constant}}", head)
    assert training_settings(study, {**levels(), "lr": "cosine"}).schedule == "cosine"
    with pytest.raises(StudyError, match="only untouched cells"):
        training_settings(study, {**levels(), "lr": "none"})


def test_evaluation_settings_are_read():
    settings = evaluation_settings(
        study_with("evaluation: {tasks: [a, b], harness: lm-eval, num_fewshot: 0, limit: 5}")
    )
    assert (settings.tasks, settings.harness, settings.num_fewshot, settings.limit) == (("a", "b"), "lm-eval", 0, 5)
    with pytest.raises(RecordError, match="names a task twice"):
        evaluation_settings(study_with("evaluation: {tasks: [a, a]}"))


@pytest.mark.parametrize(
    ("setting", "says"),
    [("warmup_ratio: 2", "at most 1"), ("beta1: 1.5", "less than 1"), ("lora: {dropout: 1}", "less than 1")],
)
def test_shares_that_mean_nothing_are_refused(setting: str, says: str):
    with pytest.raises(RecordError, match=says):
        training_settings(study_with(f"{TRAINING}, {setting}}}"), levels("lora"))


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_number_that_is_none_is_refused_with_its_line(number: str):
    with pytest.raises(RecordError, match=rf"{number} is not a finite number.*line 10"):
        study_with(f"{TRAINING}, learning_rate: {number}}}".replace("learning_rate: 0.001, ", ""))
