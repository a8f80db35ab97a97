"""Permutation tests are exact: they equal shuffling by hand, hold their level, and no p is ever 0."""

import numpy as np
import pytest
import torch

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics.permutation import permutation_test

RUNS = (slice(0, 43), slice(43, 80), slice(80, 131))


def noise(n_samples: int, n_voxels: int, seed: int, carry: float = 0.0) -> np.ndarray:
    """AR(1) noise ``(n_samples, n_voxels)``."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_samples, n_voxels))
    for row in range(1, n_samples):
        values[row] = carry * values[row - 1] + np.sqrt(1 - carry**2) * values[row]
    return values.astype(np.float32)


def correlations(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(y[:, k], predicted[:, k])[0, 1] for k in range(y.shape[1])])


@pytest.mark.parametrize("across_runs", [False, True])
def test_blocks_that_change_places_equal_shuffling_by_hand(across_runs: bool):
    y, predicted = noise(131, 7, 0), noise(131, 7, 1)
    found = permutation_test(y, predicted, RUNS, block=5, n=40, seed=3, across_runs=across_runs)
    rng = np.random.default_rng([3, 0])
    counts = [8, 7, 10]
    kept = np.concatenate([np.arange(run.start, run.start + 5 * n) for run, n in zip(RUNS, counts, strict=True)])
    groups = [sum(counts)] if across_runs else counts
    orders = [rng.permuted(np.broadcast_to(np.arange(n), (40, n)), axis=1) for n in groups]
    starts = np.cumsum([0, *groups])
    null = np.empty((40, 7))
    for k in range(40):
        order = np.concatenate([start + order[k] for start, order in zip(starts, orders, strict=False)])
        rows = kept.reshape(-1, 5)[order].reshape(-1)
        null[k] = correlations(y[rows], predicted[kept])
    assert found.n_samples == len(kept) == 125
    np.testing.assert_allclose(found.r, correlations(y[kept], predicted[kept]), atol=2e-6)
    np.testing.assert_allclose(found.max_null, null.max(axis=1), atol=2e-6)
    assert found.n_exceed.tolist() == (null >= found.r - 1e-6).sum(axis=0).tolist()
    assert found.p.tolist() == ((1 + found.n_exceed) / 41).tolist()


def test_shifts_equal_rolling_by_hand():
    y, predicted = noise(131, 4, 0), noise(131, 4, 1)
    found = permutation_test(y, predicted, RUNS, block=6, n=25, seed=5, null="shift")
    rng = np.random.default_rng([5, 1])
    lags = [rng.integers(6, run.stop - run.start - 6 + 1, size=25) for run in RUNS]
    assert all((lag >= 6).all() for lag in lags)
    null = np.empty((25, 4))
    for k in range(25):
        turned = np.concatenate([np.roll(y[run], lag[k], axis=0) for run, lag in zip(RUNS, lags, strict=True)])
        null[k] = correlations(turned, predicted)
    np.testing.assert_allclose(found.r, correlations(y, predicted), atol=2e-6)
    np.testing.assert_allclose(found.max_null, null.max(axis=1), atol=2e-6)


@pytest.mark.parametrize("null", ["block", "shift"])
def test_tiles_and_threads_change_nothing(null: str):
    y, predicted = noise(131, 70, 0), noise(131, 70, 1)
    whole = permutation_test(y, predicted, RUNS, block=7, n=50, null=null, tile=70)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        tiled = permutation_test(y, predicted, RUNS, block=7, n=50, null=null, tile=9)
        assert torch.get_num_threads() == 2, "the number of threads is the caller's"
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(tiled.r, whole.r, atol=1e-6)
    np.testing.assert_array_equal(tiled.p, whole.p)
    np.testing.assert_allclose(tiled.max_null, whole.max_null, atol=1e-6)


@pytest.mark.parametrize(("null", "block", "carry"), [("block", 10, 0.0), ("block", 40, 0.9), ("shift", 40, 0.9)])
def test_the_level_holds_where_there_is_no_signal(null: str, block: int, carry: float):
    y, predicted = noise(2100, 2000, 0, carry), noise(2100, 2000, 1, carry)
    runs = [slice(start, start + 700) for start in (0, 700, 1400)]
    found = permutation_test(y, predicted, runs, block=block, n=199, null=null)
    # 2,000 voxels: three standard errors of a share of .05 are .015.
    assert abs((found.p <= 0.05).mean() - 0.05) < 0.015
    assert abs((found.p <= 0.5).mean() - 0.5) < 0.035


def test_blocks_shorter_than_the_autocorrelation_find_what_is_not_there():
    y, predicted = noise(2100, 2000, 0, 0.9), noise(2100, 2000, 1, 0.9)
    found = permutation_test(y, predicted, [slice(0, 2100)], block=10, n=199)
    assert (found.p <= 0.05).mean() > 0.08, "the reason why blocks of 10 volumes are not the default"


def test_a_signal_is_found_and_p_is_never_0():
    y = noise(131, 3, 0)
    found = permutation_test(y, 2 * y + 5, RUNS, block=5, n=60)
    np.testing.assert_allclose(found.p, 1 / 61)


def test_voxels_that_cannot_be_scored_are_left_out():
    y, predicted = noise(131, 5, 0), noise(131, 5, 1)
    y[:, 0], predicted[:, 1], y[3, 2] = 1234.567, 0, np.nan
    found = permutation_test(y, predicted, RUNS, block=7, n=30)
    assert np.isnan(found.r).tolist() == np.isnan(found.p).tolist() == [True, True, True, False, False]
    alone = permutation_test(y[:, 3:], predicted[:, 3:], RUNS, block=7, n=30)
    np.testing.assert_allclose(found.max_null, alone.max_null, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"block": 20}, "run 1 has 37 held-out samples, expected at least 2 blocks of 20"),
        ({"n": 0}, "0 repetitions"),
        ({"block": 15, "n": 100}, "its blocks have 24 orders for 100 repetitions"),
        ({"predicted": np.zeros((130, 2), np.float32)}, r"\(131, 2\) and predicted \(130, 2\) differ"),
    ],
)
def test_what_cannot_be_permuted_is_named(changes: dict, said: str):
    given = {"y": noise(131, 2, 0), "predicted": noise(131, 2, 1), "borders": RUNS, **changes}
    with pytest.raises(FitError, match=said):
        permutation_test(**given)
