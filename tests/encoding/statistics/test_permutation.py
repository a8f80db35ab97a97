"""Permutation tests are exact: they equal shuffling by hand, hold their level, and no p is ever 0."""

from itertools import permutations

import numpy as np
import pytest
import torch

from release_kit.encoding.errors import FitError
from release_kit.encoding.statistics import permutation
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
        ({"borders": [RUNS[0]], "block": 20, "n": 5, "null": "shift"}, "turned in 4 ways for 5 repetitions"),
        ({"borders": []}, "no held-out runs"),
        ({"predicted": np.zeros((130, 2), np.float32)}, r"\(131, 2\) and predicted \(130, 2\) differ"),
    ],
)
def test_what_cannot_be_permuted_is_named(changes: dict, said: str):
    given = {"y": noise(131, 2, 0), "predicted": noise(131, 2, 1), "borders": RUNS, **changes}
    with pytest.raises(FitError, match=said):
        permutation_test(**given)


def test_p_of_repeated_blocks_counts_every_order_that_reaches_r():
    """Equal blocks make ties: sums in another order must not lose them to rounding."""
    rng = np.random.default_rng(0)
    blocks_p, blocks_y = rng.standard_normal((2, 3, 5, 40)).astype(np.float32)
    predicted, y = blocks_p[[0, 1, 2, 0, 1, 2]].reshape(30, 40), blocks_y[[0, 1, 2, 2, 0, 1]].reshape(30, 40)
    found = permutation_test(y, predicted, [slice(0, 30)], block=5, n=700, seed=1)
    orders = np.random.default_rng([1, 0]).permuted(np.broadcast_to(np.arange(6), (700, 6)), axis=1)
    unit_y, unit_p = ((v - v.mean(0)) / np.linalg.norm(v - v.mean(0), axis=0) for v in (y.astype(float), predicted))
    observed = (unit_y * unit_p).sum(axis=0)
    null = np.array([(unit_y.reshape(6, 5, -1)[order].reshape(30, -1) * unit_p).sum(axis=0) for order in orders])
    assert found.n_exceed.tolist() == (null >= observed - 1e-9).sum(axis=0).tolist()
    assert ((null > observed - 1e-9) & (null < observed + 1e-9)).any(axis=0).all(), "every voxel has ties"


def test_p_converges_to_that_of_all_orders():
    y, predicted = noise(24, 6, 0), noise(24, 6, 1)
    unit_y, unit_p = ((v - v.mean(0)) / np.linalg.norm(v - v.mean(0), axis=0) for v in (y.astype(float), predicted))
    blocks = unit_y.reshape(6, 4, -1)
    every = np.array([(blocks[list(order)].reshape(24, -1) * unit_p).sum(axis=0) for order in permutations(range(6))])
    exact = (every >= every[0] - 1e-9).mean(axis=0)
    found = permutation_test(y, predicted, [slice(0, 24)], block=4, n=719, seed=0)
    # 719 draws from 720 orders: a share of p has a standard error of at most .019.
    np.testing.assert_allclose(found.p, exact, atol=0.07)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_voxel_is_tested_wherever_it_is_scored(dtype: type):
    y, predicted = noise(131, 4, 0).astype(dtype), noise(131, 4, 1).astype(dtype)
    far = y * dtype(30) + dtype(1e6) if dtype is np.float32 else 1e-3 * y + 1e6
    found, plain = (permutation_test(values, predicted, RUNS, block=7, n=50) for values in (far, y))
    np.testing.assert_allclose(found.r, plain.r, atol=2e-3)
    y[:, 1], y[3, 2] = 0.1, np.inf
    assert np.isnan(permutation_test(y, predicted, RUNS, block=7, n=50).p).tolist() == [False, True, True, False]


def test_many_short_blocks_are_worked_on_within_bounded_memory(monkeypatch: pytest.MonkeyPatch):
    y, predicted = noise(131, 30, 0), noise(131, 30, 1)
    wanted = permutation_test(y, predicted, RUNS, block=1, n=30, across_runs=True)
    monkeypatch.setattr(permutation, "_TABLE_BYTES", 3 * 8 * 131**2)
    found = permutation_test(y, predicted, RUNS, block=1, n=30, across_runs=True)
    np.testing.assert_array_equal(found.p, wanted.p)


def test_r_of_a_perfect_prediction_is_not_above_1():
    y = noise(131, 200, 0)
    found = permutation_test(y, y, RUNS, block=1, n=10)
    assert found.r.max() <= 1 and found.max_null.max() <= 1
