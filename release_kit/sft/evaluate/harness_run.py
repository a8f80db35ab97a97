"""A task evaluated by lm-evaluation-harness itself: because it was asked for, or the fast scorer does not cover it.

Its results are kept as it returns them; its ``config`` (a model's path, clocks, facts of the machine) is replaced by
ours, with digests and the reason. Its samples become the same Parquet file as the fast scorer's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.sft.evaluate import harness
from release_kit.sft.evaluate.cache import Answers
from release_kit.sft.evaluate.identity import code_sha256
from release_kit.sft.evaluate.model import OpenModel
from release_kit.sft.evaluate.results import EXTRACTION_FAILURE, collect_samples, results_document
from release_kit.sft.evaluate.samples import samples_table
from release_kit.sft.evaluate.tasks import GENERATION, PreparedTask
from release_kit.sft.spec.settings import EvaluationSettings


def evaluate_with_harness(
    study_folder: Path,
    prepared: PreparedTask,
    opened: OpenModel,
    settings: EvaluationSettings,
    facts: Mapping[str, Any],
    reason: str,
) -> tuple[dict[str, Any], Any]:
    """Return ``(results document, samples table)`` of one task, evaluated by the harness.

    Its answers are cached under the same facts and its batch size, which changes them.
    """
    facts = {**facts, "scorer": {
        "name": "lm-eval", "reason": reason, "batch_size": settings.batch_size, "code_sha256": code_sha256(),
    }}  # fmt: skip
    store = Answers(study_folder, facts)
    stored = store.read()
    if stored is None:
        task = harness.load_task(
            study_folder, prepared.name, num_fewshot=settings.num_fewshot, max_new_tokens=settings.max_new_tokens
        )
        written, samples = harness.run_lm_eval(
            study_folder, task, opened.module, opened.tokenizer, batch_size=settings.batch_size, limit=settings.limit
        )
        stored = {"written": written, "answers": _answers(samples)}
        store.finish(stored)
    document = dict(stored["written"])
    samples = collect_samples(prepared, [_tupled(answers) for answers in stored["answers"]])
    ours = results_document(prepared, samples, facts)
    document |= {"config": ours["config"], "lm_eval_version": ours["lm_eval_version"]}
    _add_ours(prepared, document, ours)
    table = samples_table(prepared, samples, None, {"weights_sha256": opened.weights_sha256})
    return document, table


def _answers(samples: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the answers to every request, one a repeat, in the order of documents."""
    first = samples[0]["filter"] if samples else None
    ordered = sorted((s for s in samples if s["filter"] == first), key=lambda sample: sample["doc_id"])
    return [list(responses) for sample in ordered for responses in sample["resps"]]


def _tupled(answers: list[Any]) -> list[Any]:
    return [tuple(answer) if isinstance(answer, list) else answer for answer in answers]


def _add_ours(prepared: PreparedTask, document: dict[str, Any], ours: Mapping[str, Any]) -> None:
    """Put beside the harness's values what only we measure: failed extractions, executed tests, missing errors."""
    measured, mine = document["results"][prepared.name], ours["results"][prepared.name]
    for key, value in mine.items():
        metric = key.partition(",")[0].removesuffix("_stderr")
        only_ours = metric in (EXTRACTION_FAILURE, harness.EXECUTED_TESTS)
        if only_ours or ("_stderr," in key and measured.get(key) in (None, "N/A")):
            measured[key] = value
    if prepared.request_type == GENERATION:
        document["higher_is_better"][prepared.name][EXTRACTION_FAILURE] = False
