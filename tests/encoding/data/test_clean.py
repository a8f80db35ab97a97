"""Cleaning takes out what it says, voxel by voxel, and no voxel that cannot be scored passes unseen."""

import encoding_data_factory as files
import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import UsageError
from release_kit.encoding.data.clean import _TILE, CleanSettings, clean, inspect
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.problems import DataError
from release_kit.encoding.data.responses import collect_responses
from release_kit.encoding.data.samples import SampleRule, plan_samples

ALL = ResponsesSpec(derivative="clean")


def _plain_median(column: np.ndarray, width: int) -> np.ndarray:
    """Return the running median by its definition, the ends mirrored."""
    half = width // 2
    longer = np.concatenate([column[:half][::-1], column, column[::-1][:half]])
    return np.array([np.median(longer[v : v + width]) for v in range(len(column))])


@given(
    n=st.integers(5, 80), tr_s=st.sampled_from([0.72, 1.0, 2.0]), window_s=st.floats(3, 200), seed=st.integers(0, 99)
)
def test_median_detrend_is_the_running_median_of_its_definition(n, tr_s, window_s, seed):
    y = np.random.default_rng(seed).normal(50, 3, (n, 3)).astype(np.float32)
    width = min(2 * int(window_s / tr_s / 2) + 1, n if n % 2 else n - 1)
    centred = y.astype(np.float64) - y.mean(axis=0, dtype=np.float64)
    expected = np.stack([c - _plain_median(c, width) for c in centred.T], axis=1)
    found = clean(y, tr_s, CleanSettings(window_s=window_s))
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-5)


def test_cosine_detrend_removes_slow_cosines_and_keeps_fast_ones():
    n, tr_s = 200, 2.0
    y = np.random.default_rng(1).normal(0, 1, (n, 6)).astype(np.float32)
    found = clean(y, tr_s, CleanSettings(detrend="cosine", window_s=120.0))
    before, after = (scipy.fft.dct(each.astype(np.float64), axis=0, norm="ortho") for each in (y, found))
    slow = int(2 * n * tr_s / 120.0)
    assert np.abs(after[: slow + 1]).max() < 1e-5
    assert np.allclose(after[slow + 1 :], before[slow + 1 :], atol=1e-5)


def test_the_mean_alone_can_be_taken_out_or_left():
    y = np.random.default_rng(2).normal(7, 1, (40, 4)).astype(np.float32)
    assert np.allclose(clean(y, 1.0, CleanSettings(detrend="none")), y - y.mean(0), atol=1e-5)
    assert np.array_equal(clean(y, 1.0, CleanSettings(detrend="none", center=False)), y)


@pytest.mark.parametrize("detrend", ["median", "cosine", "none"])
def test_what_cannot_be_scored_is_nan_or_zero_and_its_neighbours_are_untouched(detrend):
    y = np.random.default_rng(3).normal(0, 1, (60, _TILE + 5)).astype(np.float32)
    settings = CleanSettings(detrend=detrend, window_s=20)
    expected = clean(y, 1.0, settings)
    y[4, 1], y[7, _TILE + 1], y[:, 2] = np.nan, np.inf, 1234.5678
    found = clean(y, 1.0, settings)
    assert np.isnan(found[:, [1, _TILE + 1]]).all() and (found[:, 2] == 0).all()
    others = np.setdiff1d(np.arange(y.shape[1]), [1, 2, _TILE + 1])
    assert np.array_equal(found[:, others], expected[:, others])


def test_cleaning_does_not_depend_on_which_voxels_are_cleaned_together():
    y = np.random.default_rng(4).normal(0, 1, (50, 40)).astype(np.float32)
    settings = CleanSettings(window_s=15)
    parts = [clean(y[:, k : k + 7], 1.0, settings) for k in range(0, 40, 7)]
    assert np.array_equal(np.concatenate(parts, axis=1), clean(y, 1.0, settings))


def test_voxels_that_cannot_be_scored_are_counted():
    y = np.random.default_rng(5).normal(0, 1, (20, 6))
    y[:, 0], y[3, 1], y[4, 1], y[:10, 2] = 5.0, np.nan, np.inf, 0.0
    report = inspect(y, (slice(0, 10), slice(10, 20)))
    assert report.constant.tolist() == [True, *[False] * 5]
    assert report.nonfinite.tolist() == [False, True, *[False] * 4]
    assert report.constant_in_run.tolist() == [2, 0, 1, 0, 0, 0]
    assert report.usable.sum() == 4
    assert report.text == (
        "of 6 voxels, 1 voxel never change; 1 voxel hold values that are no numbers; "
        "1 voxel do not change in some of 2 runs"
    )
    assert inspect(y[:, 3:]).text == ""


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match=r"detrend 'medain' is not known.*median"):
        CleanSettings(detrend="medain")
    with pytest.raises(UsageError, match="window_s is 0"):
        CleanSettings(window_s=0)


def test_runs_are_cleaned_whole_and_then_picked(write_dataset):
    written = write_dataset()
    dataset = open_dataset(written.root, ALL)
    samples = plan_samples(dataset.runs("01"), SampleRule(drop_start_s=5))
    settings = CleanSettings(window_s=11)
    read: list[str] = []
    y = collect_responses(dataset, "01", samples, settings, progress=read.append)
    assert read == list(samples.runs)
    for part in samples.borders:
        run = samples.runs[samples.run[part.start]]
        whole = clean(written.values["01", run].reshape(files.N_VOLUMES, -1), 1.0, settings)
        assert np.array_equal(y[part], whole[samples.volume[part]])
    some = np.zeros(24, bool)
    some[[3, 8]] = True
    assert np.array_equal(collect_responses(dataset, "01", samples, settings, voxels=some), y[:, [3, 8]])


def test_every_run_that_breaks_off_is_named(write_dataset):
    written = write_dataset()
    dataset = open_dataset(written.root, ALL)
    samples = plan_samples(dataset.runs("01"), SampleRule(drop_start_s=5))
    for run in ("crown_run-02", "glee_run-01"):
        path = next(written.root.glob(f"derivatives/clean/sub-01/func/*{run}*"))
        path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError) as caught:
        collect_responses(dataset, "01", samples, CleanSettings())
    assert [problem.run for problem in caught.value.problems] == ["task-crown_run-02", "task-glee_run-01"]
