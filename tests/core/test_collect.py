"""Collecting: all sources together, cells' own evaluations always, and the real released table."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from study_factory import harness_json, write_json

from release_kit.core.collect import collect_results, read_sources
from release_kit.core.grid import cell_id, describe, is_declared, iter_levels
from release_kit.core.results import parquet_bytes, results_table
from release_kit.core.study import Study, read_study

CHECKOUT = Path(__file__).parents[2]
REAL_TABLE = CHECKOUT.parent / "shared" / "data" / "massive-sft" / "evaluation_result.csv"
needs_real_table = pytest.mark.skipif(not REAL_TABLE.is_file(), reason=f"the released table is not at {REAL_TABLE}")


def with_results(study: Study, *entries: dict, **changes) -> Study:
    file = study.folder / "study.yaml"
    document = yaml.safe_load(file.read_text()) | {"results": list(entries)} | changes
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return read_study(study.folder)


def test_evaluations_in_cells_are_always_collected(make_study):
    study = make_study()
    found = collect_results(study)
    cells = {cell_id(study, levels) for levels in iter_levels(study)}
    assert found.problems == found.undeclared == found.notes == []
    assert Counter(row.cell_id for row in found.rows) == dict.fromkeys(cells, 3)
    for row in found.rows:
        assert row.source == f"cells/{row.cell_id}/eval/{row.benchmark}.json"
        assert row.value == harness_json(row.benchmark, row.cell_id)["results"][row.benchmark]["acc,none"]


def test_evaluations_of_a_results_only_cell_without_cell_json_are_collected(make_study):
    study = make_study(with_base=False)
    n_rows = len(collect_results(study).rows)
    for path in study.folder.glob("cells/*/cell.json"):
        path.unlink()
    assert len(collect_results(study).rows) == n_rows


def test_a_folder_that_is_no_cell_and_a_broken_file_are_both_named(make_study):
    study = make_study()
    write_json(study.folder / "cells" / "0" / "eval" / "x.json", harness_json("x", "0"))
    broken = next(study.folder.glob("cells/*/eval/arc_tiny.json"))
    broken.write_text(broken.read_text()[:50])
    found = collect_results(study)
    assert len(found.problems) == 2
    told = "\n".join(map(str, found.problems))
    assert "cells/0/eval/x.json: belongs to no declared cell" in told
    assert f"{broken.relative_to(study.folder).as_posix()}: is not valid JSON" in told


def test_cells_made_with_other_settings_or_outside_the_grid_are_kept_apart(make_study):
    study = make_study()
    n_files = len(list(study.folder.glob("cells/*/eval/*.json")))
    changed = with_results(study, settings={"learning_rate": 1.0})
    found = collect_results(changed)
    assert found.rows == found.problems == []
    assert len(found.undeclared) == n_files
    assert all("made with other settings" in str(item.to_error()) for item in found.undeclared)
    excluded = with_results(study, settings=dict(study.settings), exclude=[{"dataset": "lima"}])
    found = collect_results(excluded)
    assert {item.levels["dataset"] for item in found.undeclared} == {"lima"}
    assert all("not in the grid" in str(item.to_error()) for item in found.undeclared)


def runs(study: Study) -> dict:
    """Write harness files by path for all cells but the baselines; returns {path: cell_id}."""
    written = {}
    for levels in iter_levels(study):
        if levels["method"] != "base":
            cell = cell_id(study, levels)
            folder = f"runs/{levels['dataset']}-{levels['method']}-{levels['seed']}"
            for stamp in ("2026-01-01T10-00-00.5", "2026-01-02T09-00-00.1"):
                path = f"{folder}/tiny/results_{stamp}.json"
                write_json(study.folder / path, harness_json("mmlu_tiny", cell, n=1000 + int(stamp[9])))
                written[path] = cell
    return written


def test_harness_files_are_found_by_a_rule(make_study):
    study = make_study()
    written = runs(study)
    entry = {"format": "lm-eval", "path": "runs/{dataset}-{method}-{seed}/**/results_*.json",
             "levels": {"base_model": "tiny-llama"}}  # fmt: skip
    rows = [row for row in collect_results(with_results(study, entry)).rows if row.source.startswith("runs/")]
    assert {row.source: row.cell_id for row in rows} == written
    last = [row for row in collect_results(with_results(study, entry | {"pick": "last"})).rows if "runs/" in row.source]
    assert len(last) == len(written) / 2
    assert all("2026-01-02" in row.source and row.n == 1002 for row in last)


def test_a_rule_that_finds_nothing_or_files_outside_the_grid_says_so(make_study):
    study = make_study()
    runs(study)
    entry = {"format": "lm-eval", "levels": {"base_model": "tiny-llama"}}
    entry["path"] = "evals/{dataset}/{method}-{seed}.json"
    (problem,) = collect_results(with_results(study, entry)).problems
    assert "no file follows 'evals/{dataset}/{method}-{seed}.json'" in str(problem)
    assert "results[0].path" in problem.where
    entry["path"] = "runs/{dataset}-{method}-{seed}/tiny/results_2026-01-01*"
    changed = with_results(study, entry, exclude=[{"dataset": "lima"}])
    found = collect_results(changed)
    assert {item.source for item in found.undeclared if item.source.startswith("runs/")} == {
        path for path in runs(study) if "lima" in path and "01-01" in path
    }


def test_all_wrong_entries_are_named_and_the_good_ones_are_still_read(make_study):
    study = make_study()
    good = {"format": "lm-eval", "path": "cells/*/eval/{dataset}{method}{base_model}{seed}*.json"}
    changed = with_results(study, {"format": "xlsx"}, good, {"path": "x"}, {**good, "pick": "best"})
    sources, problems = read_sources(changed)
    assert len(sources) == 1
    assert [str(problem).split("`")[1] for problem in problems] == [
        "results[0].format", "results[2].format", "results[3].pick",
    ]  # fmt: skip


@pytest.fixture
def massive_sft(tmp_path) -> Study:
    shutil.copy(CHECKOUT / "studies" / "massive-sft.yaml", tmp_path / "study.yaml")
    shutil.copy(REAL_TABLE, tmp_path / "evaluation_result.csv")
    return read_study(tmp_path)


def test_the_grid_of_the_paper_is_declared(tmp_path):
    shutil.copy(CHECKOUT / "studies" / "massive-sft.yaml", tmp_path / "study.yaml")
    study = read_study(tmp_path)
    trained = [levels for levels in iter_levels(study) if levels["dataset"] != "pretrain"]
    assert len(trained) == 1_070
    blocks = Counter((levels["data_size"], levels["lr_schedule"]) for levels in trained)
    assert blocks == {
        (1000, "cosine"): 240, (10000, "cosine"): 240, (1000, "constant"): 300, (20000, "constant"): 270,
        (9000, "cosine"): 20,
    }  # fmt: skip
    assert sum(1 for _ in iter_levels(study)) == 1_070 + 12


@needs_real_table
def test_every_row_of_the_released_table_comes_in(massive_sft):
    found = collect_results(massive_sft)
    assert found.problems == found.undeclared == []
    assert len({row.source_row for row in found.rows}) == len({row.cell_id for row in found.rows}) == 1_027
    assert {row.source_row for row in found.rows} == set(range(1, 1_028))
    assert len({row.key for row in found.rows}) == len(found.rows) == 1_027 * 29 + 33
    assert {(row.benchmark, row.n_shot) for row in found.rows if row.benchmark == "nq"} == {
        ("nq", 0), ("nq", 1), ("nq", 5), ("nq", 25),
    }  # fmt: skip
    header, *levels = [str(note).split(" is written")[0] for note in found.notes]
    assert "writes 'mbpp_4shot' where 19 columns are written like" in header
    assert levels == ["evaluation_result.csv: method=none", "evaluation_result.csv: lr_schedule=none"]


@needs_real_table
def test_holes_of_the_released_table_are_rows_without_value_at_their_place(massive_sft):
    holes = [row for row in collect_results(massive_sft).rows if row.value is None]
    counts = Counter(row.source_key for row in holes)
    assert counts.pop("alpaca_eval_v2-total") == 4
    assert set(counts.values()) == {20}
    assert len(counts) == 10
    lines = REAL_TABLE.read_text().splitlines()
    columns = lines[0].split(",")
    for row in holes:
        assert lines[row.source_row].split(",")[columns.index(row.source_key)] == ""


@needs_real_table
def test_cells_that_the_released_table_lacks_are_exactly_the_known_ones(massive_sft):
    present = {row.cell_id for row in collect_results(massive_sft).rows}
    missing = [levels for levels in iter_levels(massive_sft) if cell_id(massive_sft, levels) not in present]
    by_base = Counter(levels["base_model"] for levels in missing)
    assert by_base == {
        "Swallow-Mistral-7B": 41, "Gemma2-9B": 11, "OLMo-7B-hf": 1, "Qwen2.5-7B": 1, "LLM-jp-3-7B": 1,
    }  # fmt: skip
    named = [describe(levels) for levels in missing]
    for base in ("OLMo-7B-hf", "Qwen2.5-7B", "LLM-jp-3-7B"):
        wanted = f"base_model={base} dataset=lima method=full data_size=1000 lr_schedule=constant epoch=10"
        assert wanted in named
    gemma = [levels["dataset"] for levels in missing if levels["base_model"] == "Gemma2-9B"]
    assert Counter(gemma) == {"all": 10, "magicoder": 1}
    assert all(is_declared(massive_sft, levels) for levels in missing)


@needs_real_table
def test_the_released_table_gives_the_same_bytes_twice(massive_sft):
    first = parquet_bytes(results_table(collect_results(massive_sft).rows))
    again = parquet_bytes(results_table(reversed(collect_results(massive_sft).rows)))
    assert first == again


def test_values_of_the_source_file_are_untouched(make_study):
    study = make_study()
    for row in collect_results(study).rows:
        written = json.loads((study.folder / row.source).read_text())
        for part in row.source_key.split("/")[1:]:
            written = written[part.replace("~1", "/").replace("~0", "~")]
        assert row.value == written
