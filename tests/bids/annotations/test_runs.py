"""Annotations cut to runs lose nothing, and say what was cut."""

import annotation_study
import pytest
from annotation_study import FILM, FILM_2, row
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.annotations.runs import CutRow, cut_bytes, cut_to_run, join_cuts, run_derivative_files
from release_kit.bids.annotations.spans import clipped, covered_s, gaps, length_s, spans_of, union
from release_kit.bids.annotations.table import annotation_table, table_rows
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.recipe.model import Run, Shown
from release_kit.core.errors import StudyError


def cut_of(onset: float, duration: float, shows: Shown) -> CutRow:
    (part,) = cut_to_run(annotation_table([row("storyA01", onset, duration, "x")]), shows)
    return part


def test_run_time_begins_where_the_stimulus_does():
    part = cut_of(18, 1, FILM_2)
    assert (part.onset_s, part.duration_s, part.cut) == (4.0, 1, "none")
    assert (part.row.onset_s, part.row.duration_s) == (18, 1)


@pytest.mark.parametrize(
    ("onset", "duration", "run_time", "cut"),
    [(10, 8, (2, 2), "start"), (34, 9, (20, 2), "end"), (0, 99, (2, 20), "both"), (16, 20, (2, 20), "none")],
)
def test_an_interval_across_the_span_is_cut_and_says_at_which_end(onset, duration, run_time, cut):
    part = cut_of(onset, duration, FILM_2)
    assert (part.onset_s, part.duration_s) == run_time
    assert part.cut == cut


@pytest.mark.parametrize(("onset", "overlap"), [(10, True), (16, True), (19.9, True), (20, False), (30, False)])
def test_what_the_run_before_showed_already_is_flagged(onset, overlap):
    assert cut_of(onset, 8, FILM_2).overlap is overlap


@pytest.mark.parametrize(
    ("onset", "duration", "there"), [(20, 0, 0), (16, 0, 1), (19.999, 0, 1), (8, 8, 0), (36, 1, 0)]
)
def test_spans_are_half_open(onset, duration, there):
    shows = FILM if onset >= 19 and duration == 0 else FILM_2
    assert len(cut_to_run(annotation_table([row("storyA01", onset, duration, "x")]), shows)) == there


@pytest.mark.parametrize(("onset", "duration"), [(0.1, 0.2), (0.2, 0.1)])
def test_an_interval_that_ends_where_the_next_run_begins_is_of_one_run_only(onset, duration):
    """0.1 + 0.2 is above 0.3 in floats."""
    first, second = Shown(stimulus="film", start_s=0, duration_s=0.3), Shown(stimulus="film", start_s=0.3, duration_s=9)
    assert cut_of(onset, duration, first).cut == "none"
    assert cut_to_run(annotation_table([row("storyA01", onset, duration, "x")]), second) == []


def test_what_begins_where_the_repeated_seconds_end_is_not_repeated():
    """0.1 + 0.2 is above 0.3 in floats."""
    shows = Shown(stimulus="film", start_s=0.1, duration_s=9, overlap_s=0.2)
    assert not cut_of(0.3, 1, shows).overlap


def test_other_stimuli_are_not_shown():
    assert cut_to_run(annotation_table([row("storyA01", 1, 1, "x", stim_id="short")]), FILM) == []


TIMES = st.one_of(st.integers(0, 60).map(float), st.floats(0, 60, allow_nan=False), st.sampled_from([16.0, 20.0, 36.0]))
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["storyA01", "storyA02", "speechA01"]),
        TIMES,
        st.one_of(st.just(0.0), st.floats(0, 30, allow_nan=False), st.sampled_from([1e-12, 0.1, 5.0])),
        st.one_of(st.none(), st.sampled_from(["a", "b\tc", "n/a"])),
        stim_id=st.sampled_from(["film", "short"]),
    ),
    max_size=12,
)


def is_covered(onset: float, duration: float, runs: list[Shown]) -> bool:
    end = round(onset + duration, 9)
    return any(run.start_s <= onset < round(run.end_s, 9) or onset < run.start_s < end for run in runs)


@settings(max_examples=300)
@given(rows=ROWS, starts=st.lists(TIMES, min_size=1, max_size=4), length=st.floats(0.5, 40), twice=st.booleans())
def test_the_cuts_of_all_runs_give_back_every_annotation_that_a_run_shows(rows, starts, length, twice):
    rows = rows * 2 if twice else rows
    runs = [Shown(stimulus="film", start_s=start, duration_s=length, onset_s=7.5) for start in starts]
    table = annotation_table(rows)
    covered = [r for r in rows if r.stim_id == "film" and is_covered(r.onset_s, r.duration_s, runs)]
    joined = join_cuts([cut_to_run(table, run) for run in runs])
    key = lambda r: (r.stim_id, r.annot_id, r.onset_s, r.duration_s, r.text or "")  # noqa: E731
    assert sorted(table_rows(joined), key=key) == sorted(covered, key=key)


@given(rows=ROWS)
def test_run_time_lies_inside_what_the_run_shows(rows):
    for part in cut_to_run(annotation_table(rows), FILM_2):
        assert 2 <= part.onset_s <= 22
        assert part.duration_s >= 0
        assert part.onset_s + part.duration_s <= 22 + 1e-6 or part.row.duration_s == 0


def test_a_file_reads_back_as_what_was_cut():
    parts = cut_to_run(annotation_study.good_table(), FILM_2)
    header, rows = parse_tsv(cut_bytes(parts), "x")
    assert len(rows) == len(parts)
    found = [dict(zip(header, values, strict=True)) for values in rows]
    assert [float(values["onset"]) for values in found] == sorted(part.onset_s for part in parts)
    ours = sorted((part.row.onset_s, part.row.duration_s, part.row.text) for part in parts)
    assert sorted((float(v["stim_onset"]), float(v["stim_duration"]), v["text"]) for v in found) == ours
    assert {values["overlap"] for values in found} == {"true", "false"}


def test_derivative_has_a_file_for_each_run_and_annotation_that_meet():
    files = dict(run_derivative_files(annotation_study.make_recipe(), annotation_study.good_table()))
    events = {path.rpartition("/")[2] for path in files if path.endswith("events.tsv")}
    assert "task-film_run-02_desc-storyA01ja_events.tsv" in events
    assert "task-short_run-01_desc-storyA01_events.tsv" in events
    assert len(events) == 2 * 5 + 1
    assert all(path.startswith("derivatives/annotations/") and "sub-" not in path for path in files)


def test_the_same_study_gives_the_same_bytes_in_any_order_of_rows():
    recipe, rows = annotation_study.make_recipe(), annotation_study.good_rows()
    ordered = dict(run_derivative_files(recipe, annotation_table(rows)))
    assert ordered == dict(run_derivative_files(recipe, annotation_table(rows[::-1])))


def test_runs_of_one_name_that_show_different_spans_are_refused():
    runs = tuple(
        Run(task="film", run=1, session=name, tr_s=1, recording=annotation_study.RECORDING, shows=shows)
        for name, shows in (("a", FILM), ("b", FILM_2))
    )
    with pytest.raises(StudyError, match="task-film_run-01"):
        list(run_derivative_files(annotation_study.make_recipe(runs=runs), annotation_study.good_table()))


def test_without_annotations_there_is_no_derivative():
    assert not list(run_derivative_files(annotation_study.make_recipe(), annotation_table([])))


SPANS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)


@given(spans=SPANS)
def test_spans_count_like_sets_of_seconds(spans):
    a = {second for low, high in spans for second in range(low, high)}
    assert length_s(union(spans)) == len(a)
    assert length_s(gaps(spans, 0, 40)) == 40 - len(a)
    assert length_s(clipped(union(spans), 5, 12)) == len({second for second in a if 5 <= second < 12})


def test_covered_seconds_of_rows_that_overlap_count_once():
    rows = [row("storyA01", 0, 5), row("storyA01", 3, 4)]
    assert covered_s(rows, 0, 36) == 7 and covered_s(rows, 0, 1) <= 1
    assert spans_of(rows) == [(0, 5), (3, 7)]
