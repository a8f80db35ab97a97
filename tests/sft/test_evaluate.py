"""The real harness on a local task: its file unchanged, relative paths, nothing run twice."""

import json
from pathlib import Path

import pytest

from release_kit.core.collect import collect_results
from release_kit.core.errors import ArtifactError, StudyError
from release_kit.core.study import Study
from release_kit.sft.old_evaluate import ModelPaths, evaluate
from release_kit.sft.settings import EvaluationSettings, evaluation_settings
from release_kit.sft.worker import run_cell

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_harness_writes_its_own_file_and_does_not_run_again(tiny_study: Study, tmp_path: Path):
    settings, base = evaluation_settings(tiny_study), ModelPaths(model="base/tiny")
    (path,) = evaluate(tiny_study.folder, base, settings, tmp_path / "eval")
    written = json.loads(path.read_bytes())
    assert written["n-samples"]["colours_test"]["effective"] == 8
    assert 0 <= written["results"]["colours_test"]["acc,none"] <= 1
    assert written["results"]["colours_test"]["acc_stderr,none"] != "N/A"
    assert written["config"]["model_args"] == {"pretrained": "base/tiny", "dtype": "float32"}
    assert written["configs"]["colours_test"]["dataset_kwargs"]["data_files"] == {"test": "data/colours.jsonl"}
    stamp = path.stat().st_mtime_ns
    evaluate(tiny_study.folder, base, settings, tmp_path / "eval")
    assert path.stat().st_mtime_ns == stamp


def test_unknown_task_is_refused_with_the_nearest(tiny_study: Study, tmp_path: Path):
    with pytest.raises(StudyError, match="did you mean 'colours_test'"):
        settings = EvaluationSettings(tasks=("colour_test",))
        evaluate(tiny_study.folder, ModelPaths(model="base/tiny"), settings, tmp_path)


def test_model_that_is_not_there_is_named(tiny_study: Study, tmp_path: Path):
    with pytest.raises(ArtifactError, match="cells/none/model: cannot be evaluated"):
        settings = evaluation_settings(tiny_study)
        evaluate(tiny_study.folder, ModelPaths(model="cells/none/model"), settings, tmp_path)


def test_a_cell_is_trained_evaluated_and_recorded_last(tiny_study: Study):
    levels = {"base_model": "tiny", "dataset": "colours", "method": "lora", "seed": 1}
    cell = run_cell(tiny_study, levels)
    assert cell.levels == levels
    assert cell.provenance["base_model"]["name"] == "test-lab/tiny"
    assert cell.provenance["data"].keys() == {"colours"}
    assert {"torch", "transformers", "lm_eval"} <= cell.provenance["versions"].keys()
    rows = [row for row in collect_results(tiny_study).rows if row.cell_id == cell.cell_id]
    assert [(row.benchmark, row.metric, row.n) for row in rows] == [("colours_test", "acc", 8)]
    assert run_cell(tiny_study, levels).provenance["started_at"] == cell.provenance["started_at"]
