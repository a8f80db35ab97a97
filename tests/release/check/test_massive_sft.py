"""The released table of 1,027 fine-tuned models: ``check`` names its real defects, known and unknown ones."""

import shutil
from pathlib import Path

import pytest

from release_kit.core.study import read_study
from release_kit.release.check import check_study

ROOT = Path(__file__).parents[3]
TABLE = ROOT.parent / "shared" / "data" / "massive-sft" / "evaluation_result.csv"
MODELS = {"OLMo-7B-hf", "Qwen2.5-7B", "LLM-jp-3-7B"}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    if not TABLE.is_file():
        pytest.skip(f"the table is not here: {TABLE.name}")
    folder = tmp_path_factory.mktemp("massive")
    shutil.copy(ROOT / "studies" / "massive-sft.yaml", folder / "study.yaml")
    shutil.copy(TABLE, folder)
    return check_study(read_study(folder))


def found(report, code):
    return [each for each in report.problems if each.code == code]


def test_holes_of_the_grid_are_counted_and_named(report):
    assert (report.n_declared, report.n_missing, report.n_results) == (1082, 55, 29816)
    places = {each.where: each.what for each in found(report, "cell-missing")}
    assert len(places) == 4
    assert "41 cells" in places["base_model=Swallow-Mistral-7B"]
    assert "3 cells" in places["dataset=lima method=full data_size=1000 lr_schedule=constant epoch=10"]
    assert "10 cells" in places["base_model=Gemma2-9B dataset=all method=full data_size=10000 lr_schedule=cosine"]
    assert any("dataset=magicoder method=full" in where for where in places)


def test_base_models_with_one_row_of_results_are_found(report):
    (pair,) = found(report, "results-identical")
    assert pair.severity == "error" and "all 29 metrics" in pair.what
    assert "base_model=Chinese-Mistral-7B-v0.1 dataset=pretrain" in pair.where
    assert "the cell with base_model=Mistral-7B-v0.1" in pair.what


def test_twelve_scores_that_two_base_models_share_are_found(report):
    pairs = [each for each in found(report, "results-partly-identical") if "dataset=pretrain" in each.where]
    (pair,) = pairs
    assert "base_model=LLM-jp-3-7B" in pair.where
    assert "12 of 29 metrics have the same value as in the cell with base_model=OLMo-7B-hf" in pair.what


def test_rows_that_share_scores_across_learning_rate_schedules_are_found(report):
    """On each of three bases, constant-rate rows repeat scores of the cosine row of epoch 10, dataset by dataset."""
    pairs = [each for each in found(report, "results-partly-identical") if "dataset=pretrain" not in each.where]
    assert len(pairs) == 28
    assert {name for name in MODELS for each in pairs if name in each.where} == MODELS
    assert all("lr_schedule=co" in each.what for each in pairs)
    assert all("data_size=1000" in each.where and "method=full" in each.where for each in pairs)


def test_values_that_are_missing_are_counted_and_named(report):
    places = {each.where: each.what for each in found(report, "result-empty")}
    assert len(places) == 2
    assert "10 empty values" in places["base_model=Mistral-7B-v0.1 method=lora lr_schedule=cosine (20 cells)"]
    assert any("(4 cells)" in where and "alpaca_eval_v2 total" in what for where, what in places.items())
    (incomplete,) = found(report, "results-incomplete")
    assert incomplete.where == "994 cells" and "LongBench-v2" in incomplete.what


def test_labels_scales_and_failed_extraction_are_named(report):
    spellings = " ".join(each.what for each in found(report, "results-spelling"))
    assert "method=none" in spellings and "'' (2 rows) and 'None' (9 rows)" in spellings
    (scale,) = found(report, "result-scale")
    assert scale.where == "Truthful_QA 0-shot score"
    assert any(each.where == "BoolQ 5-shot score" for each in found(report, "result-collapse"))
    assert found(report, "licence-missing")


def test_nothing_else_is_said(report):
    assert {each.code for each in report.problems} == {
        "cell-missing", "licence-missing", "result-collapse", "result-empty", "result-scale", "results-identical",
        "results-incomplete", "results-partly-identical", "results-spelling",
    }  # fmt: skip
