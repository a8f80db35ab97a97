"""One model on the tasks of a study: results and samples of every task, from cached answers where there are some.

Owns the order of the steps and the choice between the fast scorer and the harness. ``evaluate_cell`` is what engine
and command line call; ``rescore`` makes the results again from the samples, without a model.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError
from release_kit.core.files import write_atomic
from release_kit.sft.evaluate import generate, harness, scorer
from release_kit.sft.evaluate.answers import answer_fast
from release_kit.sft.evaluate.harness_run import evaluate_with_harness
from release_kit.sft.evaluate.identity import answer_facts, code_sha256
from release_kit.sft.evaluate.model import EvalModel, OpenModel, open_model
from release_kit.sft.evaluate.results import collect_samples, results_bytes, results_document
from release_kit.sft.evaluate.samples import SUFFIX, check_same_requests, read_samples, samples_table, write_samples
from release_kit.sft.evaluate.tasks import Encoded, PreparedTask, TaskSettings, encode_task, prepare_task
from release_kit.sft.runtime import prepare_runtime
from release_kit.sft.spec.settings import EvaluationSettings

__all__ = ["EvalModel", "evaluate_cell", "rescore"]

OnEvent = Callable[..., None] | None


def evaluate_cell(
    study_folder: Path,
    model: EvalModel,
    settings: EvaluationSettings,
    out: Path,
    *,
    device: str = "cpu",
    on_event: OnEvent = None,
) -> list[Path]:
    """Evaluate one model on every task of ``settings`` and return the results files written into ``out``.

    Answers that were computed before for the same weights, tokenizer, requests and code are not computed again; what
    is written is a pure function of the answers, so a second call changes no byte.

    Args:
        study_folder: holds ``tasks/`` and what the tasks read; the cache lies in its state folder.
        model: the model; see ``EvalModel``.
        settings: tasks, harness, limit, number of examples.
        out: folder of ``<task>.json`` and ``<task>.samples.parquet``.
        device: where the model computes.
        on_event: called as ``on_event(kind, task, done, total)`` with the kinds ``task`` and ``row``.

    Raises:
        StudyError: tasks are missing or cannot be used; all missing ones are named.
        ArtifactError: the model cannot be read, or gives values that are not numbers.
    """
    harness.check_tasks(study_folder, settings.tasks)
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch = prepare_runtime(threads=settings.threads)
    # Deterministic mode writes NaN into all new memory; nothing here reads it before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False
    written = []
    with open_model(model, device=device) as opened:
        for index, name in enumerate(settings.tasks):
            _tell(on_event, "task", name, index, len(settings.tasks))
            written.append(_evaluate_task(study_folder, opened, name, settings, out, on_event))
    return written


def rescore(study_folder: Path, samples: Path, task: str, settings: EvaluationSettings, facts: Mapping) -> bytes:
    """Return the results file that the samples give under the task's metrics of today, without a model.

    Args:
        study_folder: holds the task.
        samples: a ``<task>.samples.parquet``.
        task: its task.
        settings: as at the evaluation (limit, number of examples).
        facts: the ``config`` of the results file that the samples belong to; stands in the new one.

    Raises:
        StudyError: the samples answer other requests than the task makes now.
    """
    prepared = prepare_task(study_folder, task, _task_settings(settings))
    stored = read_samples(samples)
    check_same_requests(stored, prepared, samples)
    kept = {key: value for key, value in facts.items() if key != "stderr_method"}
    return results_bytes(results_document(prepared, collect_samples(prepared, stored.answers), kept))


def _evaluate_task(
    study_folder: Path, opened: OpenModel, name: str, settings: EvaluationSettings, out: Path, on_event: OnEvent
) -> Path:
    """Write the samples and then the results of one task."""
    prepared = prepare_task(study_folder, name, _task_settings(settings))
    encoded = encode_task(prepared, opened.module, opened.tokenizer, opened.tokenizer_sha256)
    reason = _why_not_fast(prepared, encoded, opened, settings)
    facts = answer_facts(prepared, opened, settings)
    path = out / f"{name}.json"
    if reason is not None:
        document, table = evaluate_with_harness(study_folder, prepared, opened, settings, facts, reason)
    else:
        facts["scorer"] = {"name": "fast", "code_sha256": code_sha256()}
        answers, n_tokens = answer_fast(
            study_folder,
            prepared,
            encoded,
            opened,
            facts,
            lambda done, total: _tell(on_event, "row", name, done, total),
        )
        samples = collect_samples(prepared, answers)
        document = results_document(prepared, samples, facts)
        table = samples_table(prepared, samples, n_tokens, {"weights_sha256": opened.weights_sha256})
    write_samples(out / f"{name}{SUFFIX}", table)
    write_atomic(path, results_bytes(document))
    return path


def _why_not_fast(
    prepared: PreparedTask, encoded: Encoded, opened: OpenModel, settings: EvaluationSettings
) -> str | None:
    """Return why the harness itself evaluates this task, None when the fast scorer does."""
    if settings.harness == "lm-eval":
        return "asked for"
    if encoded.refusal is not None:
        return encoded.refusal
    if prepared.config.get("doc_to_image") or prepared.config.get("doc_to_audio"):
        return "the task is not text alone"
    if encoded.prompts and (reason := generate.refusal(opened.module)):
        return reason
    try:
        return scorer.refusal(opened.module, encoded.longest)
    except (RuntimeError, IndexError) as error:
        what = f"cannot compute ({' '.join(str(error).split())[:200]})"
        raise ArtifactError(
            what, where=prepared.name, next_step="check that weights and configuration match"
        ) from error


def _task_settings(settings: EvaluationSettings) -> TaskSettings:
    return TaskSettings(limit=settings.limit, num_fewshot=settings.num_fewshot, max_new_tokens=settings.max_new_tokens)


def _tell(on_event: OnEvent, *event: Any) -> None:
    if on_event is not None:
        on_event(*event)
