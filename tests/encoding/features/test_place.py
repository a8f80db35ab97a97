"""Features in the rows of samples: against a slow look at every moment, and against what the published code does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.encoding.arrays import Samples
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.data.samples import PAPER_RULE, SampleRule, plan_samples
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.delays import delayed
from release_kit.encoding.features.place import place, plan_placement, training_bins

N_VOLUMES = 12


def run(title="film", name="1", start_s=0.0, onset_s=0.0, tr_s=1.0, n_volumes=N_VOLUMES, **more) -> RunInfo:
    return RunInfo(
        subject="01", session=None, task=title, run=name, title=title, stim_id=title, n_volumes=n_volumes, tr_s=tr_s,
        stim_start_s=start_s, onset_s=onset_s, **more,
    )  # fmt: skip


def samples_of(runs, used=None, train=None) -> Samples:
    used = used or [range(each.n_volumes) for each in runs]
    return Samples(
        run=np.repeat(np.arange(len(runs)), [len(each) for each in used]).astype(np.int32),
        volume=np.concatenate([np.array(each) for each in used]).astype(np.int32),
        runs=tuple(each.name for each in runs),
        titles=tuple(each.title for each in runs),
        train=np.repeat(train or [True] * len(runs), [len(each) for each in used]),
    )


def counting(n_bins: int, width: int = 1) -> np.ndarray:
    return (np.arange(1, n_bins + 1)[:, None] + 100 * np.arange(width)).astype(np.float32)


def slow(features, runs, samples, delays_ms, bin_ms, tr_ms):
    """Look at every millisecond of every sample (all times are whole milliseconds)."""
    rows = []
    for k in range(samples.n):
        one = runs[samples.run[k]]
        start, onset = round(one.stim_start_s * 1000), round(one.onset_s * 1000)
        end = min(round(one.stim_end_s * 1000), len(features[one.stim_id]) * bin_ms)
        row = []
        for delay in delays_ms:
            first = start + int(samples.volume[k]) * tr_ms - onset - delay
            moments = np.arange(max(first, start), min(first + tr_ms, end))
            values = features[one.stim_id][moments // bin_ms]
            row.append(values.mean(axis=0, dtype=np.float64) if len(moments) else 0 * features[one.stim_id][0])
        rows.append(row)
    return np.array(rows)


@given(
    tr_ms=st.sampled_from([700, 1000, 1500, 2000]),
    bin_ms=st.sampled_from([500, 700, 1000, 3000]),
    delays_ms=st.lists(st.sampled_from([0, 300, 1000, 2000, 4500, 9000]), min_size=1, max_size=3, unique=True),
    starts_ms=st.lists(st.integers(0, 9000), min_size=1, max_size=3),
    onset_ms=st.sampled_from([0, 400, 3000]),
    first_volume=st.integers(0, 5),
)
def test_placing_equals_a_slow_look_at_every_millisecond(tr_ms, bin_ms, delays_ms, starts_ms, onset_ms, first_volume):
    runs = [
        run(name=str(k), start_s=start / 1000, onset_s=onset_ms / 1000, tr_s=tr_ms / 1000)
        for k, start in enumerate(starts_ms)
    ]
    samples = samples_of(runs, [range(first_volume, N_VOLUMES)] * len(runs))
    n_bins = -(-round(max(each.stim_end_s for each in runs) * 1000) // bin_ms)
    features = {"film": np.random.default_rng(0).standard_normal((n_bins, 2)).astype(np.float32)}
    expected = slow(features, runs, samples, delays_ms, bin_ms, tr_ms)
    delays_s = [delay / 1000 for delay in delays_ms]
    placed = place(features, runs, samples, delays_s, "concatenate", bin_ms / 1000)
    np.testing.assert_allclose(placed, expected.reshape(samples.n, -1), atol=2e-6)
    placed = place(features, runs, samples, delays_s, "average", bin_ms / 1000)
    np.testing.assert_allclose(placed, expected.mean(axis=1), atol=2e-6)


def test_bin_as_wide_as_a_volume_is_taken_unchanged():
    features = {"film": np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)}
    runs = [run(start_s=20.0)]
    placed = place(features, runs, samples_of(runs), [4.0], "average", 1.0)
    assert np.array_equal(placed[4:], features["film"][20 : 20 + N_VOLUMES - 4])


def test_delay_reaches_the_seconds_that_are_no_samples_but_never_another_run():
    runs = [run(name="1"), run(name="2", start_s=10.0)]
    samples = samples_of(runs, [range(12), range(5, 12)])
    plan = plan_placement(runs, samples, [4.0, 6.0], "concatenate", 1.0, {"film": 22})
    x = plan.apply({"film": counting(22)})
    assert x[12].tolist() == [12.0, 0.0], "1 s after the run's start, then 1 s before it"
    assert x[13].tolist() == [13.0, 11.0]
    padded = plan.padded()
    assert padded[:, 0].tolist() == [True] * 4 + [False] * 15
    assert padded[:, 1].tolist() == [True] * 6 + [False] * 6 + [True] + [False] * 6
    assert np.array_equal(padded, x == 0)


def published(data: np.ndarray, start: int, end: int) -> np.ndarray:
    """The mean over whole delays of one title's joined rows, by pushing rows down under zeros."""
    rows = np.concatenate([data, np.zeros((end, data.shape[1]))])
    return np.mean([np.roll(rows, shift, axis=0) for shift in range(start, end + 1)], axis=0)[: len(data)]


def test_title_borders_are_what_the_published_code_does():
    runs = [run("a", "1"), run("a", "2", 8.0), run("a", "3", 16.0), run("b", "1"), run("b", "2", 8.0)]
    samples = plan_samples(runs, SampleRule(**{**vars(PAPER_RULE), "drop_start_s": 3.0}))
    random = np.random.default_rng(2)
    features = {title: random.standard_normal((28, 2)).astype(np.float32) for title in "ab"}
    plan = plan_placement(runs, samples, [4.0, 5.0, 6.0], "average", 1.0, {"a": 28, "b": 28}, "title")
    undelayed = place(features, runs, samples, [0.0], "average", 1.0)
    placed, padded = plan.apply(features), plan.padded()
    for title in range(2):
        for train in (True, False):
            rows = (samples.title_of_sample == title) & (samples.train == train)
            np.testing.assert_allclose(placed[rows], published(undelayed[rows], 4, 6), atol=1e-6)
            assert padded[rows].sum(axis=0).tolist() == [4, 5, 6]
    first_of_run_2 = np.flatnonzero(samples.run == 1)[0]
    assert not padded[first_of_run_2].any(), "it sees the end of the run before"
    by_run = plan_placement(runs, samples, [4.0, 5.0, 6.0], "average", 1.0, {"a": 28, "b": 28})
    assert by_run.padded()[first_of_run_2].all()


@given(
    n_rows=st.integers(0, 15),
    cut=st.integers(0, 15),
    delays=st.lists(st.integers(0, 8), min_size=1, max_size=3, unique=True),
    tr_s=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_delayed_equals_a_slow_loop_that_stays_between_borders(n_rows, cut, delays, tr_s):
    x = counting(n_rows, 2)
    borders = [slice(0, min(cut, n_rows)), slice(min(cut, n_rows), n_rows)]
    expected = np.zeros((n_rows, len(delays), 2))
    for part in borders:
        for row in range(part.start, part.stop):
            for k, delay in enumerate(delays):
                if row - delay >= part.start:
                    expected[row, k] = x[row - delay]
    delays_s = [delay * tr_s for delay in delays]
    assert np.array_equal(delayed(x, delays_s, tr_s, borders, "concatenate"), expected.reshape(n_rows, 2 * len(delays)))
    np.testing.assert_allclose(delayed(x, delays_s, tr_s, borders, "average"), expected.mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("delays_s", "kind", "said"),
    [([1.5], "average", "no whole number"), ([-1.0], "average", "each once"), ([2.0, 2.0], "concatenate", "each once"),
     ([], "average", "each once"), ([1.0], "mean", "expected one of concatenate, average")],
)  # fmt: skip
def test_delays_that_are_none_are_refused(delays_s, kind, said):
    with pytest.raises(FeatureError, match=said):
        delayed(counting(4), delays_s, 1.0, [slice(0, 4)], kind)


def test_samples_that_look_at_missing_bins_are_found():
    runs = [run()]
    plan = plan_placement(runs, samples_of(runs), [0.0, 2.0], "average", 1.0, {"film": 12})
    missing = np.zeros(12, bool)
    missing[5] = True
    assert np.flatnonzero(plan.touches({"film": missing})).tolist() == [5, 7]


def test_training_bins_are_those_that_training_samples_look_at():
    runs = [run(name="1"), run(name="2", start_s=10.0)]
    samples = samples_of(runs, [range(6, 12), range(4, 12)], [True, False])
    found = training_bins(runs, samples, [2.0, 3.0], 1.0, {"film": 22})
    assert np.flatnonzero(found["film"]).tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_runs_that_features_do_not_cover_are_all_named():
    runs = [run("a"), run("b"), run("c", n_volumes=30)]
    with pytest.raises(FeatureError) as caught:
        place({"a": counting(12), "c": counting(20)}, runs, samples_of(runs), [1.0], "average", 1.0)
    assert "task-b_run-1: its stimulus b has no features" in caught.value.what
    assert "task-c_run-1: shows c up to 30 s, its features end at 20 s" in caught.value.what
    assert "task-a" not in caught.value.what
    with pytest.raises(FeatureError, match="different width"):
        place(
            {"a": counting(12), "b": counting(12, 2), "c": counting(30)}, runs, samples_of(runs), [1.0], "average", 1.0
        )
