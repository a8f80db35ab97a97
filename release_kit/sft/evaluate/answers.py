"""Answers of the fast scorer to all requests of one task, taken from the cache, or computed and put there.

Works unit by unit (a row of likelihoods, a group of prompts) and journals each, so that a kill costs one unit.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError
from release_kit.sft.evaluate.cache import Answers
from release_kit.sft.evaluate.generate import generate_groups
from release_kit.sft.evaluate.model import OpenModel
from release_kit.sft.evaluate.scorer import score_rows
from release_kit.sft.evaluate.tasks import Encoded, PreparedTask

NOT_ANSWERS = ("task_sha256", "limit", "num_fewshot", "max_new_tokens", "fewshot_seed")
"""Facts that change no answer once the requests are given: metrics may change and answers be used again."""


def answer_fast(
    study_folder: Path,
    prepared: PreparedTask,
    encoded: Encoded,
    opened: OpenModel,
    facts: Mapping[str, Any],
    on_row: Callable[[int, int], None],
) -> tuple[list[list[Any]], list[int]]:
    """Return ``(answers, n_tokens)`` of every request of the task, in its order.

    An answer is (log-likelihood, greedy), the log-likelihood of a whole text, or a text; one a repeat.

    Raises:
        ArtifactError: the model gives values that are not numbers.
    """
    store = Answers(study_folder, {key: value for key, value in facts.items() if key not in NOT_ANSWERS})
    raw = store.read()
    if raw is None:
        raw = _compute(store, prepared, encoded, opened, on_row)
    if encoded.prompts:
        answers, n_tokens = _texts(encoded, raw), [len(tokens) for tokens in raw]
    else:
        answers = _likelihoods(prepared, encoded, raw)
        n_tokens = [sum(len(text.targets) for text in group) for group in _grouped(encoded, encoded.texts)]
    repeats = [instance.repeats or 1 for instance in prepared.instances]
    return [[answer] * n for answer, n in zip(answers, repeats, strict=True)], n_tokens


def _compute(
    store: Answers, prepared: PreparedTask, encoded: Encoded, opened: OpenModel, on_row: Callable[[int, int], None]
) -> list[Any]:
    """Run what no killed evaluation finished, and return the answers to all texts or prompts."""
    done = store.resume()
    units = encoded.groups if encoded.prompts else encoded.rows
    if encoded.prompts:
        work = generate_groups(opened.module, opened.tokenizer, encoded.groups, encoded.prompts, skip=set(done))
    else:
        work = score_rows(opened.module, encoded.rows, encoded.texts, skip=set(done))
    try:
        for unit, answers in work:
            _check(answers, prepared)
            store.add(unit, answers)
            done[unit] = answers
            on_row(len(done), len(units))
    finally:
        store.close()
    together = {request: answer for answers in done.values() for request, answer in answers.items()}
    raw = [together[request] for request in range(len(encoded.prompts or encoded.texts))]
    store.finish(raw)
    return raw


def _check(answers: Mapping[int, Any], prepared: PreparedTask) -> None:
    for answer in answers.values():
        if isinstance(answer[0], float) and not math.isfinite(answer[0]):
            raise ArtifactError(
                f"the model's log-likelihood of a text is {answer[0]}", where=f"task {prepared.name}",
                next_step="its weights hold NaN or infinities; look at the loss of its training",
            )  # fmt: skip


def _grouped(encoded: Encoded, values: Any) -> list[list[Any]]:
    """Cut a list with one entry a text into one list a request."""
    groups, start = [], 0
    for count in encoded.text_counts:
        groups.append(list(values[start : start + count]))
        start += count
    return groups


def _likelihoods(prepared: PreparedTask, encoded: Encoded, raw: list[Any]) -> list[Any]:
    groups = _grouped(encoded, raw)
    if prepared.request_type == "loglikelihood_rolling":
        return [math.fsum(value for value, _ in group) for group in groups]
    return [(float(value), bool(greedy)) for [(value, greedy)] in groups]


def _texts(encoded: Encoded, raw: list[Any]) -> list[str]:
    return [encoded.encoder.answer_text(tokens, prompt) for tokens, prompt in zip(raw, encoded.prompts, strict=True)]
