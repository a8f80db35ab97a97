"""Samples follow from runs by the rule: the published numbers to the second, and no second of a film on both sides."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.recipe.read import read_recipe
from release_kit.core.errors import UsageError
from release_kit.core.resources import resource_root
from release_kit.encoding.data.problems import DataError
from release_kit.encoding.data.runs import RunInfo, with_joined_titles, with_overlaps
from release_kit.encoding.data.samples import (
    PAPER_FOLDS,
    PAPER_STUDY_RULE,
    SampleRule,
    leave_one_title_out,
    plan_samples,
    run_folds,
    shared_seconds,
    title_folds,
)
from release_kit.encoding.errors import AnalysisError


@pytest.fixture(scope="module")
def paper_runs() -> tuple[RunInfo, ...]:
    """Return the runs of one subject of the seed's study, one volume a second, from the shipped recipe."""
    recipe = read_recipe(resource_root("bids").joinpath("recipes", "narrative-movie", "recipe.yaml"))
    return tuple(
        RunInfo(
            subject="01",
            session=None,
            task=run.task,
            run=f"{run.run:02d}",
            title=run.task,
            stim_id=run.shows.stimulus,
            n_volumes=int(run.shows.duration_s),
            tr_s=run.tr_s,
            stim_start_s=run.shows.start_s,
            overlap_s=run.shows.overlap_s,
        )
        for run in recipe.runs
    )


def _run(task: str, run: str, start_s: float, n: int = 60, **facts) -> RunInfo:
    known = {"subject": "01", "session": None, "title": task, "stim_id": task, "tr_s": 1.0, **facts}
    return RunInfo(task=task, run=run, stim_start_s=start_s, n_volumes=n, **known)


def _three(task: str) -> list[RunInfo]:
    """Return three parts of a film, the later two repeat 10 s."""
    return list(with_overlaps([_run(task, f"{k + 1:02d}", 50.0 * k) for k in range(3)]))


def test_published_numbers_follow_from_the_lengths_of_the_runs(paper_runs):
    samples = plan_samples(paper_runs, PAPER_STUDY_RULE)
    assert len(samples.runs) == 41
    assert (int(samples.train.sum()), int((~samples.train).sum()), samples.n) == (22_262, 7_737, 29_999)
    test = {samples.runs[samples.run[part.start]] for part in samples.borders if not samples.train[part.start]}
    assert {"task-dreamgirls_run-08", "task-dreamgirls_run-09", "task-gis_run-04", "task-bigbangtheory_run-02"} < test
    assert len(test) == 10
    assert set(shared_seconds(paper_runs, samples).values()) == {0}


def test_published_folds_are_groups_of_titles(paper_runs):
    samples = plan_samples(paper_runs, PAPER_STUDY_RULE)
    folds = title_folds(samples, groups=PAPER_FOLDS)
    assert [len(fold.test) for fold in folds] == [5_523, 6_313, 5_980, 4_446]
    assert all(len(fold.train) + len(fold.test) == 22_262 for fold in folds)


def test_corrected_rule_uses_no_second_of_a_film_twice(paper_runs):
    samples = plan_samples(paper_runs, SampleRule(test_last={"dreamgirls": 2}))
    by_name = {run.name: run for run in paper_runs}
    seen = set()
    for part in samples.borders:
        run = by_name[samples.runs[samples.run[part.start]]]
        times = {(run.stim_id, round(t)) for t in run.stimulus_times()[samples.volume[part]]}
        assert not times & seen
        seen |= times
    # 43 runs lose 20 s each: the repeated ones, or the start of the scan
    assert samples.n == 31_905 - 43 * 20


def test_start_of_a_scan_and_repeated_seconds_are_dropped_apart():
    runs = [replace(run, onset_s=5.0) for run in _three("film")]
    both = plan_samples(runs, SampleRule(drop_start_s=8, test_runs="none"))
    assert [both.volume[part.start] for part in both.borders] == [8, 15, 15]
    early = plan_samples(runs, SampleRule(drop_start_s=8, drop_overlap=False, test_runs="none"))
    assert [early.volume[part.start] for part in early.borders] == [8, 8, 8]
    nothing = SampleRule(drop_start_s=8, drop_overlap=False, drop_first_run_start=False, test_runs="none")
    assert [plan_samples(runs, nothing).volume[part.start] for part in plan_samples(runs, nothing).borders] == [5, 8, 8]


def test_volumes_after_the_stimulus_are_not_used():
    run = _run("film", "01", 0.0, n=50, onset_s=4.0, duration_s=30.0, tr_s=2.0)
    used = plan_samples([run], SampleRule(drop_start_s=0, test_runs="none"))
    assert used.volume.tolist() == list(range(2, 17))


def test_overlap_between_training_and_test_is_dropped_from_the_test_or_refused():
    runs = _three("film")
    kept = plan_samples(runs, SampleRule(drop_start_s=0, drop_overlap=False, refuse_shared=False))
    assert shared_seconds(runs, kept) == {"task-film_run-03": 10}
    with pytest.raises(DataError, match=r"sub-01, task-film_run-03: 10 held-out samples show seconds of the film"):
        plan_samples(runs, SampleRule(drop_start_s=0, drop_overlap=False))
    assert shared_seconds(runs, plan_samples(runs, SampleRule(drop_start_s=0))) == {"task-film_run-03": 0}


@given(
    tr_s=st.sampled_from([0.72, 0.8, 1.0, 1.5, 2.0]),
    lengths=st.lists(st.floats(40, 90), min_size=2, max_size=5),
    overlap_s=st.floats(0, 20),
    onset_s=st.floats(0, 10),
    held=st.integers(0, 4),
)
def test_no_second_is_shared_whatever_the_times(tr_s, lengths, overlap_s, onset_s, held):
    runs, start_s = [], 0.0
    for k, length in enumerate(lengths):
        n = math.ceil((onset_s + length) / tr_s)
        facts = {"n": n, "tr_s": tr_s, "onset_s": onset_s, "duration_s": length}
        runs.append(_run("film", f"{k + 1:02d}", start_s, **facts))
        start_s += length - overlap_s
    runs = with_overlaps(runs)
    name = runs[held % len(runs)].name
    samples = plan_samples(runs, SampleRule(drop_start_s=0, test_runs=(name,)))
    assert shared_seconds(runs, samples) == {name: 0}


def test_overlap_of_a_held_out_run_is_dropped_from_the_run_after_it():
    runs = _three("film")
    samples = plan_samples(runs, SampleRule(drop_start_s=0, test_runs=("task-film_run-02",)))
    assert set(shared_seconds(runs, samples).values()) == {0}
    assert samples.n == 160


def test_a_second_showing_of_a_film_is_not_an_overlap_and_stays_on_one_side():
    again = replace(_run("film", "02", 0.0), task="again", title="again")
    runs = with_joined_titles(with_overlaps([_run("film", "01", 0.0), again, _run("other", "01", 0.0)]))
    assert [run.overlap_s for run in runs] == [0, 0, 0]
    assert [run.title for run in runs] == ["again", "again", "other"]
    with pytest.raises(DataError, match="show seconds of the film"):
        plan_samples(runs, SampleRule(test_runs=("task-again_run-02",)))


def test_titles_are_held_out_as_a_whole():
    runs = _three("a") + _three("b") + _three("c")
    samples = plan_samples(runs, SampleRule(drop_start_s=0, test_runs="none", holdout_titles=("b",)))
    assert {samples.titles[k] for k in samples.run[~samples.train]} == {"b"}
    assert {samples.titles[k] for k in samples.run[samples.train]} == {"a", "c"}


def test_each_title_is_left_out_once():
    runs = _three("a") + _three("b") + _three("c")
    splits = leave_one_title_out(plan_samples(runs, SampleRule(drop_start_s=0)))
    assert [title for title, _ in splits] == ["a", "b", "c"]
    for title, samples in splits:
        assert {samples.titles[k] for k in samples.run[~samples.train]} == {title}
        assert samples.n == 480
    with pytest.raises(AnalysisError, match="needs two"):
        leave_one_title_out(plan_samples(_three("a"), SampleRule(drop_start_s=0)))


@given(sizes=st.lists(st.integers(2, 30), min_size=2, max_size=9), n_folds=st.none() | st.integers(2, 9))
def test_folds_hold_every_row_once_and_no_title_on_both_sides(sizes, n_folds):
    runs = [_run(f"t{k}", "01", 0.0, n=n) for k, n in enumerate(sizes)]
    samples = plan_samples(runs, SampleRule(drop_start_s=0, test_runs="none"))
    if n_folds is not None and n_folds > len(sizes):
        with pytest.raises(AnalysisError, match="folds of"):
            title_folds(samples, n_folds)
        return
    folds = title_folds(samples, n_folds)
    assert len(folds) == (n_folds or len(sizes))
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(samples.n))
    for fold in folds:
        assert not set(samples.title_of_sample[fold.train]) & set(samples.title_of_sample[fold.test])
        assert np.array_equal(np.sort([*fold.train, *fold.test]), np.arange(samples.n))


def test_folds_count_training_rows_only():
    runs = _three("a") + _three("b")
    samples = plan_samples(runs, SampleRule(drop_start_s=0))
    folds = title_folds(samples)
    assert sum(len(fold.test) for fold in folds) == samples.train.sum() < samples.n


def test_one_title_is_folded_over_runs():
    samples = plan_samples(_three("a"), SampleRule(drop_start_s=0))
    with pytest.raises(AnalysisError, match="over titles needs two of them, training has 1 title"):
        title_folds(samples)
    assert [len(fold.test) for fold in run_folds(samples)] == [60, 50]


def test_groups_must_name_every_title_once():
    samples = plan_samples(_three("a") + _three("b"), SampleRule(drop_start_s=0))
    with pytest.raises(AnalysisError, match="lack b"):
        title_folds(samples, groups=[["a"], ["c"]])
    with pytest.raises(AnalysisError, match="name a title twice"):
        title_folds(samples, groups=[["a"], ["a", "b"]])


def test_every_unknown_name_is_told_with_the_nearest():
    rule = SampleRule(test_runs=("task-film_run-3",), holdout_titles=("flim",), test_last={"fil": 2})
    with pytest.raises(AnalysisError) as caught:
        plan_samples(_three("film"), rule)
    for part in ("no run 'task-film_run-3'", "no title 'flim'", "no title 'fil'", "task-film_run-03"):
        assert part in caught.value.what


def test_runs_of_which_nothing_is_left_are_all_named():
    runs = [*_three("a"), _run("b", "01", 0.0, n=10), _run("c", "01", 0.0, n=15)]
    with pytest.raises(DataError) as caught:
        plan_samples(runs, SampleRule())
    assert [problem.run for problem in caught.value.problems] == ["task-b_run-01", "task-c_run-01"]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(AnalysisError, match="no sample is left to train on"):
        plan_samples([_run("a", "01", 0.0)], SampleRule())
    with pytest.raises(UsageError, match="test_runs is 'first'"):
        SampleRule(test_runs="first")


def test_what_is_left_out_may_be_absent():
    runs = _three("a") + _three("b")
    with_names = plan_samples(runs, SampleRule(drop_start_s=0, leave_out=("a", "task-b_run-03", "gone")))
    assert {with_names.runs[k] for k in with_names.run} == {"task-b_run-01", "task-b_run-02"}
