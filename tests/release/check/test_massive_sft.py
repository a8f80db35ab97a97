"""The released table of 1,027 fine-tuned models: ``check`` names its real defects, known and unknown ones.

A table of the same shape with plausible scores and none of the defects gives not one finding.
"""

import random
import shutil
from pathlib import Path

import pytest
import yaml

from release_kit.core.grid import iter_levels
from release_kit.core.study import Study, read_study
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
    assert any("'mbpp_4shot'" in each.what for each in found(report, "results-spelling"))
    assert found(report, "licence-missing")


def test_base_models_far_below_chance_are_named_with_their_scores(report):
    places = {each.where: each for each in found(report, "result-below-chance") if each.severity == "error"}
    by_base = {where.split()[0].removeprefix("base_model="): each.what for where, each in places.items()}
    boolq = {name for name, what in by_base.items() if "BoolQ 5-shot" in what}
    assert len(boolq) == 10 and "Yi-1.5-9B" not in by_base
    assert "mmlu 5-shot score 0.0363 (chance 25)" in by_base["OLMo-7B-hf"]
    assert "mmlu 5-shot score 0.275 (chance 25)" in by_base["LLM-jp-3-7B"]
    assert all("dataset=pretrain" in where and each.row for where, each in places.items())


def test_nothing_else_is_said(report):
    assert {each.code for each in report.problems} == {
        "cell-missing", "licence-missing", "result-below-chance", "result-collapse", "result-empty", "result-scale",
        "results-identical", "results-incomplete", "results-partly-identical", "results-spelling",
    }  # fmt: skip


CHANCE = {"BoolQ": 50, "hellaswag": 25, "mmlu": 25, "jmmlu": 25, "cmmlu": 25, "LongBench-v2": 25}
PLAIN = ["math", "mbpp", "gsm8k", "humaneval", "nq", "Truthful_QA"]
SHOTS = {"mbpp": (0, 4), "gsm8k": (0, 4), "hellaswag": (0, 10), "nq": (0, 1, 5, 25), "BoolQ": (0, 5), "mmlu": (0, 5)}
JUDGED = ["total", "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"]


def clean_study(folder: Path) -> Study:
    """The declared grid with a table that has a row for every cell, one scale, one spelling, and plausible scores."""
    document = yaml.safe_load((ROOT / "studies" / "massive-sft.yaml").read_text())
    bases = {name: {"license": "apache-2.0"} for name in document["factors"]["base_model"]}
    document["factors"]["base_model"] = bases
    document["license"] = "apache-2.0"
    document["benchmarks"]["Truthful_QA"] = {"score": {"range": [0, 100]}}
    names = [factor for factor in document["factors"]]
    metrics = [{"columns": "{benchmark}-{n_shot}shot", "metric": "score"}]
    metrics += [{"columns": "{benchmark}:{metric}"}]
    source = {"format": "csv", "path": "scores.csv", "factors": {name: name for name in names}, "metrics": metrics}
    document["results"] = [source]
    (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    study = read_study(folder)
    scored = [f"{name}-{shots}shot" for name in [*CHANCE, *PLAIN] for shots in SHOTS.get(name, (0,))]
    columns = [*scored, *(f"mtbench:{name}" for name in JUDGED), "alpaca_eval_v2:total"]
    draw = random.Random(7)
    skill = {(base, column): draw.gauss(0, 6) for base in bases for column in columns}
    lines = [",".join([*names, *columns])]
    for levels in iter_levels(study):
        effect = draw.gauss(0, 2)
        scores = [plausible(column, skill[levels["base_model"], column] + effect, draw) for column in columns]
        lines.append(",".join(map(str, [*levels.values(), *scores])))
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    return study


def plausible(column: str, effect: float, draw: random.Random) -> float:
    """A score above chance, with the digits that the real table has."""
    if column.startswith("mtbench"):
        return round(min(9.5, max(1.5, 5 + 0.1 * effect + draw.gauss(0, 0.6))), 2)
    benchmark = column.split("-")[0] if "LongBench" not in column else "LongBench-v2"
    floor = CHANCE.get(benchmark, 5)
    return round(min(95.0, max(floor - 1 + draw.random(), floor + 20 + effect + draw.gauss(0, 3))), 2)


def test_clean_table_of_the_same_shape_has_no_finding(tmp_path):
    report = check_study(clean_study(tmp_path))
    assert (report.n_declared, report.n_missing) == (1082, 0) and report.n_results > 31_000
    assert [f"{each.code} {each.where}: {each.what}" for each in report.problems] == []
