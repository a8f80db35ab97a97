"""Intervals equal resampling by hand, cover the truth as often as they say, and see the same draws in every model."""

from functools import partial

import numpy as np
import pytest

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
    np.testing.assert_allclose(interval.low, np.quantile(values[1:], 0.025, axis=0), atol=1e-6)
    np.testing.assert_allclose(interval.high, np.quantile(values[1:], 0.975, axis=0), atol=1e-6)
    mean = found.means["left", "unique:a"]
    assert float(mean.estimate) == pytest.approx(values[0, region].mean(), abs=1e-6)
    assert float(mean.low) == pytest.approx(np.quantile(values[1:, region].mean(axis=1), 0.025), abs=1e-6)
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


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        signal, noise = rng.standard_normal((2, 400, 20))
        y = (signal + noise).astype(np.float32)
        found = block_bootstrap(y, {A: signal}, [slice(0, 400)], dict, block=10, n=200, seed=int(rng.integers(1 << 30)))
        interval = found.voxels[A]
        covered.append(((interval.low <= 0.5) & (interval.high >= 0.5)).mean())
    # 40 x 20 intervals from 40 blocks: percentile intervals of few blocks are a little short.
    assert 0.88 < np.mean(covered) < 0.98


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
    with pytest.raises(FitError, match=r"a\+b: predicts \(79, 5\), but \(80, 5\) was measured"):
        block_bootstrap(y, {BOTH: predictions[BOTH][1:]}, RUNS, dict, block=10)
