"""Scores are the harness's own: on every kind of task, within 1e-6, and answer by answer."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sft.evaluate.evaluation_factory import TASKS

SCORE_TOLERANCE = 1e-6
"""Relative for perplexities, which are far above 1 here; absolute for what lies in [0, 1]."""
LIKELIHOOD_TOLERANCE = 1e-4


@pytest.mark.parametrize("task", sorted(TASKS))
def test_scores_are_those_of_the_harness(task, shared_study, model_folder, harness_scores, evaluate):
    theirs = harness_scores(task)["results"][task]
    ours = evaluate(shared_study, model_folder, task)[task]
    assert ours["config"]["scorer"]["name"] == "fast"
    compared = [key for key in theirs if "," in key and "_stderr" not in key]
    assert compared
    for key in compared:
        value = ours["results"][task][key]
        assert math.isclose(value, theirs[key], rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE), key


@pytest.mark.parametrize("task", ["choice", "letters", "choice_3_first", "choice_2_random", "last_word", "prose"])
def test_every_loglikelihood_is_that_of_the_harness(
    task, shared_study, model_folder, harness_scores, evaluate, tmp_path
):
    theirs = sorted(harness_scores(task)["samples"][task], key=lambda sample: sample["doc_id"])
    evaluate(shared_study, model_folder, task)
    ours = pq.read_table(tmp_path / "out" / f"{task}.samples.parquet").to_pylist()
    assert len(ours) == len(theirs) == 24
    for mine, their in zip(ours, theirs, strict=True):
        answers = [response[0] for response in their["resps"]]
        values = [answer[0] if isinstance(answer, tuple) else answer for answer in answers]
        assert mine["loglikelihoods"] == pytest.approx(values, abs=LIKELIHOOD_TOLERANCE, rel=1e-6)
        if mine["greedy"] is not None:
            assert mine["greedy"] == [bool(answer[1]) for answer in answers]


def test_every_generated_answer_is_that_of_the_harness(shared_study, model_folder, harness_scores, evaluate, tmp_path):
    theirs = {(s["filter"], s["doc_id"]): s for s in harness_scores("answers")["samples"]["answers"]}
    evaluate(shared_study, model_folder, "answers")
    ours = pq.read_table(tmp_path / "out" / "answers.samples.parquet").to_pylist()
    assert len(ours) == len(theirs) == 48
    assert len({row["responses"][0] for row in ours}) > 10
    for row in ours:
        their = theirs[row["filter"], row["doc_id"]]
        assert row["responses"] == their["resps"][0]
        assert row["extracted"] == their["filtered_resps"][0]


def test_standard_errors_are_the_harness_s_where_it_has_them_and_exist_where_it_has_none(
    shared_study, model_folder, harness_scores, evaluate
):
    from lm_eval.api.metrics import mean_stderr

    samples = harness_scores("choice")["samples"]["choice"]
    ours = evaluate(shared_study, model_folder, "choice", "letters", "prose", "last_word")
    expected = mean_stderr([sample["acc"] for sample in samples])
    assert ours["choice"]["results"]["choice"]["acc_stderr,none"] == pytest.approx(expected, abs=1e-12)
    for task, document in ours.items():
        measured = document["results"][task]
        for key in [key for key in measured if "," in key and "_stderr" not in key]:
            metric, _, selected = key.partition(",")
            assert measured[f"{metric}_stderr,{selected}"] > 0 or measured[key] in (0, 1), (task, key)
            assert document["config"]["stderr_method"][task][key] in ("analytic", "bootstrap")


# The harness loads the adapter too, and peft asks transformers for a property by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_lora_adapter_is_scored_like_the_harness_scores_it(
    shared_study, model_folder, harness_scores, evaluate, tmp_path
):
    from release_kit.sft.evaluate.run import EvalModel

    adapter = write_adapter(model_folder, tmp_path / "adapter")
    plain = evaluate(shared_study, model_folder, "choice", out="plain")["choice"]["results"]["choice"]
    ours = evaluate(shared_study, EvalModel(base=model_folder, adapter=adapter), "choice", "answers", out="lora")
    again = evaluate(shared_study, model_folder, "choice", out="again")["choice"]["results"]["choice"]
    assert ours["choice"]["results"]["choice"]["brier_score,none"] != plain["brier_score,none"]
    assert again == plain
    for task in ("choice", "answers"):
        for key, value in harness_scores(task, adapter=adapter)["results"][task].items():
            if "," in key and "_stderr" not in key:
                assert ours[task]["results"][task][key] == pytest.approx(value, abs=SCORE_TOLERANCE, rel=1e-6), key


@pytest.mark.parametrize("kind", ["gpt_neox", "olmo2"])
def test_other_architectures_are_scored_like_the_harness_scores_them(kind, study, evaluate, tmp_path):
    from sft.evaluate.evaluation_factory import write_model

    folder = write_model(tmp_path / kind, kind=kind)
    fast = evaluate(study, folder, "choice_3_first", "answers", out="fast")
    slow = evaluate(study, folder, "choice_3_first", "answers", out="slow", harness="lm-eval", batch_size=1)
    assert fast["choice_3_first"]["config"]["scorer"]["name"] == "fast"
    for task in fast:
        for key, value in slow[task]["results"][task].items():
            if "," in key and "_stderr" not in key:
                assert fast[task]["results"][task][key] == pytest.approx(value, abs=SCORE_TOLERANCE), (task, key)


def test_what_the_fast_scorer_does_not_cover_goes_to_the_harness_and_says_why(study, evaluate, tmp_path):
    from sft.evaluate.evaluation_factory import TASKS, write_model, write_study

    sampled = {**TASKS["answers"], "generation_kwargs": {"until": ["\n"], "do_sample": True, "temperature": 0.7,
                                                         "max_gen_toks": 4}}  # fmt: skip
    other = write_study(tmp_path / "sampled", {"sampled": sampled})
    folder = write_model(tmp_path / "windowed", kind="mistral", sliding_window=16)
    document = evaluate(other, folder, "sampled", out="a")["sampled"]
    assert document["config"]["scorer"]["reason"] == "answers are sampled"
    windowed = evaluate(study, folder, "choice_3_first", out="b", limit=2)["choice_3_first"]
    assert "sliding window of 16" in windowed["config"]["scorer"]["reason"]
    recurrent = write_model(
        tmp_path / "recurrent", kind="mamba", state_size=8, num_key_value_heads=None, use_mambapy=False
    )
    document = evaluate(study, recurrent, "letters", out="c", limit=2)["letters"]
    assert "does not take position_ids" in document["config"]["scorer"]["reason"]
    assert document["results"]["letters"]["sample_len"] == 2


@pytest.mark.slow
def test_smollm2_scores_are_those_of_the_harness(tmp_path: Path, study, evaluate):
    from release_kit.sft.prepare.bases import prepare_base

    folder = tmp_path / "base"
    prepare_base("smollm2", {"source": "smollm2"}, folder, "this test")
    for task in ("choice_3_first", "prose", "answers"):
        fast = evaluate(study, folder, task, out="fast", limit=8)[task]["results"][task]
        slow = evaluate(study, folder, task, out="slow", limit=8, harness="lm-eval", batch_size=1)[task]
        for key, value in slow["results"][task].items():
            if "," in key and "_stderr" not in key:
                assert fast[key] == pytest.approx(value, abs=SCORE_TOLERANCE, rel=1e-6), (task, key)


def write_adapter(model_folder: Path, folder: Path) -> Path:
    """Write a LoRA adapter whose both factors are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, config)
    model.save_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 4
    return folder
