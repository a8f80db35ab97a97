"""Series in labels: what follows from the labels themselves, and what is not claimed."""

import pytest
from hub_replica import PYTHIA_STEPS
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import UsageError
from release_kit.release.audit.numbers import (
    find_series,
    infer_values,
    label_text,
    match_series,
    parse_expected,
    parse_label,
)


def test_label_is_taken_apart_with_its_units():
    label = parse_label("lab/pythia-2.8b@stage1-step101000-tokens424B")
    assert label.values == (2.8e9, 1, 101000, 424e9)
    assert label.texts == ("2.8b", "1", "101000", "424B")


@given(first=st.integers(0, 50), spacing=st.integers(1, 5000), n=st.integers(8, 60), data=st.data())
def test_values_removed_from_inside_an_even_series_are_found(first, spacing, n, data):
    values = [first + spacing * i for i in range(n)]
    removed = data.draw(st.sets(st.integers(1, n - 2), max_size=n // 6))
    kept = [value for i, value in enumerate(values) if i not in removed]
    expected = infer_values(kept)
    assert expected is not None
    assert sorted(set(expected.values) - set(kept)) == [values[i] for i in sorted(removed)]


@given(st.permutations(PYTHIA_STEPS))
def test_order_of_labels_does_not_matter(steps):
    (series,) = find_series(f"lab/pythia@step{step}" for step in steps)
    assert tuple(series.members) == PYTHIA_STEPS
    assert infer_values(steps).values == PYTHIA_STEPS


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 3),
        (70e6, 160e6, 410e6, 1e9, 1.4e9, 2.8e9, 6.9e9, 12e9),
        (0, 7, 100, 101, 350, 1200),
        (2019, 2021, 2024, 2025, 2031),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 20240131),
        (),
    ],
)
def test_nothing_is_claimed_about_irregular_values(values):
    assert infer_values(values) is None


def test_endless_digits_in_a_name_end():
    steps = ("1", "2", "4", "9" * 400)
    found = find_series(f"lab/m@step{step}" for step in steps)
    assert all(value < 10**19 for one in found for value in one.members)
    assert [infer_values(list(one.members)) for one in found] == []


def test_grid_of_seeds_and_steps_is_one_series_for_each_seed():
    names = [f"lab/multiberts-seed_{seed}-step_{step}k@main" for seed in range(5) for step in range(0, 200, 20)]
    found = find_series(names)
    assert [one.name for one in found] == [f"lab/multiberts-seed_{seed}-step_{{n}}@main" for seed in range(5)]
    assert label_text(found[3], 180000) == "lab/multiberts-seed_3-step_180k@main"


def test_padded_numbers_keep_their_width():
    (series,) = find_series(f"lab/run@iter_{step:07}" for step in range(100, 900, 100))
    assert label_text(series, 900) == "lab/run@iter_0000900"


def test_sizes_beside_steps_are_what_the_series_is_repeated_for():
    names = [f"lab/pythia-{size}@step{step}" for size in ("70m", "2.8b") for step in range(1000, 9000, 1000)]
    assert [one.name for one in find_series(names)] == ["lab/pythia-2.8b@step{n}", "lab/pythia-70m@step{n}"]


def test_declared_series_is_found_in_branches_folders_and_repos():
    names = ["lab/run@step1", "lab/run@step2", "lab/run@main:step7/last", "lab/step9@main", "lab/run@misstep3"]
    found = match_series("step{n}", names)
    assert {one.name: list(one.members) for one in found} == {
        "lab/run@step{n}": [1, 2],
        "lab/run@main:step{n}/last": [7],
        "lab/step{n}@main": [9],
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5", (5,)),
        ("0:3", (0, 1, 2, 3)),
        ("0,1,2,4,1000:3000:1000", (0, 1, 2, 4, 1000, 2000, 3000)),
        ("3, 1:2", (1, 2, 3)),
    ],
)
def test_expected_values_are_read_as_written(text, values):
    assert parse_expected(text) == values


@pytest.mark.parametrize("text", ["", "a", "1:", "5:1", "1:9:0", "0:99999999", "1:2:3:4", "-3"])
def test_expectation_that_makes_no_sense_is_refused(text):
    with pytest.raises(UsageError, match="--expect"):
        parse_expected(text)


@pytest.mark.parametrize("pattern", ["step", "step{n}-{n}"])
def test_pattern_needs_its_number_exactly_once(pattern):
    with pytest.raises(UsageError, match="--series"):
        match_series(pattern, ())
