"""Features lose what responses lose: whole runs, after delays, before volumes are dropped; none in the paper's mode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoding_study_factory import ANALYSIS, N_VOLUMES, write_study

from release_kit.encoding.arrays import Samples
from release_kit.encoding.data.clean import CleanSettings, clean
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.pipeline.choices import choices_of
from release_kit.encoding.pipeline.designs import Designs
from release_kit.encoding.pipeline.filtering import fill_gaps, filter_runs, whole_runs
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis

COSINE = ANALYSIS.replace("clean: {detrend: none}", "clean: {detrend: cosine, window_s: 30}")


def info(task: str, n_volumes: int) -> RunInfo:
    return RunInfo(subject="01", session=None, task=task, run="", title="t", stim_id="s", n_volumes=n_volumes, tr_s=1.0,
                   stim_start_s=0.0)  # fmt: skip


def test_samples_are_found_again_among_the_volumes_of_whole_runs():
    samples = Samples(
        run=np.array([0, 0, 2, 2, 2], np.int32), volume=np.array([3, 4, 0, 1, 5], np.int32),
        runs=("task-a", "task-b", "task-c"), titles=("t", "t", "t"), train=np.array([True, True, False, False, False]),
    )  # fmt: skip
    whole, rows = whole_runs(samples, [info("a", 6), info("b", 4), info("c", 7)])
    assert whole.n == 13 and whole.borders == (slice(0, 6), slice(6, 13))
    assert whole.volume[rows].tolist() == samples.volume.tolist() and whole.run[rows].tolist() == [0, 0, 2, 2, 2]
    assert rows.tolist() == [3, 4, 6, 7, 11]


def test_each_run_is_filtered_as_its_responses_are_so_that_a_linear_filter_keeps_the_model():
    runs = [info("a", 80), info("b", 60)]
    samples = Samples(run=np.repeat([0, 1], [70, 50]).astype(np.int32),
                      volume=np.concatenate([np.arange(10, 80), np.arange(10, 60)]).astype(np.int32),
                      runs=("task-a", "task-b"), titles=("t", "t"), train=np.ones(120, bool))  # fmt: skip
    whole, _ = whole_runs(samples, runs)
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((140, 5)), axis=0).astype(np.float32)
    weights = rng.standard_normal((5, 3)).astype(np.float32)
    settings = CleanSettings(detrend="cosine", window_s=40)
    cleaned = np.concatenate([clean((x @ weights)[part], 1.0, settings) for part in whole.borders])
    filtered = filter_runs(x.copy(), whole, runs, settings)
    assert np.abs(filtered @ weights - cleaned).max() < 1e-3
    assert np.abs(x @ weights - cleaned).max() > 1


def test_the_designs_of_an_analysis_are_filtered_after_the_delays(tmp_path: Path):
    text = COSINE.replace("seconds: [4]", "seconds: [3, 4]")
    result = run_analysis(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text))).results[0]
    group = result.groups[0]
    plan, part = group.plans[0], result.chosen("01", "story-words")
    split = plan.splits[0]
    train, test = group.designs.matrices(part, split)
    plain = Designs(analysis=group.analysis, features=group.designs.features, plan=plan,
                    choices=replace(group.choices, clean_features=None))  # fmt: skip
    whole, rows = whole_runs(split.samples, plan.runs)
    everything = replace(split, samples=whole)
    x = plain.matrices(part, everything)[0]
    assert x.shape == (6 * N_VOLUMES, 2 * 4)
    of_runs = [x[k : k + N_VOLUMES] for k in range(0, len(x), N_VOLUMES)]
    by_hand = np.concatenate([clean(each, 1.0, group.choices.clean) for each in of_runs])
    np.testing.assert_allclose(train, by_hand[rows[split.train]], atol=1e-6)
    np.testing.assert_allclose(test, by_hand[rows[split.test]], atol=1e-6)
    assert np.abs(train - plain.matrices(part, split)[0]).max() > 0.1


def test_a_fit_without_the_filter_is_another_one_and_the_paper_has_none(tmp_path: Path):
    file = write_study(tmp_path, subjects=("01",), analysis=COSINE)
    report = run_analysis(read_analysis(file), mode="both")
    corrected, paper = report.results
    assert (corrected.choices.clean_features, paper.choices.clean_features) == (corrected.choices.clean, None)
    file.write_text(COSINE.replace("window_s: 30}", "window_s: 30, features: none}"))
    again = run_analysis(read_analysis(file), mode="both")
    assert (again.n_fitted, again.n_kept) == (3, 3)  # the paper's are kept
    kept = {fit.fit_id for fit in again.results[1].fits.values()}
    assert kept == {fit.fit_id for fit in paper.fits.values()}
    made = {fit.fit_id for fit in again.results[0].fits.values()}
    assert not made & {fit.fit_id for fit in corrected.fits.values()}


@pytest.mark.parametrize("detrend", ["median", "none"])
def test_words_that_a_run_never_uses_stay_zero(detrend: str):
    runs = [info("a", 30)]
    samples = Samples(run=np.zeros(30, np.int32), volume=np.arange(30, dtype=np.int32), runs=("task-a",), titles=("t",),
                      train=np.ones(30, bool))  # fmt: skip
    whole, _ = whole_runs(samples, runs)
    x = np.zeros((30, 2), np.float32)
    x[::7, 1] = 1
    filtered = filter_runs(x, whole, runs, CleanSettings(detrend=detrend, window_s=9))
    assert not filtered[:, 0].any() and filtered[:, 1].any()


def test_in_place_of_a_running_median_a_running_mean_of_the_same_window_is_taken_out():
    runs = [info("a", 40)]
    samples = Samples(run=np.zeros(40, np.int32), volume=np.arange(40, dtype=np.int32), runs=("task-a",), titles=("t",),
                      train=np.ones(40, bool))  # fmt: skip
    whole, _ = whole_runs(samples, runs)
    x = np.random.default_rng(2).standard_normal((40, 3)).astype(np.float32)
    filtered = filter_runs(x.copy(), whole, runs, CleanSettings(window_s=10))
    centred = x - x.mean(axis=0, dtype=np.float64)
    mirrored = np.concatenate([centred[4::-1], centred, centred[:-6:-1]])
    means = np.stack([mirrored[k : k + 11].mean(axis=0) for k in range(40)])  # 11 volumes: odd, as the median's are
    np.testing.assert_allclose(filtered, centred - means, atol=1e-6)
    medians = np.stack([np.median(mirrored[k : k + 11], axis=0) for k in range(40)])
    np.testing.assert_allclose(clean(x, 1.0, CleanSettings(window_s=10)), centred - medians, atol=1e-6)
    long = filter_runs(x.copy(), whole, runs, CleanSettings(window_s=500))
    assert np.abs(long.mean(axis=0)).max() < 0.05  # a window is at most the run


@pytest.mark.parametrize("detrend", ["median", "cosine"])
def test_a_gap_that_is_dropped_changes_nothing_around_it(detrend: str):
    runs = [info("a", 300), info("b", 40)]
    samples = Samples(run=np.repeat([0, 1], [300, 40]).astype(np.int32),
                      volume=np.concatenate([np.arange(300), np.arange(40)]).astype(np.int32),
                      runs=("task-a", "task-b"), titles=("t", "t"), train=np.ones(340, bool))  # fmt: skip
    whole, _ = whole_runs(samples, runs)
    settings = CleanSettings(detrend=detrend, window_s=60)
    steady = np.full((340, 2), 5, np.float32)
    steady[:, 1] = np.linspace(0, 8, 340)
    gap = np.zeros(340, bool)
    gap[140:160] = gap[320:] = True
    holed = np.where(gap[:, None], 0, steady).astype(np.float32)
    expected = filter_runs(steady.copy(), whole, runs, settings)[~gap]
    found = filter_runs(fill_gaps(holed.copy(), gap, whole), whole, runs, settings)[~gap]
    spread = filter_runs(holed.copy(), whole, runs, settings)[~gap]
    assert np.abs(found - expected)[:280].max() < 1e-4 < np.abs(spread - expected)[:280].max() / 1000
    assert np.abs(found - expected)[280:].max() < 0.3 < np.abs(spread - expected)[280:].max()


def test_designs_carry_nothing_out_of_a_gap_in_the_annotation(tmp_path: Path):
    text = COSINE.replace("story-words: {level: story,", "story-words: {level: story, missing: drop,")
    file = write_study(tmp_path, subjects=("01",), analysis=text)
    (path,) = (tmp_path / "dataset/stimuli").glob("stim-glee_*story*_events.tsv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + N_VOLUMES + 30] + lines[1 + N_VOLUMES + 45 :]))
    result = run_analysis(read_analysis(file)).results[0]
    group = result.groups[0]
    plan, part = group.plans[0], result.chosen("01", "story-words")
    split = plan.splits[0]
    whole, rows = whole_runs(split.samples, plan.runs)
    plain = Designs(analysis=group.analysis, features=group.designs.features, plan=plan,
                    choices=replace(group.choices, clean_features=None))  # fmt: skip
    x = plain.matrices(part, replace(split, samples=whole))[0]
    run = whole.runs.index("task-glee_run-02")
    gap = np.flatnonzero((whole.run == run) & (whole.volume >= 34) & (whole.volume < 49))  # seen four seconds later
    assert len(gap) == 15 and not np.isin(gap, rows).any() and not x[gap].any() and x[[gap[0] - 1, gap[-1] + 1]].any()
    x[gap] = np.linspace(x[gap[0] - 1], x[gap[-1] + 1], 17)[1:-1]
    by_hand = filter_runs(x, whole, plan.runs, group.choices.clean_features)
    np.testing.assert_allclose(group.designs.matrices(part, split)[1], by_hand[rows[split.test]], atol=1e-6)


def test_a_run_that_is_dropped_whole_is_left_as_it_is():
    runs = [info("a", 6)]
    samples = Samples(run=np.zeros(6, np.int32), volume=np.arange(6, dtype=np.int32), runs=("task-a",), titles=("t",),
                      train=np.ones(6, bool))  # fmt: skip
    whole, _ = whole_runs(samples, runs)
    x = np.arange(6, dtype=np.float32)[:, None]
    assert np.array_equal(fill_gaps(x.copy(), np.ones(6, bool), whole), x)


def test_features_lose_what_responses_lost_before_they_came_here(tmp_path: Path):
    text = ANALYSIS.replace("clean: {detrend: none}", "clean: {detrend: none, window_s: 30, features: median}")
    choices = choices_of(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text)), "corrected")
    assert (choices.clean.detrend, choices.clean_features) == ("none", CleanSettings(detrend="median", window_s=30))
