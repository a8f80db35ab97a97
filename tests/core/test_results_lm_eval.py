"""Results of lm-evaluation-harness: values, errors, shots, samples and directions as the file says them."""

import copy
import json
import os
import subprocess
import sys

import pytest
import yaml

from release_kit.core.hashing import hash_file
from release_kit.core.results_lm_eval import parse_metric_key, read_lm_eval_results

GROUP = {"alias": "both", "name": "both", "sample_len": 16, "acc,none": 0.25, "acc_stderr,none": "N/A",
         "sample_count": {"acc,none": 8}}  # fmt: skip
WRITTEN = {
    "results": {
        "pick": {"name": "pick", "alias": " - pick", "sample_len": 8, "acc,none": 0.25, "acc_stderr,none": 0.16},
        "gen": {
            "alias": " - gen", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": "N/A",
            "exact_match,flexible-extract": 1, "perplexity,none": float("nan"),
        },
        "both": GROUP,
        "only_subtasks": {" ": " ", "alias": "only_subtasks"},
    },
    "groups": {"both": GROUP},
    "group_subtasks": {"both": ["pick", "gen"]},
    "configs": {"pick": {"num_fewshot": 0}, "gen": {"num_fewshot": 5}},
    "versions": {"pick": 1.5, "gen": "N/A", "both": 2},
    "n-shot": {"pick": 0, "both": 0},
    "higher_is_better": {"pick": {"acc": True}, "gen": {"perplexity": False}, "both": {"acc": None}},
    "n-samples": {"pick": {"original": 100, "effective": 8}},
}  # fmt: skip


def read(tmp_path, written, cell_id="c" * 12):
    path = tmp_path / "results.json"
    path.write_text(written if isinstance(written, str) else json.dumps(written))
    return read_lm_eval_results(path, "eval/results.json", cell_id)


def test_every_metric_of_every_task_and_group_is_one_row(tmp_path):
    found = read(tmp_path, WRITTEN)
    assert found.problems == []
    rows = {(row.benchmark, row.metric): row for row in found.rows}
    assert len(rows) == len(found.rows) == 5
    pick = rows["pick", "acc"]
    assert (pick.value, pick.stderr, pick.n, pick.n_shot) == (0.25, 0.16, 8, 0)
    assert (pick.task_version, pick.higher_is_better, pick.cell_id) == ("1.5", True, "c" * 12)
    assert (pick.source, pick.source_key) == ("eval/results.json", "/results/pick/acc,none")
    assert pick.source_sha256 == hash_file(tmp_path / "results.json").sha256


def test_filters_stay_apart_and_what_is_not_known_is_none(tmp_path):
    rows = {(row.benchmark, row.metric): row for row in read(tmp_path, WRITTEN).rows}
    strict, loose = rows["gen", "exact_match,strict-match"], rows["gen", "exact_match,flexible-extract"]
    assert (strict.value, strict.stderr, strict.n_shot, strict.n) == (0.5, None, 5, None)
    assert (loose.value, loose.task_version, loose.higher_is_better) == (1.0, None, None)
    assert (rows["gen", "perplexity"].value, rows["gen", "perplexity"].higher_is_better) == (None, False)


def test_groups_count_samples_for_each_metric(tmp_path):
    both = next(row for row in read(tmp_path, WRITTEN).rows if row.benchmark == "both")
    assert (both.value, both.n, both.stderr, both.task_version, both.higher_is_better) == (0.25, 8, None, "2", None)


def test_names_with_slashes_make_a_valid_pointer(tmp_path):
    written = {"results": {"a/b~c": {"acc,none": 1.0}}}
    (row,) = read(tmp_path, written).rows
    assert row.source_key == "/results/a~1b~0c/acc,none"


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ('{"results": {"a": {"acc,none": 0.5', "is not valid JSON"),
        ("[]", "has no mapping `results`"),
        ({"results": []}, "has no mapping `results`"),
        ({"results": {"a": 0.5}}, "`results.a` is not a mapping"),
        ({"results": {"a": {"acc,none": "high"}}}, "`results.a.acc,none` is 'high', not a number"),
        ({"results": {"a": {"acc,none": True}}}, "`results.a.acc,none` is 'True', not a number"),
        ({"results": {"a": {"acc,none": 10**400}}}, "`results.a.acc,none` is too large"),
        ({"results": {"a": {"acc": 0.5, "acc_stderr": 0.1}}}, "holds no metric"),
        ({"results": {}}, "holds no metric"),
    ],
)
def test_what_is_no_results_file_is_named(tmp_path, written, part):
    found = read(tmp_path, written)
    assert found.rows == []
    (problem,) = found.problems
    assert part in str(problem)
    assert str(problem).startswith("eval/results.json: ")


def test_tables_of_the_wrong_shape_give_no_facts_and_no_traceback(tmp_path):
    for key in ("configs", "versions", "n-shot", "higher_is_better", "n-samples"):
        for wrong in ([], None, "x", {"pick": []}, {"pick": "x"}):
            broken = copy.deepcopy(WRITTEN)
            broken[key] = wrong
            assert len(read(tmp_path, broken).rows) == 5


def test_a_missing_file_is_a_problem(tmp_path):
    (problem,) = read_lm_eval_results(tmp_path / "none.json", "none.json", "c").problems
    assert "cannot be read (No such file or directory)" in str(problem)


def test_keys_that_are_no_metrics():
    assert parse_metric_key("acc_norm_stderr,none") == ("acc_norm", True)
    assert parse_metric_key("acc,none") == ("acc", False)
    assert parse_metric_key("em,strict") == ("em,strict", False)
    assert [parse_metric_key(key) for key in ("alias", "name", "sample_len", " ", ",none")] == [None] * 5


PICK = {
    "task": "pick", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
    "doc_to_text": "{{q}}", "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "num_fewshot": 0,
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}], "metadata": {"version": 1.5},
}  # fmt: skip
GEN = {
    "task": "gen", "dataset_path": "json", "test_split": "test", "output_type": "generate_until",
    "doc_to_text": "{{q}}", "doc_to_target": "{{choices[0]}}", "num_fewshot": 0,
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    "filter_list": [
        {"name": "strict", "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}]},
        {"name": "loose", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
BOTH = {
    "group": "both", "task": ["pick", "gen"], "metadata": {"version": 2},
    "aggregate_metric_list": [
        {"metric": "acc", "aggregation": "mean", "weight_by_size": True, "filter_list": ["none"]}
    ],
}  # fmt: skip


@pytest.mark.slow
def test_what_the_real_harness_writes_is_read(tmp_path):
    """Runs lm_eval with its random model on a local task, a task with two filters, and a group of both."""
    questions = [{"q": f"{i}+1?", "choices": [str(i + 1), str(i + 2)], "gold": i % 2} for i in range(8)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    data = {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "data.jsonl")}}}
    for task in (PICK | data, GEN | data, BOTH):
        (tmp_path / f"{task.get('task') if 'group' not in task else 'both'}.yaml").write_text(yaml.safe_dump(task))
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "dummy", "--tasks", "both"]
    command += ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "out.json")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    subprocess.run(command, env=os.environ | offline, cwd=tmp_path, check=True, capture_output=True)
    (path,) = tmp_path.glob("out*.json")
    found = read_lm_eval_results(path, path.name, "c" * 12)
    assert found.problems == []
    written = json.loads(path.read_text())["results"]
    rows = {(row.benchmark, row.metric): row for row in found.rows}
    assert set(rows) == {("pick", "acc"), ("gen", "exact_match,strict"), ("gen", "exact_match,loose"), ("both", "acc")}
    pick = rows["pick", "acc"]
    assert (pick.value, pick.stderr) == (written["pick"]["acc,none"], written["pick"]["acc_stderr,none"])
    assert (pick.n, pick.n_shot, pick.task_version, pick.higher_is_better) == (8, 0, "1.5", True)
    assert (rows["gen", "exact_match,strict"].n, rows["both", "acc"].n) == (8, 8)
