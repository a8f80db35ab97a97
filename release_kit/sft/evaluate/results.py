"""From answers to a results file in the harness's own shape: metrics by the harness, standard errors always.

Owns the loop over documents and filters, the share of answers from which nothing was extracted, and the JSON. No clock
and no path stands in it, so equal answers give equal bytes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core import canonical
from release_kit.sft.evaluate import harness
from release_kit.sft.evaluate.tasks import GENERATION, PreparedTask

EXTRACTION_FAILURE = "extraction_failure"
"""Metric beside the scores of every generated answer: the share from which the filter took nothing."""
FALLBACK = "[invalid]"
"""What the harness's extraction filters return when nothing matches."""
EXTRACTORS = ("regex", "regex_pos", "multi_choice_regex")
BOOTSTRAP_DRAWS = 200
BOOTSTRAP_SEED = 20_250_614
ANALYTIC, BOOTSTRAP = "analytic", "bootstrap"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One document under one filter."""

    doc_id: int
    doc_sha256: str
    filter: str
    target: str
    responses: tuple[Any, ...]
    """Of each request: (log-likelihood, greedy), a log-likelihood, or a text."""
    extracted: str | None
    """What the filter made of a generated answer."""
    extraction_failed: bool | None
    metrics: Mapping[str, Any]
    """Metric → the harness's value for this document (what its aggregation takes)."""


def collect_samples(prepared: PreparedTask, answers: Sequence[Sequence[Any]]) -> list[Sample]:
    """Score the answers with the task's own filters and metrics.

    Args:
        prepared: the task.
        answers: of each request, in order, one answer a repeat.
    """
    for instance, given in zip(prepared.instances, answers, strict=True):
        instance.resps, instance.filtered_resps = list(given), {}
    prepared.task.apply_filters()
    by_document = defaultdict(list)
    for instance in prepared.instances:
        by_document[instance.doc_id].append(instance)
    samples = []
    for selected in prepared.instances[0].filtered_resps:
        fallback = _fallback(prepared.config, selected)
        for doc_id, instances in by_document.items():
            instances.sort(key=lambda instance: instance.idx)
            samples.append(_sample(prepared, doc_id, instances, selected, fallback))
    return samples


def results_document(prepared: PreparedTask, samples: Sequence[Sample], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of one task as the harness would write them.

    Args:
        prepared: the task.
        samples: from ``collect_samples``.
        facts: what made the answers; stands under ``config``.
    """
    name, measured, methods = prepared.name, {}, {}
    for (metric, selected), values in _by_metric(samples).items():
        aggregation = _aggregation(prepared.task, metric)
        key = f"{metric},{selected}"
        stderr, method = standard_error(aggregation, values)
        measured[key] = _finite(_guarded(aggregation, values))
        measured[f"{metric}_stderr,{selected}"] = "N/A" if stderr is None else stderr
        methods[key] = method
    n_documents = len({sample.doc_id for sample in samples})
    better = dict(prepared.task.higher_is_better())
    if prepared.request_type == GENERATION:
        better[EXTRACTION_FAILURE] = False
    return {
        "results": {name: {"name": name, "alias": _alias(prepared), "sample_len": n_documents, **measured}},
        "group_subtasks": {},
        "configs": {name: prepared.config},
        "versions": {name: prepared.task.VERSION},
        "n-shot": {name: prepared.config.get("num_fewshot", 0)},
        "higher_is_better": {name: better},
        "n-samples": {name: {"original": len(prepared.task.eval_docs), "effective": n_documents}},
        "config": {**facts, "stderr_method": {name: methods}},
        "lm_eval_version": harness.version(),
    }


def results_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the bytes of a results file."""
    return canonical.document_bytes(document)


def standard_error(aggregation: Callable, values: Sequence[Any]) -> tuple[float | None, str | None]:
    """Return the standard error of ``aggregation(values)`` and how it was found.

    The harness's closed form for means; the delta method for ratios and perplexities (with ``R = sum l / sum w``,
    ``var R = sum (l_i - R w_i)^2 / (n (n - 1) mean(w)^2)``); else a bootstrap of 200 draws with a fixed seed. None
    with fewer than two documents.
    """
    if len(values) < 2:
        return None, None
    closed = harness.analytic_stderr(aggregation) or _CLOSED.get(getattr(aggregation, "__name__", ""))
    if closed is not None:
        return _finite(_guarded(closed, values)), ANALYTIC
    import numpy as np

    draws = np.random.Generator(np.random.PCG64(BOOTSTRAP_SEED)).integers(
        0, len(values), (BOOTSTRAP_DRAWS, len(values))
    )
    drawn = [_guarded(aggregation, [values[i] for i in draw]) for draw in draws.tolist()]
    kept = [value for value in drawn if math.isfinite(value)]
    return (float(np.std(kept, ddof=1)), BOOTSTRAP) if len(kept) > 1 else (None, None)


def _sample(
    prepared: PreparedTask, doc_id: int, instances: Sequence[Any], selected: str, fallback: str | None
) -> Sample:
    document = instances[0].doc
    filtered = [instance.filtered_resps[selected] for instance in instances]
    metrics = dict(prepared.task.process_results(document, filtered))
    extracted = failed = None
    if prepared.request_type == GENERATION:
        extracted = filtered[0] if isinstance(filtered[0], str) else canonical.canonical_bytes(filtered[0]).decode()
        failed = _failed(filtered[0], fallback)
        metrics[EXTRACTION_FAILURE] = float(failed)
        if prepared.uses_executed_tests:
            from release_kit.sft.evaluate.code_tests import document_passes

            metrics[harness.EXECUTED_TESTS] = float(document_passes(document, filtered[0]))
    return Sample(
        doc_id=doc_id,
        doc_sha256=prepared.documents[doc_id],
        filter=selected,
        target=str(prepared.task.doc_to_target(document)),
        responses=tuple(response for instance in instances for response in instance.resps),
        extracted=extracted,
        extraction_failed=failed,
        metrics={metric: _plain(value) for metric, value in metrics.items()},
    )


def _fallback(config: Mapping[str, Any], selected: str) -> str | None:
    """Return what the filter writes when it extracts nothing; None for a filter that extracts nothing ever."""
    for entry in config.get("filter_list") or []:
        if entry.get("name") == selected:
            for function in entry.get("filter", []):
                if function.get("function") in EXTRACTORS:
                    return str(function.get("fallback", FALLBACK))
    return None


def _failed(filtered: Any, fallback: str | None) -> bool:
    texts = [filtered] if isinstance(filtered, str) else [text for text in filtered if isinstance(text, str)]
    return all(not text.strip() or (fallback is not None and text.lower() == fallback.lower()) for text in texts)


def _by_metric(samples: Sequence[Sample]) -> dict[tuple[str, str], list[Any]]:
    values = defaultdict(list)
    for sample in samples:
        for metric, value in sample.metrics.items():
            values[(metric, sample.filter)].append(value)
    return dict(values)


def _aggregation(task: Any, metric: str) -> Callable:
    return task.aggregation().get(metric, harness.mean_aggregation())


def _alias(prepared: PreparedTask) -> str:
    return prepared.config.get("task_alias") or prepared.name


def _guarded(function: Callable, values: Sequence[Any]) -> float:
    """Return ``function(values)``, NaN where it is not defined (a sample without both classes, an overflow)."""
    try:
        return float(function(list(values)))
    except (ZeroDivisionError, OverflowError, ValueError, IndexError):
        return math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's own, inside tuples and lists too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(item) for item in value)
    return value


def _ratio_error(values: Sequence[tuple[float, float]]) -> float:
    """Return the standard error of ``sum l / sum w`` by the delta method."""
    n = len(values)
    mean_weight = math.fsum(weight for _, weight in values) / n
    ratio = math.fsum(value for value, _ in values) / (n * mean_weight)
    squares = math.fsum((value - ratio * weight) ** 2 for value, weight in values)
    return math.sqrt(squares / (n * (n - 1))) / mean_weight


def _perplexity_error(values: Sequence[tuple[float, float]]) -> float:
    ratio = math.fsum(value for value, _ in values) / math.fsum(weight for _, weight in values)
    return math.exp(-ratio) * _ratio_error(values)


def _brier_error(values: Sequence[tuple[int, Sequence[float]]]) -> float:
    """Return the standard error of the mean of ``sum_c (p_c - [c = gold])^2``."""
    terms = [math.fsum((p - (c == gold)) ** 2 for c, p in enumerate(chances)) for gold, chances in values]
    mean = math.fsum(terms) / len(terms)
    return math.sqrt(math.fsum((term - mean) ** 2 for term in terms) / (len(terms) - 1) / len(terms))


_CLOSED: dict[str, Callable[[Sequence[Any]], float]] = {
    "weighted_perplexity": _perplexity_error,
    "bits_per_byte": lambda values: _ratio_error(values) / math.log(2),
    "brier_score": _brier_error,
    "perplexity": lambda values: _perplexity_error([(value, 1.0) for value in values]),
}
