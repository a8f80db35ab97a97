"""Mean gains by base x dataset x method (heat maps, over seeds), by epoch (trajectories), and the spread over seeds.

Owns the grouping; intervals are ``intervals.py``. One seed gives no interval, and nothing is pooled over it silently.
"""

import numpy as np

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import choose_units, mean_estimate, rounded, smooth_estimate
from release_kit.sft.analysis.records import Effect, SeedNoise, TrajectoryPoint

FEWEST_CONDITIONS = 3
_CONDITION = ("dataset", "method", "data_size", "schedule", "others")


def make_effects(frame: GainFrame) -> tuple[Effect, ...]:
    """Return the mean gain of each base x dataset x method x size x schedule on each metric at the last epoch."""
    effects = []
    groups = frame.where(frame.labels("last").astype(bool)).by("base_model", *_CONDITION, "metric")
    for (base, dataset, method, size, schedule, others, metric), rows in groups.items():
        seeds = codes_of(rows.labels("run").tolist())[0]
        effects.append(
            Effect(
                base_model=base,
                dataset=dataset,
                method=method,
                data_size=size,
                schedule=schedule,
                metric=metric,
                gain=mean_estimate(rows.numbers("gain"), seeds, over="seed"),
                doubtful=any(gain.doubtful for gain in rows.gains),
                others=others,
            )
        )
    return tuple(effects)


def make_trajectories(frame: GainFrame) -> tuple[TrajectoryPoint, ...]:
    """Return the mean gain by epoch of each dataset x method x size x schedule that has several epochs."""
    points = []
    for (dataset, method, size, schedule, others, metric), rows in frame.by(*_CONDITION, "metric").items():
        by_epoch = {epoch: here for (epoch,), here in rows.by("epoch").items() if epoch is not None}
        for epoch, here in sorted(by_epoch.items()) if len(by_epoch) > 1 else ():
            over, units = choose_units(here.labels("base_model").tolist(), here.labels("run").tolist())
            points.append(
                TrajectoryPoint(
                    dataset=dataset,
                    method=method,
                    data_size=size,
                    schedule=schedule,
                    metric=metric,
                    epoch=epoch,
                    gain=mean_estimate(here.numbers("gain"), units, over=over),
                    others=others,
                )
            )
    return tuple(points)


def make_seed_noise(frame: GainFrame) -> tuple[SeedNoise, ...]:
    """Return, for each metric with repeated conditions, the spread over seeds and the spread over datasets."""
    found = []
    for (metric,), rows in frame.where(frame.labels("last").astype(bool)).by("metric").items():
        conditions = [
            (key[0], key[2:], group.numbers("gain")) for key, group in rows.by("base_model", *_CONDITION).items()
        ]
        repeated = [(base, values) for base, _, values in conditions if len(values) > 1]
        if len(repeated) >= FEWEST_CONDITIONS:
            spread = _pooled_spread([values for _, values in repeated], [base for base, _ in repeated])
            datasets: dict[tuple, list[float]] = {}
            for base, condition, values in conditions:
                datasets.setdefault((base, condition), []).append(float(values.mean()))
            over_data = [float(np.std(means, ddof=1)) for means in datasets.values() if len(means) > 1]
            mean = rounded(float(np.mean(over_data))) if over_data else 0.0
            found.append(SeedNoise(metric=metric, seed_sd=spread, dataset_sd=mean))
    return tuple(found)


def _pooled_spread(groups: list[np.ndarray], bases: list[str]) -> Estimate:
    """Return √(Σ (x - mean of its group)² / Σ (n - 1)); left out in turn are bases, or groups with few bases."""
    squares = np.array([float(((values - values.mean()) ** 2).sum()) for values in groups])
    free = np.array([len(values) - 1.0 for values in groups])
    over, units = choose_units(bases, [str(i) for i in range(len(groups))])

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.sqrt(weights @ squares / np.maximum(weights @ free, 1e-300))

    n = int(sum(len(values) for values in groups))
    over = over if over == "base_model" else "base x dataset x method"
    return smooth_estimate(statistic, [units], over=over, n=n, clip=(0.0, float("inf")))


def late_less_early(rows: GainFrame) -> tuple[list[float], list[str], list[str]]:
    """Return, for each run, the gain at its last epoch less the mean of its first third of epochs.

    The base score cancels, so doubtful base rows do no harm here.

    Args:
        rows: gains on one metric.

    Returns:
        (differences, bases, runs), one for each run with at least two epochs.
    """
    differences, bases, runs = [], [], []
    for (base, run), cells in rows.by("base_model", "run").items():
        by_epoch = [
            gain for _, gain in sorted((gain.epoch, gain.gain) for gain in cells.gains if gain.epoch is not None)
        ]
        if len(by_epoch) > 1:
            early = by_epoch[: max(1, len(by_epoch) // 3)]
            differences.append(by_epoch[-1] - sum(early) / len(early))
            bases.append(base)
            runs.append(run)
    return differences, bases, runs
