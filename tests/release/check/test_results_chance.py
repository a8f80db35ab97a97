"""Scores below what random answers give: found by n where it is known, by a fixed share of chance where it is not."""

import math
import random

import pytest
from study_factory import change_study

from release_kit.core.chance import BELOW, is_below_chance
from release_kit.core.grid import iter_levels
from release_kit.core.study import MetricRule

FOUR_CHOICES = MetricRule(low=0.0, high=1.0, chance=0.25)
COLUMNS = ["arc", "copa", "nq"]
SOURCE = {
    "format": "csv",
    "path": "scores.csv",
    "factors": {name: name for name in ("base_model", "dataset", "method", "seed")},
    "metrics": [{"column": name, "benchmark": name, "metric": "acc"} for name in COLUMNS],
}


@pytest.mark.parametrize(
    ("value", "n", "below"),
    [
        (0.24, None, False),
        (0.13, None, False),
        (0.12, None, True),
        (0.0, None, True),
        (0.0, 10, False),  # ten wrong answers of ten: guessing does that in 6 % of tables
        (0.0, 100, True),
        (0.15, 50, False),
        (0.15, 1000, True),
        (0.20, 100_000, False),  # certain, but an answer that is always the same letter does that
        (None, 100, False),
        (math.nan, 100, False),
    ],
)
def test_how_low_is_too_low(value, n, below):
    assert is_below_chance(value, n, FOUR_CHOICES) is below


def test_without_a_declared_chance_nothing_is_judged():
    assert not is_below_chance(0.0, 1000, MetricRule(low=0.0, high=1.0))


@pytest.mark.parametrize("n", [20, 60, 200, 1000])
def test_guessing_is_never_reported(n):
    """20,000 scores of pure guessing give no report, as the bound promises less than one in a thousand tables."""
    draw = random.Random(n)
    low = [sum(draw.random() < 0.25 for _ in range(n)) / n for _ in range(20_000 // n * 20)]
    assert not any(is_below_chance(value, n, FOUR_CHOICES, n_judged=len(low)) for value in low)
    assert n < 1000 or min(low) > BELOW * 0.25


def table(make_study, scores):
    """A study with a baseline whose results come from a table; ``scores(levels)`` gives one row."""
    study = make_study(benchmarks=())
    lines = [",".join([*SOURCE["factors"], *COLUMNS])]
    draw = random.Random(1)
    for levels in iter_levels(study):
        values = scores(levels) or [round(30 + 40 * draw.random(), 2) for _ in COLUMNS]
        lines.append(",".join(map(str, [*levels.values(), *values])))
    (study.folder / "scores.csv").write_text("\n".join(lines) + "\n")
    rules = {name: {"acc": {"range": [0, 100], "chance": 25}} for name in COLUMNS}
    return change_study(study, results=[SOURCE], benchmarks=rules)


def test_baseline_far_below_chance_is_an_error_with_its_row(make_study, only):
    study = table(make_study, lambda at: [0.3, 41.5, 7.25] if at["method"] == "base" else None)
    (found,) = only(study, "result-below-chance", "*method=base seed=0", severity="error")
    assert "2 scores of the baseline" in found.what and found.row
    assert "arc acc 0.3 (chance 25), nq acc 7.25 (chance 25)" in found.what


def varied(levels):
    shift = levels["seed"] + 2.5 * (levels["dataset"] == "lima")
    return [2.11 + shift, 41.5 + 3 * shift, 50.2 - 5 * shift]


def test_other_cells_far_below_chance_are_a_warning_by_metric(make_study, only):
    study = table(make_study, lambda at: varied(at) if at["method"] == "lora" else None)
    (found,) = only(study, "result-below-chance", "arc acc", severity="warning")
    assert "method=lora (" in found.what and "down to 2.11, where random answers give 25" in found.what
