"""Intervals equal resampling by hand, cover the truth as often as they say, and see the same draws in every model."""

from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from release_kit.encoding.errors import FitError
from release_kit.encoding.partition.bootstrap import block_bootstrap
from release_kit.encoding.partition.sets import partition, unique

RUNS = (slice(0, 33), slice(33, 80))
A, B, BOTH = frozenset("a"), frozenset("b"), frozenset("ab")


def case(n_voxels: int = 5, seed: int = 0) -> tuple[np.ndarray, dict]:
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2, 80, n_voxels))
    y = 3 + parts.sum(axis=0) + rng.standard_normal((80, n_voxels))
    return y.astype(np.float32), {A: 3 + parts[0], B: 3 + parts[1], BOTH: 3 + parts.sum(axis=0)}


def by_hand(y: np.ndarray, predicted: np.ndarray, metric: str) -> np.ndarray:
    if metric == "r":
        return np.array([np.corrcoef(y[:, v], predicted[:, v])[0, 1] for v in range(y.shape[1])])
    return 1 - ((y - predicted) ** 2).mean(axis=0) / y.var(axis=0)


@pytest.mark.parametrize("metric", ["r2", "r"])
def test_intervals_equal_resampling_by_hand(metric: str):
    y, predictions = case()
    region = np.array([True, True, False, False, True])
    found = block_bootstrap(
        y, predictions, RUNS, partial(unique, bands=("a", "b")), regions={"left": region}, metric=metric, block=10, n=60
    )
    blocks = [np.arange(start, min(start + 10, run.stop)) for run in RUNS for start in range(run.start, run.stop, 10)]
    assert found.n_blocks == len(blocks) == 9
    drawn = np.random.default_rng([0, 3]).integers(0, 9, size=(60, 9))
    resamples = []
    for places in [range(9), *drawn]:
        rows = np.concatenate([blocks[k] for k in places])
        score = {union: by_hand(y[rows].astype(float), p[rows], metric) for union, p in predictions.items()}
        resamples.append(score[BOTH] - score[B])
    values = np.array(resamples)
    interval = found.voxels["unique:a"]
    np.testing.assert_allclose(interval.estimate, values[0], atol=1e-6)
    reach = stats.t.ppf(0.975, 8) * np.sqrt(9 / 8)
    half = reach * values[1:].std(axis=0, ddof=1)
    np.testing.assert_allclose(interval.low, values[0] - half, atol=1e-6)
    np.testing.assert_allclose(interval.high, values[0] + half, atol=1e-6)
    mean = found.means["left", "unique:a"]
    assert float(mean.estimate) == pytest.approx(values[0, region].mean(), abs=1e-6)
    spread = values[1:, region].mean(axis=1).std(ddof=1)
    assert float(mean.high) == pytest.approx(values[0, region].mean() + reach * spread, abs=1e-6)
    assert found.counted == {"left": 3}


def test_tiles_change_nothing_and_the_same_seed_gives_the_same_bytes():
    y, predictions = case(n_voxels=23)
    ask = partial(block_bootstrap, y, predictions, RUNS, partial(partition, bands=("a", "b")), block=10, n=30)
    everywhere = {"all": np.ones(23, bool)}
    whole, tiled = ask(regions=everywhere), ask(regions=everywhere, tile=4)
    for name, interval in whole.voxels.items():
        np.testing.assert_allclose(tiled.voxels[name].high, interval.high, atol=1e-12)
        mine = whole.means["all", name]
        assert float(tiled.means["all", name].low) == pytest.approx(float(mine.low), abs=1e-12)
    again = ask(regions=everywhere)
    assert all(again.voxels[name].low.tobytes() == one.low.tobytes() for name, one in whole.voxels.items())
    assert ask(seed=1).voxels["unique:a"].low.tobytes() != whole.voxels["unique:a"].low.tobytes()


@pytest.mark.parametrize("n_blocks", [6, 12, 40])
def test_the_interval_covers_the_truth_as_often_as_it_says_with_few_blocks_too(n_blocks: int):
    rng = np.random.default_rng(n_blocks)
    n_samples = 20 * n_blocks
    voxels, regions = [], []
    for draw in range(200):
        common, own, noise = rng.standard_normal((3, n_samples, 10))
        y = (common + own + noise).astype(np.float32)
        found = block_bootstrap(
            y, {A: common, BOTH: common + own}, [slice(0, n_samples)], lambda s: {"own": s[BOTH] - s[A]},
            regions={"all": np.ones(10, bool)}, block=20, n=200, seed=draw,
        )  # fmt: skip
        interval, mean = found.voxels["own"], found.means["all", "own"]
        voxels.append(((interval.low <= 1 / 3) & (interval.high >= 1 / 3)).mean())
        regions.append(float(mean.low) <= 1 / 3 <= float(mean.high))
    # Voxels of a draw are independent here; four standard errors either way, and .01 for the form of R².
    assert abs(np.mean(voxels) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000) + 0.01
    assert binom.ppf(0.0005, 200, 0.95) <= sum(regions) <= binom.ppf(0.9995, 200, 0.95)


def test_voxels_without_a_score_are_left_out_of_means():
    y, predictions = case()
    y[:, 1] = 1234.5
    regions = {"all": np.ones(5, bool), "none": np.array([False, True, False, False, False])}
    found = block_bootstrap(y, {A: predictions[A]}, RUNS, lambda s: {"a": s[A]}, regions=regions, block=10, n=20)
    assert np.isnan(found.voxels["a"].estimate).tolist() == [False, True, False, False, False]
    assert np.isfinite(float(found.means["all", "a"].low)) and np.isnan(float(found.means["none", "a"].low))
    assert found.counted == {"all": 4, "none": 0}


def test_what_cannot_be_resampled_is_named():
    y, predictions = case()
    with pytest.raises(FitError, match="2 blocks in 80 held-out samples, expected at least 5"):
        block_bootstrap(y, predictions, RUNS, dict, block=50)
    with pytest.raises(FitError, match="3 resamples, an interval needs at least 10"):
        block_bootstrap(y, predictions, RUNS, dict, block=10, n=3)
    with pytest.raises(FitError, match=r"a\+b: predicts \(79, 5\), but \(80, 5\) was measured"):
        block_bootstrap(y, {BOTH: predictions[BOTH][1:]}, RUNS, dict, block=10)


def test_without_resamples_the_estimates_are_the_same_and_have_no_ends():
    y, predictions = case()
    region = {"all": np.ones(5, bool)}
    with_ends = block_bootstrap(y, predictions, RUNS, partial(unique, bands=("a", "b")), regions=region, block=10, n=20)
    alone = block_bootstrap(y, predictions, RUNS, partial(unique, bands=("a", "b")), regions=region, block=79, n=0)
    for name, interval in alone.voxels.items():
        np.testing.assert_allclose(interval.estimate, with_ends.voxels[name].estimate, atol=1e-9)
        assert np.isnan(interval.low).all() and np.isnan(interval.high).all()
        mean = alone.means["all", name]
        assert float(mean.estimate) == pytest.approx(float(with_ends.means["all", name].estimate))
        assert np.isnan(mean.low)
    with pytest.raises(FitError, match="beyond 70 held-out samples"):
        block_bootstrap(y[:70], {A: predictions[A][:70]}, RUNS, lambda s: {"a": s[A]}, n=0)


def test_a_prediction_that_hardly_changes_has_an_r_and_one_that_never_does_has_none():
    y, predictions = case()
    small = (1e-11 * predictions[A]).astype(np.float32)  # as the strongest penalties leave it
    small[:, 1] = 0.25
    found = block_bootstrap(y, {A: small}, RUNS, lambda s: {"a": s[A]}, regions={"all": np.ones(5, bool)}, metric="r",
                            block=10, n=20)  # fmt: skip
    assert found.counted == {"all": 4} and np.isnan(found.voxels["a"].estimate[1])
    kept = [0, 2, 3, 4]
    np.testing.assert_allclose(found.voxels["a"].estimate[kept], by_hand(y, predictions[A], "r")[kept], atol=1e-5)
