"""Grids with planted effects: what the statistics must recover, at their nominal coverage.

The model of one gain: gain = mean + base + dataset + base·dataset + slope · log perplexity + (LoRA ? lora + lora·base)
+ run + epoch, every part but mean, slope and lora a normal random effect. Epochs lie in runs, runs (seeds) in
base x dataset x method. Owns the generator and the coverage count; nothing here reads a study.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.intervals import mean_estimate, smooth_estimate
from release_kit.sft.analysis.partial import partial_correlation, partial_slope


@dataclass(frozen=True, kw_only=True)
class Planted:
    """The true effects and sizes of a simulated grid; standard deviations end in ``_sd``."""

    n_bases: int = 11
    n_datasets: int = 10
    n_seeds: int = 3
    n_epochs: int = 3
    mean: float = 2.0
    lora: float = 1.0
    """How much better LoRA is on average."""
    slope: float = -1.5
    """Gain for one unit of log perplexity."""
    base_sd: float = 2.0
    dataset_sd: float = 1.0
    interaction_sd: float = 1.0
    lora_sd: float = 1.0
    run_sd: float = 0.7
    epoch_sd: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A simulated grid in long form; every array is (n_cells,)."""

    base: np.ndarray
    dataset: np.ndarray
    lora: np.ndarray
    """True where the method is LoRA."""
    seed: np.ndarray
    epoch: np.ndarray
    run: np.ndarray
    log_perplexity: np.ndarray
    gain: np.ndarray


def simulate(planted: Planted, rng: np.random.Generator) -> Grid:
    """Return one grid drawn from ``planted``."""
    shape = (planted.n_bases, planted.n_datasets, 2, planted.n_seeds, planted.n_epochs)
    base, dataset, lora, seed, epoch = (axis.ravel() for axis in np.indices(shape))
    run = np.ravel_multi_index((base, dataset, lora, seed), shape[:4])
    n_bases, n_datasets = shape[:2]
    # Perplexity has parts of base and dataset too: without taking bases out, it would look like a base effect.
    # The datasets are the same for every base: their effects are centred, so that the mean is of these datasets.
    perplexity = rng.normal(size=(n_bases, 1)) + _centred(rng.normal(size=(1, n_datasets))) + rng.normal(size=shape[:2])
    gain = planted.mean + planted.base_sd * rng.normal(size=n_bases)[base]
    gain = gain + planted.dataset_sd * _centred(rng.normal(size=n_datasets))[dataset]
    gain = gain + planted.interaction_sd * rng.normal(size=shape[:2])[base, dataset]
    gain = gain + planted.slope * perplexity[base, dataset]
    gain = gain + lora * (planted.lora + planted.lora_sd * rng.normal(size=n_bases)[base])
    gain = gain + planted.run_sd * rng.normal(size=int(run.max()) + 1)[run]
    gain = gain + planted.epoch_sd * rng.normal(size=len(base))
    return Grid(
        base=base,
        dataset=dataset,
        lora=lora.astype(bool),
        seed=seed,
        epoch=epoch,
        run=run,
        log_perplexity=perplexity[base, dataset],
        gain=gain,
    )


def _centred(effects: np.ndarray) -> np.ndarray:
    return effects - effects.mean()


def estimate_mean(grid: Grid) -> Estimate:
    """Return the mean gain of full fine-tuning, over bases."""
    full = ~grid.lora
    return mean_estimate(grid.gain[full], codes_of(grid.base[full].tolist())[0], over="base_model")


def estimate_lora(grid: Grid) -> Estimate:
    """Return the mean difference LoRA - full over pairs, over bases."""
    full = ~grid.lora
    difference = grid.gain[grid.lora] - grid.gain[full]
    return mean_estimate(difference, codes_of(grid.base[full].tolist())[0], over="base_model")


def estimate_slope(grid: Grid) -> Estimate:
    """Return the slope of gain on log perplexity given base and method, over bases and datasets."""
    groups = grid.base * 2 + grid.lora
    statistic = partial_slope(grid.log_perplexity, grid.gain, groups)
    return smooth_estimate(statistic, [grid.base, grid.dataset], over="base_model x dataset", n=len(grid.gain))


def estimate_r(grid: Grid) -> Estimate:
    """Return the partial correlation of log perplexity with gain given base and method, over bases and datasets."""
    groups = grid.base * 2 + grid.lora
    statistic = partial_correlation(grid.log_perplexity, grid.gain, groups)
    units = [grid.base, grid.dataset]
    return smooth_estimate(statistic, units, over="base_model x dataset", n=len(grid.gain), fisher=True)


ESTIMATORS: Mapping[str, tuple[Callable[[Grid], Estimate], Callable[[Planted], float]]] = {
    "mean": (estimate_mean, lambda planted: planted.mean),
    "lora": (estimate_lora, lambda planted: planted.lora),
    "slope": (estimate_slope, lambda planted: planted.slope),
}
"""Quantity → (estimator, what it must recover)."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the intervals of one quantity held the planted value."""

    n_replicates: int
    n_covered: int
    bias: float
    """Mean of estimate minus truth."""
    width: float
    """Mean width of the intervals."""

    @property
    def share(self) -> float:
        """Return the covered share."""
        return self.n_covered / self.n_replicates


def coverage(
    planted: Planted,
    estimator: Callable[[Grid], Estimate],
    truth: float,
    *,
    n_replicates: int,
    seed: int = 0,
) -> Coverage:
    """Return how often the estimator's interval covers ``truth`` over fresh grids."""
    rng = np.random.default_rng(seed)
    estimates = [estimator(simulate(planted, rng)) for _ in range(n_replicates)]
    errors = np.array([estimate.value - truth for estimate in estimates])
    ends = np.array([[estimate.low, estimate.high] for estimate in estimates], dtype=float)
    inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return Coverage(
        n_replicates=n_replicates,
        n_covered=int(inside.sum()),
        bias=float(errors.mean()),
        width=float((ends[:, 1] - ends[:, 0]).mean()),
    )
