"""Settings of training and evaluation are read strictly; the shipped study is whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from release_kit.core.errors import RecordError
from release_kit.core.grid import iter_levels
from release_kit.core.study import Study, read_study
from release_kit.sft.demo import SHIPPED, write_demo_study
from release_kit.sft.settings import METHODS, evaluation_settings, training_settings

GOOD = {"steps": 1, "batch_size": 1, "max_length": 8, "learning_rate": {"full": 1e-5}}


@pytest.fixture
def study_with(make_study: Callable[..., Study]) -> Callable[[dict], Study]:
    study = make_study()
    return lambda training: replace(study, settings={"training": training, "evaluation": {"tasks": ["x"]}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, r"`settings.training.stepz` is not a known key; did you mean 'steps'\?"),
        ({"steps": 0}, "`settings.training.steps` is less than 1"),
        ({"steps": "6"}, "`settings.training.steps` expected int"),
        ({"compute": "fp8"}, "`settings.training.compute` is 'fp8'"),
        ({"lora": {"rnak": 2}}, "did you mean 'rank'"),
        ({"learning_rate": {"full": "fast"}}, "`settings.training.learning_rate.full` expected"),
    ],
)
def test_wrong_setting_is_named_with_its_key(study_with: Callable[[dict], Study], change: dict, message: str):
    with pytest.raises(RecordError, match=message):
        training_settings(study_with({**GOOD, **change}))


def test_settings_carry_what_is_written(study_with: Callable[[dict], Study]):
    settings = training_settings(study_with({**GOOD, "lora": {"rank": 4}}))
    assert (settings.steps, settings.lora_rank, settings.learning_rate["full"]) == (1, 4, 1e-5)


def test_shipped_study_is_whole_and_kept_when_changed(tmp_path: Path):
    study = write_demo_study(tmp_path)
    assert len(list(iter_levels(study))) == 9
    assert set(study.factor("method").levels) == set(METHODS)
    assert training_settings(study).learning_rate.keys() == {"full", "lora"}
    assert [f"tasks/{task}.yaml" for task in evaluation_settings(study).tasks] == list(SHIPPED[1:])
    text = (tmp_path / "study.yaml").read_text().replace("version: 1.0.0", "version: 2.0.0")
    (tmp_path / "study.yaml").write_text(text)
    write_demo_study(tmp_path)
    assert read_study(tmp_path).version == "2.0.0"
