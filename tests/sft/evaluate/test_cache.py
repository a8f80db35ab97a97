"""The cache is never stale, a killed evaluation loses at most one row, and nothing depends on batch size or limit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sft.evaluate.evaluation_factory import TASKS, write_model, write_rows, write_study

from release_kit.core.errors import ArtifactError, StudyError
from release_kit.sft.evaluate.run import EvalModel, evaluate_cell, rescore
from release_kit.sft.spec.settings import EvaluationSettings

CHOICE = ("choice_3_first", "answers")


class Counted:
    """Notes the rows and groups that were really computed; can end the evaluation at one."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.counts: dict[str, list[int]] = {}
        self._stop_at = stop_at

    @property
    def n(self) -> int:
        """Rows computed."""
        return sum(map(len, self.counts.values()))

    def __call__(self, kind: str, task: str, done: int, _: int) -> None:
        if kind == "row":
            self.counts.setdefault(task, []).append(done)
            if done == self._stop_at:
                raise KeyboardInterrupt


def written(folder: Path) -> dict[str, bytes]:
    """Return {file: bytes} of a folder of results."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_new_weights_at_the_old_path_are_computed_anew(study, tmp_path, evaluate):
    """The harness's own cache returned the scores of the old weights here: 200 of 200 requests were stale."""
    folder = write_model(tmp_path / "model", seed=1)
    first = evaluate(study, folder, "choice", out="a")["choice"]
    shutil.copy(write_model(tmp_path / "other", seed=2) / "model.safetensors", folder / "model.safetensors")
    rows = Counted()
    second = evaluate(study, folder, "choice", out="b", on_event=rows)["choice"]
    assert rows.n > 0
    assert second["config"]["weights_sha256"] != first["config"]["weights_sha256"]
    assert second["results"] != first["results"]
    shutil.rmtree(study / ".release_kit")
    assert evaluate(study, folder, "choice", out="c")["choice"] == second


def test_another_limit_and_other_data_are_other_answers(study, model_folder, evaluate):
    """A cache filled under a limit gave its answers to the whole task in the harness."""
    few = evaluate(study, model_folder, "choice", limit=4)["choice"]["results"]["choice"]
    whole = evaluate(study, model_folder, "choice")["choice"]["results"]["choice"]
    assert (few["sample_len"], whole["sample_len"]) == (4, 24)
    data = study / "data" / "stories.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    write_rows(data, [{**row, "question": row["question"].upper()} for row in rows])
    changed = evaluate(study, model_folder, "choice")["choice"]["results"]["choice"]
    assert changed["brier_score,none"] != whole["brier_score,none"]


def test_equal_weights_in_two_folders_share_their_answers(study, model_folder, tmp_path, evaluate):
    first = evaluate(study, model_folder, *CHOICE, out="a")
    copied = shutil.copytree(model_folder, tmp_path / "copy")
    rows = Counted()
    assert evaluate(study, copied, *CHOICE, out="b", on_event=rows) == first
    assert rows.n == 0


def test_a_second_call_computes_nothing_and_changes_no_byte(study, model_folder, tmp_path, evaluate):
    evaluate(study, model_folder, *CHOICE)
    before, rows = written(tmp_path / "out"), Counted()
    evaluate(study, model_folder, *CHOICE, on_event=rows)
    assert (written(tmp_path / "out"), rows.n) == (before, 0)


def test_metrics_are_never_cached(study, model_folder, evaluate):
    task = study / "tasks" / "choice.yaml"
    evaluate(study, model_folder, "choice")
    task.write_text(task.read_text().replace("acc_norm", "acc_bytes"))
    rows = Counted()
    again = evaluate(study, model_folder, "choice", on_event=rows)["choice"]["results"]["choice"]
    assert "acc_bytes,none" in again
    assert "acc_norm,none" not in again
    assert rows.n == 0


def test_damaged_answers_are_computed_again(study, model_folder, evaluate):
    first = evaluate(study, model_folder, "choice")
    for path in (study / ".release_kit" / "eval-cache").rglob("answers.json"):
        path.write_text(path.read_text().replace("-1", "-2"))
    assert evaluate(study, model_folder, "choice") == first


@pytest.mark.parametrize("task", ["prose", "answers", "choice_2_random"])
def test_scores_do_not_depend_on_the_batch_size(task, study, model_folder, tmp_path, evaluate):
    """The harness: 327 of 500 log-likelihoods differ between batch sizes 1 and 8 in bfloat16."""
    outputs = []
    for batch_size in (1, 8, 32):
        shutil.rmtree(study / ".release_kit", ignore_errors=True)
        evaluate(study, model_folder, task, out=f"b{batch_size}", batch_size=batch_size)
        outputs.append(written(tmp_path / f"b{batch_size}"))
    assert outputs[0] == outputs[1] == outputs[2]


KILLED = """
import os, signal, sys
from pathlib import Path
from release_kit.sft.evaluate.run import EvalModel, evaluate_cell
from release_kit.sft.spec.settings import EvaluationSettings
def on_event(kind, task, done, total):
    if kind == "row" and task == sys.argv[4] and done == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)
study, model, out = map(Path, sys.argv[1:4])
evaluate_cell(study, EvalModel(base=model), EvaluationSettings(tasks=("choice_3_first", "answers")), out,
              on_event=on_event)
"""


def test_a_killed_evaluation_goes_on_with_the_next_row_and_gives_the_same_bytes(
    study, model_folder, tmp_path, evaluate
):
    arguments = [sys.executable, "-c", KILLED, study, model_folder, tmp_path / "out", "answers", "1"]
    killed = subprocess.run(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(written(tmp_path / "out")) == ["choice_3_first.json", "choice_3_first.samples.parquet"]
    rows = Counted()
    evaluate(study, model_folder, *CHOICE, on_event=rows)
    assert rows.counts == {"answers": [2]}
    resumed = written(tmp_path / "out")
    shutil.rmtree(study / ".release_kit")
    evaluate(study, model_folder, *CHOICE, out="whole")
    assert written(tmp_path / "whole") == resumed


@pytest.mark.parametrize("task", ["choice_3_first", "prose"])
def test_rows_finished_before_an_end_at_any_place_are_not_computed_again(task, study, model_folder, tmp_path, evaluate):
    whole = Counted()
    evaluate(study, model_folder, task, out="whole", on_event=whole)
    shutil.rmtree(study / ".release_kit")
    n_rows = whole.counts[task][-1]
    assert n_rows > 2
    for stop in range(1, n_rows):
        with pytest.raises(KeyboardInterrupt):
            evaluate(study, model_folder, task, on_event=Counted(stop_at=stop))
    last = Counted()
    evaluate(study, model_folder, task, on_event=last)
    assert last.counts == {task: [n_rows]}
    assert written(tmp_path / "out") == written(tmp_path / "whole")


@pytest.mark.parametrize("task", sorted(TASKS))
def test_results_are_made_again_from_the_samples_without_a_model(task, shared_study, model_folder, tmp_path, evaluate):
    document = evaluate(shared_study, model_folder, task)[task]
    path = tmp_path / "out" / f"{task}.samples.parquet"
    again = rescore(shared_study, path, task, EvaluationSettings(tasks=(task,)), document["config"])
    assert again == (tmp_path / "out" / f"{task}.json").read_bytes()


def test_repeated_answers_are_scored_again_too(tmp_path, model_folder, evaluate):
    study = write_study(tmp_path / "study", {"answers": {**TASKS["answers"], "repeats": 2}})
    document = evaluate(study, model_folder, "answers", limit=3)["answers"]
    path, settings = tmp_path / "out" / "answers.samples.parquet", EvaluationSettings(tasks=("answers",), limit=3)
    assert rescore(study, path, "answers", settings, document["config"]) == path.with_name("answers.json").read_bytes()


def test_what_ends_an_answer_is_the_model_s_own_even_when_its_weights_are_another_s(
    study, model_folder, tmp_path, evaluate
):
    import pyarrow.parquet as pq

    other = shutil.copytree(model_folder, tmp_path / "other")
    settings = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": list(range(300))}))
    lengths = []
    for folder in (model_folder, other):
        evaluate(study, folder, "answers", limit=6)
        lengths.append(pq.read_table(tmp_path / "out" / "answers.samples.parquet").column("n_tokens").to_pylist())
    assert sum(map(sum, lengths[1])) < sum(map(sum, lengths[0]))


def test_samples_of_other_documents_are_refused(study, model_folder, tmp_path, evaluate):
    evaluate(study, model_folder, "choice", limit=4)
    with pytest.raises(StudyError, match="answers other requests"):
        rescore(study, tmp_path / "out" / "choice.samples.parquet", "choice", EvaluationSettings(tasks=("choice",)), {})


@pytest.mark.parametrize(
    ("task", "message"), [("choice", "log-likelihood of a text is nan"), ("answers", "logits are nan")]
)
def test_weights_that_are_not_numbers_are_named_and_leave_no_result(study, tmp_path, task, message):
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=message):
        evaluate_cell(study, EvalModel(base=folder), EvaluationSettings(tasks=(task,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_unknown_tasks_are_named_at_once(study, model_folder, evaluate):
    with pytest.raises(StudyError, match=r"no task 'choise'.*'choice'.*'proze'.*'prose'"):
        evaluate(study, model_folder, "choise", "letters", "proze")


def test_a_task_without_its_data_is_named(tmp_path, model_folder, evaluate):
    other = write_study(tmp_path / "empty", {"letters": TASKS["letters"]})
    (other / "data" / "stories.jsonl").unlink()
    with pytest.raises(StudyError, match=r"the task 'letters' cannot be used.*stories\.jsonl"):
        evaluate(other, model_folder, "letters")
