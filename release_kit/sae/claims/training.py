"""Claims about training: features are noise at first, then languages separate, then features become bilingual.

The step of the lowest share is chosen on the shares themselves: intervals and p of what is measured there allow for all
steps that it was chosen from. Each claim is judged by count and by mass.
"""

from collections.abc import Mapping

import numpy as np

from release_kit.sae.claims.curves import NEEDED_NULLS, Array, Curves, between, trough, weights_at
from release_kit.sae.claims.estimate import Comparison, over_seeds
from release_kit.sae.claims.judge import StudyClaim, judge

FEWEST_STEPS = 3
"""First, lowest and last can be told apart from three trained steps on."""
MARGIN = 0.05
"""A share at most this far above a null's is no more than the null's."""


def training_claims(curves: Mapping[str, Curves], by: str, uninterpreted: Mapping[str, Array]) -> list[StudyClaim]:
    """Return the three claims about the order of training.

    Args:
        curves: size → shares by ``by``.
        by: count or mass.
        uninterpreted: size → (n_seeds, n_steps, n_layers) share of bilingual features without a granularity, NaN where
            it was not measured; looked at by count only.
    """
    lacking = lacks(curves)
    found: dict[str, list[Comparison]] = {"noise": [], "separate": [], "bilingual": []}
    for size, own in curves.items():
        if len(own.trained) < FEWEST_STEPS:
            lacking.append(f"{FEWEST_STEPS} trained steps of {size} (there are {len(own.trained)})")
            continue
        first, low, last = own.trained[0], trough(own), own.trained[-1]
        choices = len(between(own))
        fall = weights_at(own, first) - weights_at(own, low)
        rise = weights_at(own, last) - weights_at(own, low)
        said = tuple(f"step {own.steps[place]}" for place in (first, low, last))
        found["noise"] += _noise(own, size, first, said[0], uninterpreted.get(size) if by == "count" else None)
        found["separate"] += beyond_nulls(
            own, size, f"share at {said[0]} less the lowest (at {said[1]})", fall, choices
        )
        found["separate"] += _below_nulls(own, size, low, said[1])
        found["bilingual"] += beyond_nulls(
            own, size, f"share at {said[2]} less the lowest (at {said[1]})", rise, choices
        )
    return [
        judge(
            "noise-first",
            "At first, features that fire in both languages are noise: as many as in a model without training.",
            by, found["noise"], lacking=lacking,
        ),
        judge("separate-then", "Then the languages separate: fewer features are bilingual than at first.", by,
              found["separate"], lacking=lacking),
        judge("bilingual-last", "Then features become bilingual: more at the end than when languages were separate.",
              by, found["bilingual"], lacking=lacking),
    ]  # fmt: skip


def lacks(curves: Mapping[str, Curves]) -> list[str]:
    """Return the needed nulls that were not measured, for sizes."""
    if not curves:
        return ["shares of bilingual features"]
    return [
        f"the null {null} of {size}" for size, own in curves.items() for null in NEEDED_NULLS
        if null not in own.nulls or np.isnan(own.nulls[null]).all()
    ]  # fmt: skip


def beyond_nulls(curves: Curves, size: str, what: str, weights: Array, choices: int = 1) -> list[Comparison]:
    """Return a contrast of the real shares, and less the same contrast of every null that is not 0 throughout.

    Args:
        curves: whose. size: its name. what: the contrast in words. weights: of the contrast.
        choices: contrasts that it was chosen from.
    """
    own = curves.contrast(weights)
    found = [over_seeds(what, size, "", own, choices=choices)]
    for null in curves.nulls:
        under = curves.contrast(weights, null)
        if not np.allclose(under, 0, atol=1e-12):
            found.append(over_seeds(what, size, null, own - under, needed=null in NEEDED_NULLS, choices=choices))
    return found


def _noise(
    curves: Curves, size: str, first: int, step: str, uninterpreted: Array | None
) -> list[Comparison]:  # fmt: skip
    at = weights_at(curves, first)
    found = [
        over_seeds(
            f"share under {null}, plus {MARGIN:g}, less the share at {step}", size, "",
            curves.contrast(at, null) + MARGIN - curves.contrast(at), needed=null in NEEDED_NULLS,
        )
        for null in curves.nulls
    ]  # fmt: skip
    if uninterpreted is not None and np.isfinite(uninterpreted).any():
        means = uninterpreted.mean(axis=2)
        what = f"share of bilingual features without a granularity at {step} less that at the last step"
        found.append(over_seeds(what, size, "", means[:, first] - means[:, -1], source="features"))
    return found


def _below_nulls(curves: Curves, size: str, low: int, step: str) -> list[Comparison]:
    at = weights_at(curves, low)
    return [
        over_seeds(
            f"share under {null} less the lowest share (at {step})", size, "",
            curves.contrast(at, null) - curves.contrast(at), needed=null in NEEDED_NULLS,
            choices=len(between(curves)),
        )
        for null in curves.nulls
    ]  # fmt: skip
