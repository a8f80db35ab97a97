"""Spans of a stimulus must meet: what one part ended with, less the overlap, the next begins with."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.recipe.check_spans import check_names, check_spans
from release_kit.bids.recipe.read import parse_recipe

HEAD = """\
schema_version: 1
dataset: {name: N, version: 1.0.0, authors: [A], license: CC0-1.0, description: D}
subjects: {"01": {source: DM01}}
tasks: {film: {name: Film}}
stimuli: {a: {title: A, duration_s: 100}}
recordings: {pattern: "{source}/{task}_{session}_{run}.nii.gz", tr_s: 1}
runs:
"""


def recipe_of(*shows: str, head: str = HEAD):
    lines = [f"  - {{task: film, run: {n}, shows: {{stimulus: a, {span}}}}}\n" for n, span in enumerate(shows, 1)]
    return parse_recipe(head + "".join(lines), folder=Path())[0]


@pytest.mark.parametrize(
    ("shows", "expected"),
    [
        (["start_s: 0, duration_s: 100"], []),
        (["start_s: 0, duration_s: 60", "start_s: 50, duration_s: 50, overlap_s: 10"], []),
        (["start_s: 0, duration_s: 60", "duration_s: 40"], []),
        (["start_s: 0, duration_s: 100.9"], []),
        (["start_s: 0, duration_s: 102"], ["span-outside: shows 'a' up to 102 s, but it has 100 s"]),
        (["start_s: 0, duration_s: 50"], ["gap: no run shows 50 to 100 s of 'a'"]),
        (["start_s: 5, duration_s: 95"], ["gap: no run shows 0 to 5 s of 'a'"]),
        (
            ["start_s: 0, duration_s: 40", "start_s: 50, duration_s: 50"],
            ["gap: no run shows 40 to 50 s of 'a'"],
        ),
        (
            ["start_s: 0, duration_s: 60", "start_s: 50, duration_s: 50"],
            [
                "overlap: begins at 50 s with an overlap of 0 s, but task-film run-1 ended at 60 s: expected to begin "
                "at 60 s"
            ],
        ),
        (
            ["start_s: 0, duration_s: 60", "start_s: 60, duration_s: 40, overlap_s: 20"],
            [
                "overlap: begins at 60 s with an overlap of 20 s, but task-film run-1 ended at 60 s: expected to begin "
                "at 40 s"
            ],
        ),
        (
            ["start_s: 0, duration_s: 100, overlap_s: 20"],
            ["overlap: says that its first 20 s were shown before, but it is the first part"],
        ),
        (
            ["start_s: 0, duration_s: 60", "start_s: 30, duration_s: 20, overlap_s: 30", "start_s: 50, duration_s: 50"],
            ["overlap: its overlap of 30 s is all it shows (20 s)"],
        ),
    ],
)
def test_parts_must_meet(shows: list[str], expected: list[str]):
    assert [f"{one.code}: {one.what}" for one in check_spans(recipe_of(*shows))] == expected


def test_a_film_shown_twice_is_two_showings():
    twice = ["start_s: 0, duration_s: 60", "start_s: 60, duration_s: 40"] * 2
    assert not list(check_spans(recipe_of(*twice)))
    broken = [*twice[:3], "start_s: 70, duration_s: 30"]
    assert [one.code for one in check_spans(recipe_of(*broken))] == ["gap"]


@given(
    lengths=st.lists(st.integers(21, 900), min_size=1, max_size=8),
    overlap=st.integers(0, 20),
    wrong=st.none() | st.tuples(st.integers(1, 7), st.integers(-19, 19).filter(bool)),
)
def test_any_cut_of_a_film_is_found_good_and_any_shift_of_one_part_is_found(lengths, overlap, wrong):
    starts, end = [], 0
    for number, length in enumerate(lengths):
        starts.append(max(0, end - overlap) if number else 0)
        end = starts[-1] + length
    if wrong and wrong[0] < len(lengths):
        starts[wrong[0]] += wrong[1]
    else:
        wrong = None
    head = HEAD.replace("duration_s: 100", f"duration_s: {end + 30}").replace(
        "tr_s: 1", f"tr_s: 1, overlap_s: {overlap}"
    )
    shows = [f"start_s: {start}, duration_s: {length}" for start, length in zip(starts, lengths, strict=True)]
    codes = [one.code for one in check_spans(recipe_of(*shows, head=head))]
    rest = codes[:-1] if codes and codes[-1] == "gap" else codes
    assert bool(rest) == (wrong is not None), (starts, lengths, overlap, codes)


def test_what_nothing_uses_is_told():
    head = HEAD.replace("tasks: {film", "tasks: {rest: {name: R}, film").replace(
        "{a:", "{b: {title: B, duration_s: 1}, a:"
    )
    found = [(one.code, one.where) for one in check_spans(recipe_of("start_s: 0, duration_s: 100", head=head))]
    assert found == [("unused", "stimuli.b"), ("unused", "tasks.rest")]


def test_names_that_bids_has_no_rule_for_are_refused():
    head = HEAD.replace("runs:\n", "anatomy: [{suffix: T9w, pattern: 'x'}]\nruns:\n")
    head = head.replace('"01": {source: DM01}', '"s1": {source: DM01}, "S1": {source: DM02}, "dm3": {source: DM3}')
    found = [(one.code, one.where) for one in check_names(recipe_of("start_s: 0, duration_s: 100", head=head))]
    assert found == [("bids-name", "subjects.S1"), ("pseudonym", "subjects.dm3"), ("bids-name", "anatomy T9w")]
