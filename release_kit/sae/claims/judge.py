"""The verdict on a claim: all that it says lies above 0, beyond its nulls, over three seeds or more.

Reproduced: every needed comparison is above 0 after Holm's correction within the claim. Not reproduced: at least one is
below 0 after it. Everything else cannot be told, and the sentence says why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from release_kit.core.wording import counted
from release_kit.sae.claims.estimate import FEWEST_SEEDS, Comparison, corrected

Verdict = Literal["reproduced", "not reproduced", "cannot be told"]
REPRODUCED: Verdict = "reproduced"
NOT_REPRODUCED: Verdict = "not reproduced"
UNTOLD: Verdict = "cannot be told"


@dataclass(frozen=True, kw_only=True)
class StudyClaim:
    """A claim of the published study and its verdict here.

    Attributes:
        name: short, the same in every study: ``separate-first``.
        text: what is claimed.
        by: ``count`` of features, their activation ``mass``, or ``loss`` (nats per token).
        detail: which variant of it, as ``add, strength 0.5``; empty where there is one.
        verdict, why: see the module; ``why`` is a sentence with the figures.
        n_seeds: of the needed comparison with the fewest.
        comparisons: all that was looked at; the needed ones decide.
    """

    name: str
    text: str
    by: str
    detail: str
    verdict: Verdict
    why: str
    n_seeds: int
    comparisons: tuple[Comparison, ...]

    @property
    def needed(self) -> tuple[Comparison, ...]:
        """The comparisons that decide."""
        return tuple(one for one in self.comparisons if one.needed)

    @property
    def weakest(self) -> Comparison | None:
        """The needed comparison that speaks least for the claim."""
        known = [one for one in self.needed if math.isfinite(one.value)]
        order = {"against": 0, "open": 1, "for": 2}
        return min(known, key=lambda one: (order[one.outcome], one.low if _known(one) else one.value), default=None)


def judge(
    name: str, text: str, by: str, comparisons: Sequence[Comparison], *, detail: str = "", lacking: Sequence[str] = ()
) -> StudyClaim:
    """Return the verdict on a claim.

    Args:
        name, text, by, detail: see ``StudyClaim``.
        comparisons: differences that the claim says are above 0; corrected here.
        lacking: what the claim needs and the study does not have; with any, it cannot be told.
    """
    found = corrected(comparisons)
    needed = [one for one in found if one.needed]
    n_seeds = min((one.n_seeds for one in needed), default=0)
    common = {"name": name, "text": text, "by": by, "detail": detail, "n_seeds": n_seeds, "comparisons": found}
    if lacking or not needed:
        why = f"needs {'; '.join(lacking) or 'figures that were not measured'}"
        return StudyClaim(**common, verdict=UNTOLD, why=why)
    outcomes = [one.outcome for one in needed]
    n_for, n_against = outcomes.count("for"), outcomes.count("against")
    claim = StudyClaim(**common, verdict=UNTOLD, why="")
    figures = _figures(claim, n_for, n_against)
    if n_seeds < FEWEST_SEEDS:
        few = f"rests on {counted(n_seeds, 'seed')}, and a verdict needs {FEWEST_SEEDS}; {figures}"
        return StudyClaim(**common, verdict=UNTOLD, why=few)
    verdict = REPRODUCED if n_for == len(needed) else NOT_REPRODUCED if n_against else UNTOLD
    return StudyClaim(**common, verdict=verdict, why=figures)


def _figures(claim: StudyClaim, n_for: int, n_against: int) -> str:
    weakest = claim.weakest
    head = (
        f"{n_for} of {counted(len(claim.needed), 'needed difference')} above 0 and {n_against} below, "
        "after Holm's correction"
    )
    if weakest is None:
        return f"{head}; none has a figure"
    unit = " nats per token" if claim.by == "loss" else ""
    return f"{head}; the least favourable: {named(weakest)} {figure_text(weakest)}{unit}"


def named(one: Comparison) -> str:
    """Return what a comparison is: ``small: last step less the lowest, beyond permuted-languages``."""
    return f"{one.size}: {one.what}" + (f", beyond {one.beside}" if one.beside else "")


def figure_text(one: Comparison, decimals: int = 3) -> str:
    """Return ``+0.120 [+0.050, +0.190]``, and what stands in its way where there is no interval."""
    value = f"{one.value:+.{decimals}f}"
    if _known(one):
        return f"{value} [{one.low:+.{decimals}f}, {one.high:+.{decimals}f}]"
    why = "one seed" if one.n_seeds < 2 else "all seeds alike"
    return f"{value} (no interval: {why})"


def _known(one: Comparison) -> bool:
    return math.isfinite(one.low) and math.isfinite(one.high)
