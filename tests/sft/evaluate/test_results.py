"""What stands in a results file: failed extractions beside accuracy, standard errors, executed tests, no clock."""

import json
import math
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sft.evaluate.evaluation_factory import TASKS, write_rows, write_study

from release_kit.core.errors import StudyError
from release_kit.core.results_lm_eval import read_lm_eval_results
from release_kit.sft.evaluate.results import ANALYTIC, BOOTSTRAP, standard_error


def test_failed_extractions_stand_beside_the_accuracy(shared_study, model_folder, evaluate, tmp_path):
    results = evaluate(shared_study, model_folder, "answers")["answers"]["results"]["answers"]
    rows = pq.read_table(tmp_path / "out" / "answers.samples.parquet").to_pylist()
    for selected in ("first-letters", "all"):
        mine = [row for row in rows if row["filter"] == selected]
        failed = [row for row in mine if row["extraction_failed"]]
        share = results[f"extraction_failure,{selected}"]
        assert share == pytest.approx(len(failed) / len(mine))
        assert f"extraction_failure_stderr,{selected}" in results
    invalid = {row["doc_id"] for row in rows if row["extracted"] == "[invalid]"}
    assert invalid == {row["doc_id"] for row in rows if row["filter"] == "first-letters" and row["extraction_failed"]}


def test_a_filter_that_matches_nothing_is_a_failure_of_every_answer(tmp_path, model_folder, evaluate):
    filters = [{"function": "regex", "regex_pattern": "(zzz)"}, {"function": "take_first"}]
    never = {**TASKS["answers"], "filter_list": [{"name": "never", "filter": filters}]}
    study = write_study(tmp_path / "study", {"never": never})
    fast = evaluate(study, model_folder, "never")["never"]["results"]["never"]
    slow = evaluate(study, model_folder, "never", out="slow", harness="lm-eval")["never"]["results"]["never"]
    assert fast["exact_match,never"] == slow["exact_match,never"] == 0
    assert fast["extraction_failure,never"] == slow["extraction_failure,never"] == 1


def test_files_of_both_harnesses_are_read_as_results(shared_study, model_folder, evaluate, tmp_path):
    tasks = ("choice_3_first", "prose", "answers")
    evaluate(shared_study, model_folder, *tasks, out="fast")
    evaluate(shared_study, model_folder, *tasks, out="slow", harness="lm-eval")
    for task in tasks:
        kept = []
        for name in ("fast", "slow"):
            path = tmp_path / name / f"{task}.json"
            batch = read_lm_eval_results(path, path.name, "cell")
            assert not batch.problems
            kept.append({row.key: row for row in batch.rows})
        assert kept[0].keys() == kept[1].keys()
        for key, row in kept[0].items():
            other = kept[1][key]
            assert row.value == pytest.approx(other.value, rel=1e-6), key
            assert (row.n, row.n_shot, row.task_version) == (other.n, other.n_shot, other.task_version), key
            assert row.higher_is_better is other.higher_is_better
            assert (row.stderr is None) == (other.stderr is None), key


def test_no_clock_and_no_place_stands_in_what_is_written(study, model_folder, evaluate, tmp_path):
    for harness in ("fast", "lm-eval"):
        evaluate(study, model_folder, "choice", "answers", out=harness, harness=harness)
        for path in (tmp_path / harness).glob("*.json"):
            text = path.read_text()
            assert str(tmp_path) not in text
            assert str(model_folder) not in text
            assert not {"date", "start_time", "total_evaluation_time_seconds"} & json.loads(text).keys()


def test_samples_hold_what_is_said_of_them(shared_study, model_folder, evaluate, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    evaluate(shared_study, model_folder, "choice_3_first", "prose", "answers")
    choices = pq.read_table(tmp_path / "out" / "choice_3_first.samples.parquet").to_pylist()
    documents = [json.loads(line) for line in (shared_study / "data" / "stories.jsonl").read_text().splitlines()]
    assert [row["doc_id"] for row in choices] == list(range(24))
    for row, document in zip(choices, documents, strict=True):
        texts = [f" {choice}" for choice in document["choices"]]
        assert row["n_bytes"] == [len(text.encode()) for text in texts]
        assert row["n_tokens"] == [len(tokenizer.encode(text)) for text in texts]
        assert row["target"] == str(document["answer"])
        best = max(range(4), key=lambda index, row=row: row["loglikelihoods"][index])
        assert json.loads(row["metrics"])["acc"] == float(best == document["answer"])
    for row, document in zip(
        pq.read_table(tmp_path / "out" / "prose.samples.parquet").to_pylist(), documents, strict=True
    ):
        assert row["n_tokens"] == [len(tokenizer.encode(document["text"]))]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("weighted_perplexity", lambda r: (-r.gauss(50, 8), r.randint(8, 30))),
        ("bits_per_byte", lambda r: (-r.gauss(50, 8), r.randint(40, 90))),
        ("perplexity", lambda r: -abs(r.gauss(2, 0.7))),
        ("brier_score", lambda r: (r.randint(0, 1), (p := r.random(), 1 - p))),
    ],
)
def test_closed_standard_errors_agree_with_a_bootstrap(name, make):
    from lm_eval.api.registry import get_aggregation

    source = random.Random(5)
    values = [make(source) for _ in range(400)]
    aggregation = get_aggregation(name)
    closed, method = standard_error(aggregation, values)
    drawn, other = standard_error(lambda items: aggregation(items), values)
    assert (method, other) == (ANALYTIC, BOOTSTRAP)
    assert math.isclose(closed, drawn, rel_tol=0.2)


def test_one_document_has_no_standard_error_and_an_undefined_value_is_none(shared_study, model_folder, evaluate):
    results = evaluate(shared_study, model_folder, "choice", limit=1)["choice"]["results"]["choice"]
    assert results["acc_stderr,none"] == "N/A"
    assert standard_error(lambda values: math.nan, [1, 2, 3]) == (None, None)


CODE = {
    "output_type": "generate_until", "doc_to_text": "{{prompt}}", "doc_to_target": "{{test}}\ncheck({{entry_point}})",
    "dataset_kwargs": {"data_files": {"test": "data/code.jsonl"}},
    "generation_kwargs": {"until": ["\ndef"], "do_sample": False, "max_gen_toks": 8},
    "metric_list": [{"metric": "executed_tests", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


def code_study(folder: Path, **change: str | None) -> Path:
    """Return a study with functions: whatever a model writes after ``return 4  #`` passes, other bodies do not."""
    study = write_study(folder, {"code": CODE})
    bodies = ["    return 4  #", "    return 5  #", "    return 4  #", "    return ((("]
    rows = [
        {"prompt": f"def four():\n{body}", "test": "def check(f):\n    assert f() == 4", "entry_point": "four"}
        for body in bodies
    ]
    write_rows(study / "data" / "code.jsonl", [{**row, **change} for row in rows])
    return study


@pytest.mark.parametrize("harness", ["fast", "lm-eval"])
def test_code_is_scored_by_its_tests(harness, tmp_path, model_folder, evaluate):
    study = code_study(tmp_path / "study")
    document = evaluate(study, model_folder, "code", harness=harness)["code"]
    texts = pq.read_table(tmp_path / "out" / "code.samples.parquet").column("responses").to_pylist()
    expected = [all("\n" not in text for text in texts[i]) for i in (0, 2)]
    assert any(expected)
    assert document["results"]["code"]["executed_tests,none"] == pytest.approx(sum(expected) / 4)
    assert document["higher_is_better"]["code"]["executed_tests"] is True


def test_a_document_without_tests_is_named(tmp_path, model_folder, evaluate):
    study = code_study(tmp_path / "study", entry_point=None)
    with pytest.raises(StudyError, match="a document lacks entry_point"):
        evaluate(study, model_folder, "code")
