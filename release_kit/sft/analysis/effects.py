"""Mean gains: by base x dataset x method (heat maps, over seeds) and by epoch (trajectories, over bases).

Owns the grouping; intervals are ``intervals.py``. One seed gives no interval, and nothing is pooled over it silently.
"""

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import choose_units, mean_estimate
from release_kit.sft.analysis.records import Effect, TrajectoryPoint

_CONDITION = ("dataset", "method", "data_size", "schedule")


def make_effects(frame: GainFrame) -> tuple[Effect, ...]:
    """Return the mean gain of each base x dataset x method x size x schedule on each metric at the last epoch."""
    effects = []
    groups = frame.where(frame.labels("last").astype(bool)).by("base_model", *_CONDITION, "metric")
    for (base, dataset, method, size, schedule, metric), rows in groups.items():
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
            )
        )
    return tuple(effects)


def make_trajectories(frame: GainFrame) -> tuple[TrajectoryPoint, ...]:
    """Return the mean gain by epoch of each dataset x method x size x schedule that has several epochs."""
    points = []
    for (dataset, method, size, schedule, metric), rows in frame.by(*_CONDITION, "metric").items():
        epochs = sorted({gain.epoch for gain in rows.gains if gain.epoch is not None})
        for epoch in epochs if len(epochs) > 1 else ():
            here = rows.having(epoch=epoch)
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
                )
            )
    return tuple(points)


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
