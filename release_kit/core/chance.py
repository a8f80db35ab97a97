"""Scores that guessing cannot explain: one rule for checks of a release and for analyses, which leave them out."""

import math

from release_kit.core.study import MetricRule

BELOW, FAR_BELOW = 0.75, 0.5
"""Share of chance that a score must fall under when its number of answers is known, and when it is not."""

FALSE_ALARMS = 1e-3
"""Expected number of scores of pure guessing that are reported, in a whole table."""


def is_below_chance(value: float | None, n: int | None, rule: MetricRule, *, n_judged: int = 1) -> bool:
    """Return whether a score is lower than guessing can explain.

    With n answers: score < 0.75 chance, and the Chernoff bound exp(-n KL(p || chance)) on the probability of so few
    right answers times ``n_judged`` is below ``FALSE_ALARMS``. Without n: score < 0.5 chance.

    Args:
        value: the score; never true without one.
        n: its answers, where they are known.
        rule: the rule of its metric; never true without ``chance``, or where less is better.
        n_judged: number of scores that are judged together.
    """
    if rule.chance is None or not rule.higher_is_better or value is None or not math.isfinite(value):
        return False
    top = rule.high or (1.0 if rule.chance < 1 else 100.0)
    if not n or rule.chance >= top:
        return value < FAR_BELOW * rule.chance
    if value >= BELOW * rule.chance:
        return False
    divergence = _divergence(max(0.0, value / top), rule.chance / top)
    return n * divergence > math.log(n_judged / FALSE_ALARMS)


def _divergence(p: float, q: float) -> float:
    """Return KL(p || q) of two Bernoulli variables, in nats."""
    right = p * math.log(p / q) if p > 0 else 0.0
    wrong = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return right + wrong
