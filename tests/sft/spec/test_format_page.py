"""The page on fine-tuning studies says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

from release_kit.core.study import parse_study
from release_kit.sft.spec.runs import plan_runs, untouched_cells
from release_kit.sft.spec.settings import EvaluationSettings, LoraSettings, TrainingSettings, evaluation_settings

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "formats" / "sft.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def documented(title: str) -> set[str]:
    cells = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_example_is_a_valid_study():
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    study = parse_study(text, folder=Path("."))
    runs = plan_runs(study)
    assert (len(runs), sum(len(run.cells) for run in runs), len(untouched_cells(study))) == (18, 54, 1)
    assert {run.settings.learning_rate for run in runs if run.method == "lora"} == {2e-3}
    assert {run.settings.batch_size for run in runs if run.dataset == "both"} == {16}
    assert evaluation_settings(study).tasks == ("asdiv_test", "boolq_test")


def test_every_setting_is_documented_and_nothing_else():
    assert documented("`settings.training`") == {field.name for field in fields(TrainingSettings)} | {"by"}
    assert documented("`settings.evaluation`") == {field.name for field in fields(EvaluationSettings)}
    lora = re.search(r"^\| `lora` .*$", PAGE, re.MULTILINE)[0]
    assert {field.name for field in fields(LoraSettings)} <= set(re.findall(r"`([\w-]+)`", lora))


def test_documented_defaults_are_those_of_the_code():
    defaults = {field.name: field.default for field in fields(TrainingSettings)}
    for name in (
        "schedule",
        "template",
        "loss_on",
        "truncation",
        "compute",
        "micro_batch",
        "threads",
        "checkpoint_every",
    ):
        shown = re.search(rf"^\| `{name}` \| (\S+) \|", PAGE, re.MULTILINE)[1].strip("`")
        assert shown == str(defaults[name]), name
