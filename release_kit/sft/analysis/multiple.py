"""Correction of p values for many tests: Holm, Benjamini-Hochberg, Benjamini-Yekutieli.

Holm bounds the chance of any false claim (used for contrasts, one family a contrast); the other two bound the expected
share of false ones among the claims, Benjamini-Yekutieli under any dependence (used for correlations over metrics that
share cells). Formulas: Holm 1979; Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.intervals import rounded

Adjust = Callable[[np.ndarray], np.ndarray]


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p values: max over j ≤ i of min(1, (m - j + 1) p₍ⱼ₎), in the order of ``p`` (m,)."""
    order, m = np.argsort(p, kind="stable"), len(p)
    stepped = np.maximum.accumulate(np.minimum(1.0, (m - np.arange(m)) * p[order]))
    return _unsorted(stepped, order)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return adjusted p values min over j ≥ i of min(1, m p₍ⱼ₎ / j), in the order of ``p`` (m,)."""
    return _step_up(p, 1.0)


def benjamini_yekutieli(p: np.ndarray) -> np.ndarray:
    """Return the Benjamini-Hochberg values times Σ 1/i, valid under any dependence, in the order of ``p`` (m,)."""
    return _step_up(p, float(np.sum(1 / np.arange(1, len(p) + 1))))


def adjusted(estimates: Sequence[Estimate], adjust: Adjust) -> list[Estimate]:
    """Return the estimates with ``p_adjusted``; those without a p are no part of the family."""
    known = [index for index, estimate in enumerate(estimates) if estimate.p is not None]
    result = list(estimates)
    if known:
        values = adjust(np.array([estimates[index].p for index in known]))
        for index, value in zip(known, values, strict=True):
            result[index] = replace(estimates[index], p_adjusted=rounded(value))
    return result


def _step_up(p: np.ndarray, factor: float) -> np.ndarray:
    order, m = np.argsort(p, kind="stable"), len(p)
    raw = np.minimum(1.0, factor * m * p[order] / np.arange(1, m + 1))
    return _unsorted(np.minimum.accumulate(raw[::-1])[::-1], order)


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    result[order] = values
    return result
