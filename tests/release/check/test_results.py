"""Wrong numbers: missing, impossible, given twice, copied from another cell, on two scales."""

import json
import shutil

import pytest
from study_factory import change_json, change_study, find_cell, write_json

from release_kit.core.grid import iter_levels

LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"
CSV_SOURCE = {
    "format": "csv",
    "path": "scores.csv",
    "factors": {name: name for name in ("base_model", "dataset", "method", "seed")},
    "metrics": [{"columns": "{benchmark}-{n_shot}shot", "metric": "score"}],
    "missing": [""],
}


def eval_folder(study, **levels):
    return find_cell(study, **{"dataset": "lima", "method": "full", "seed": 1, **levels}) / "eval"


def set_score(study, benchmark, value, **levels):
    path = eval_folder(study, **levels) / f"{benchmark}.json"
    results = json.loads(path.read_text())["results"]
    results[benchmark]["acc,none"] = value
    change_json(path, results=results)


def csv_study(make_study, scores, *, columns, benchmarks=None):
    """A study whose results come from a table; ``scores`` gives the values of a cell from its position."""
    study = make_study(benchmarks=(), with_base=False)
    lines = [",".join(["base_model", "dataset", "method", "seed", *columns])]
    for index, levels in enumerate(iter_levels(study)):
        lines.append(",".join([*map(str, levels.values()), *(str(value) for value in scores(index))]))
    (study.folder / "scores.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ranges = {} if benchmarks is None else benchmarks
    return change_study(study, results=[CSV_SOURCE], benchmarks=ranges)


def column(index, number, scale=100.0):
    """A plausible score with two decimals, different for each cell and column."""
    return round(scale * (0.2 + ((index * 37 + number * 53) % 97) / 150), 2 if scale > 1 else 4)


def test_source_that_cannot_be_read(make_study, only):
    study = make_study()
    (eval_folder(study) / "copa_tiny.json").write_text("{broken")
    from release_kit.release.check import check_study

    found = check_study(study).problems
    assert {each.code for each in found} == {"results-source", "results-incomplete"}
    assert any(each.where.endswith("eval/copa_tiny.json") for each in found)


def test_declared_table_that_is_not_there(make_study, only):
    (found,) = only(change_study(make_study(), results=[CSV_SOURCE]), "results-source", "study.yaml*")
    assert "scores.csv" in found.what


def test_rows_of_a_combination_that_is_not_in_the_grid(make_study, only):
    study = csv_study(make_study, lambda i: [column(i, 0)], columns=["arc-0shot"])
    shutil.rmtree(find_cell(study, dataset="lima", method="full", seed=1))
    study = change_study(study, exclude=[{"dataset": "lima", "method": "full", "seed": 1}])
    (found,) = only(study, "results-undeclared", "scores.csv, row *")
    assert "dataset=lima method=full seed=1" in found.what and found.row is not None


def test_results_without_weights(make_study, only):
    study = csv_study(make_study, lambda i: [column(i, 0), column(i, 1)], columns=["arc-0shot", "nq-5shot"])
    shutil.rmtree(find_cell(study, dataset="lima", method="full", seed=1))
    (found,) = only(study, "results-without-weights", LIMA)
    assert "2 results" in found.what


def test_results_of_cells_declared_as_results_only_need_no_weights(make_study, only):
    study = csv_study(make_study, lambda i: [column(i, 0)], columns=["arc-0shot"])
    shutil.rmtree(study.folder / "cells")
    from release_kit.release.check import check_study

    assert check_study(change_study(study, artifacts="results-only")).problems == ()


def test_weights_without_results(make_study, only):
    study = make_study()
    shutil.rmtree(eval_folder(study))
    only(study, "weights-without-results", LIMA)


def test_benchmark_that_one_cell_lacks(make_study, only):
    study = make_study()
    (eval_folder(study) / "copa_tiny.json").unlink()
    (found,) = only(study, "results-incomplete", LIMA, severity="warning")
    assert "copa_tiny 0-shot acc" in found.what and "8 cells have" in found.what


def test_cells_with_the_same_hole_are_named_together_by_what_they_share(make_study, only):
    study = make_study()
    for dataset in ("alpaca", "lima"):
        for seed in (0, 1):
            (eval_folder(study, dataset=dataset, method="lora", seed=seed) / "copa_tiny.json").unlink()
    only(study, "results-incomplete", "method=lora (4 cells)")


def test_empty_values_are_counted_and_named(make_study, only):
    study = csv_study(
        make_study, lambda i: ["" if i == 3 else column(i, 0), column(i, 1)], columns=["arc-0shot", "nq-5shot"]
    )
    (found,) = only(study, "result-empty", "*seed=1", severity="warning")
    assert "arc 0-shot score" in found.what


@pytest.mark.parametrize("value", [1.01, -0.2])
def test_value_outside_its_declared_range(make_study, only, value):
    study = make_study()
    set_score(study, "copa_tiny", value)
    (found,) = only(study, "result-range", LIMA)
    assert f"copa_tiny 0-shot acc is {value:g}, outside 0 to 1" in found.what
    assert found.path.endswith("eval/copa_tiny.json")


def test_share_outside_the_range_of_all_shares_without_a_declaration(make_study, only):
    study = change_study(make_study(), benchmarks=None)
    set_score(study, "copa_tiny", -3.0)
    only(study, "result-range", LIMA)


def test_value_that_is_no_number():
    """The readers refuse NaN; a table that was written by other means may hold it."""
    from types import SimpleNamespace

    from release_kit.core.results import Result
    from release_kit.release.check.results import check_results
    from release_kit.release.check.views import Survey

    study = SimpleNamespace(benchmarks={}, factors=(), folder="", artifacts="results-only", results_only=())
    rows = (Result(cell_id="a", benchmark="arc", metric="acc", value=float("nan")),)
    survey = Survey(study=study, declared={"a": {"seed": 0}}, cells={}, results=rows)
    assert [(each.code, each.where) for each in check_results(survey)] == [("result-nonfinite", "seed=0")]


def test_two_values_for_one_key(make_study, only):
    study = make_study()
    folder = eval_folder(study)
    shutil.copy(folder / "copa_tiny.json", folder / "copa_again.json")
    set_score(study, "copa_tiny", 0.123)
    (found,) = only(study, "result-duplicate", LIMA)
    assert "given 2 times" in found.what and "0.123" in found.what and "copa_again.json" in found.what


def test_copied_rows_of_results(make_study, only):
    benchmarks = tuple(f"task_{i}" for i in range(8))
    study = make_study(benchmarks=benchmarks)
    shutil.rmtree(eval_folder(study))
    shutil.copytree(eval_folder(study, seed=0), eval_folder(study))
    (found,) = only(study, "results-identical", LIMA, severity="error")
    assert "all 8 metrics that it shares with the cell with seed=0" in found.what


def test_three_equal_scores_are_suspicious_and_one_is_nothing(make_study, only):
    study = make_study()
    source = json.loads((eval_folder(study, seed=0) / "copa_tiny.json").read_text())
    write_json(eval_folder(study) / "copa_tiny.json", source)
    from release_kit.release.check import check_study

    assert check_study(study).problems == ()
    shutil.rmtree(eval_folder(study))
    shutil.copytree(eval_folder(study, seed=0), eval_folder(study))
    only(study, "results-identical", LIMA, severity="warning")


def test_equal_scores_on_small_benchmarks_prove_nothing(make_study):
    """Barely trained siblings answer 40 questions alike; that must not stop anybody."""
    from study_factory import harness_json

    from release_kit.release.check import check_study

    study = make_study()
    for folder in (study.folder / "cells").iterdir():
        for benchmark in ("arc_tiny", "copa_tiny", "nq_tiny"):
            write_json(folder / "eval" / f"{benchmark}.json", harness_json(benchmark, "all alike", n=40))
    assert check_study(study).problems == ()


def test_many_equal_scores_among_others(make_study, only):
    columns = [f"task{i}-0shot" for i in range(20)]

    def scores(index):
        own = [column(index, number) + index / 100 for number in range(20)]
        return [round(value, 2) for value in (own if index != 3 else [*first[:12], *own[12:]])]

    first = [column(2, number) + 2 / 100 for number in range(20)]
    study = csv_study(make_study, scores, columns=columns)
    (found,) = only(study, "results-partly-identical", "*", severity="warning")
    assert "12 of 20 metrics" in found.what


def test_benchmark_on_another_scale_than_the_others(make_study, only):
    columns = ["arc-0shot", "nq-0shot", "copa-0shot", "truth-0shot"]
    study = csv_study(
        make_study, lambda i: [column(i, 0), column(i, 1), column(i, 2), column(i, 3, 1.0)], columns=columns
    )
    (found,) = only(study, "result-scale", "truth 0-shot score", severity="warning")
    assert "'score' of other benchmarks is given in 0 to 100" in found.what
    ranges = {name: {"score": {"range": [0, 100]}} for name in ("arc", "nq", "copa")}
    declared = change_study(study, benchmarks={**ranges, "truth": {"score": {"range": [0, 1]}}})
    only(declared, "result-scale", "truth 0-shot score", severity="note")


def test_cell_on_another_scale_than_the_others(make_study, only):
    columns = ["arc-0shot", "nq-0shot", "copa-0shot"]
    study = csv_study(make_study, lambda i: [column(i, n, 1.0 if i == 5 else 100.0) for n in range(3)], columns=columns)
    (found,) = only(study, "result-scale", "*", severity="warning")
    assert "3 values lie in 0 to 1 where other cells have 0 to 100" in found.what and found.row == 6


def test_score_that_collapses_with_the_number_of_examples(make_study, only):
    study = csv_study(
        make_study,
        lambda i: [column(i, 0), 0.5 if i == 5 else column(i, 1)],
        columns=["BoolQ-0shot", "BoolQ-5shot"],
    )
    (found,) = only(study, "result-collapse", "BoolQ 5-shot score, *", severity="warning")
    assert "0.5, where 0 examples give" in found.what


def test_levels_written_in_two_ways_are_a_note(make_study, only):
    study = csv_study(make_study, lambda i: [column(i, 0)], columns=["arc-0shot"])
    path = study.folder / "scores.csv"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, first.replace("full", "FULL"), *rest]) + "\n")
    factors = {**CSV_SOURCE["factors"], "method": {"column": "method", "values": {"FULL": "full"}}}
    study = change_study(study, results=[{**CSV_SOURCE, "factors": factors}])
    only(study, "results-spelling", "scores.csv", severity="note")


def test_one_base_model_evaluated_under_several_seeds_is_meant_to_agree(make_study):
    from release_kit.release.check import check_study

    benchmarks = tuple(f"task_{i}" for i in range(8))
    include = [{"dataset": ["alpaca", "lima"], "method": ["full", "lora"]}, {"dataset": "none", "method": "base"}]
    study = make_study(benchmarks=benchmarks, extra={"include": include})
    source = eval_folder(study, dataset="none", method="base", seed=0)
    target = eval_folder(study, dataset="none", method="base", seed=1)
    shutil.rmtree(target)
    shutil.copytree(source, target)
    assert check_study(study).problems == ()


def test_metrics_written_in_two_ways_are_a_note(make_study, only):
    columns = ["arc-0shot", "copa-0shot", "copa_5shot"]
    study = csv_study(make_study, lambda i: [column(i, n) for n in range(3)], columns=columns)
    metrics = [*CSV_SOURCE["metrics"], {"column": "copa_5shot", "benchmark": "copa", "n_shot": 5, "metric": "score"}]
    study = change_study(study, results=[{**CSV_SOURCE, "metrics": metrics}])
    (found,) = only(study, "results-spelling", "scores.csv, header", severity="note")
    assert "writes 'copa_5shot' where 2 columns are written like 'arc-0shot'" in found.what
