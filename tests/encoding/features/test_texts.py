"""Annotations as texts of bins: what falls where, what is missing, what may stand before a bin."""

import math

import encoding_features_factory as factory
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import bin_stimuli, bin_texts


def binned(rows, duration_s=6.0, bin_s=1.0, **asked):
    return bin_texts(factory.table(rows), "film", "story", "en", duration_s, bin_s, **asked)


def test_row_is_in_every_bin_it_has_a_part_in():
    found = binned([("a", 0.5, 2.0, "one"), ("a", 2.5, 0.0, "two"), ("a", 5.9, 9.0, "late")])
    assert found.texts == (("one", "one", "one two", None, None, "late"),)
    assert found.missing.tolist() == [False, False, False, True, True, False]


def test_row_that_ends_at_a_bin_is_not_in_it():
    assert binned([("a", 0.1 + 0.2, 0.7, "one"), ("a", 1.0, 1.0, "two")], 3.0).texts == (("one", "two", None),)


def test_signs_for_no_text_and_rows_without_one_are_missing():
    found = binned([("a", 0.0, 1.0, ".."), ("a", 1.0, 1.0, None), ("a", 2.0, 1.0, " "), ("b", 2.0, 1.0, "seen")], 3.0)
    assert found.annotators == ("a", "b")
    assert found.texts == ((None, None, None), (None, None, "seen"))
    assert found.missing.tolist() == [True, True, False]


def test_rows_of_a_bin_are_joined_in_order_of_time_with_blanks_made_one():
    assert binned([("a", 0.6, 0.2, "second\n row"), ("a", 0.1, 0.2, " first ")], 1.0).texts == (("first second row",),)


@given(
    rows=st.lists(st.tuples(st.integers(-10, 90), st.integers(0, 60)), max_size=8),
    bin_tenths=st.integers(1, 25),
    n_tenths=st.integers(1, 80),
)
def test_bins_equal_a_slow_obvious_look_at_every_tenth_of_a_second(rows, bin_tenths, n_tenths):
    named = [("a", onset / 10, length / 10, f"row {k}") for k, (onset, length) in enumerate(rows)]
    if not named:
        return
    found = binned(named, n_tenths / 10, bin_tenths / 10)
    assert found.n_bins == math.ceil(n_tenths / bin_tenths)
    for k, text in enumerate(found.texts[0]):
        tenths = range(k * bin_tenths, (k + 1) * bin_tenths)
        inside = [
            place
            for place, (onset, length) in enumerate(rows)
            if any(onset <= t < onset + max(length, 1) for t in tenths) and (length or onset in tenths)
        ]
        expected = " ".join(
            f"row {place}" for place in sorted(inside, key=lambda place: (rows[place][0], rows[place][1]))
        )
        assert (text or "") == expected


def test_context_holds_each_earlier_row_once_and_none_of_the_bins_own():
    found = binned([("a", 0.0, 3.0, "long"), ("a", 1.0, 1.0, "short"), ("a", 3.0, 2.0, "now")])
    assert found.contexts(0.0) == (("",) * 6,)
    assert found.contexts(2.0)[0] == ("", "", "short", "long short", "long", "now")
    assert found.contexts(1.0)[0][4] == "", "the row goes on into the bin: it is its own text"


def test_text_that_is_written_again_every_second_is_no_context_of_itself():
    found = binned([("a", float(k), 1.0, text) for k, text in enumerate(["x", "x", "y", "y"])], 4.0)
    assert found.contexts(3.0)[0] == ("", "", "x", "x")


def test_only_named_annotators_are_read():
    rows = [("a", 0.0, 1.0, "one"), ("b", 0.0, 1.0, "two")]
    assert binned(rows, 1.0, annotators=("b",)).texts == (("two",),)
    with pytest.raises(FeatureError, match="nobody called c wrote it"):
        binned(rows, 1.0, annotators=("a", "c"))


def test_language_must_be_named_where_there_are_several():
    tables = [factory.table([("a", 0, 1, "word")], language=language) for language in ("en", "ja")]
    both = pa.concat_tables(tables)
    with pytest.raises(FeatureError, match="a language must be named: it is written in en, ja"):
        bin_texts(both, "film", "story", None, 1.0, 1.0)
    with pytest.raises(FeatureError, match="none in 'fr'"):
        bin_texts(both, "film", "story", "fr", 1.0, 1.0)
    assert bin_texts(tables[0], "film", "story", None, 1.0, 1.0).texts == (("word",),)


def run(name: str, stim_id: str, start_s: float = 0.0) -> RunInfo:
    return RunInfo(
        subject="01", session=None, task=stim_id, run=name, title=stim_id, stim_id=stim_id, n_volumes=5, tr_s=2.0,
        stim_start_s=start_s,
    )  # fmt: skip


def test_stimuli_are_binned_as_far_as_any_run_shows_them():
    spec = FeatureSpec(name="words", kind="bag-of-words", level="story", language="en")
    found = bin_stimuli(factory.table([("a", 0.0, 30.0, "x")]), [run("1", "film"), run("2", "film", 8.0)], spec)
    assert [(each.stim_id, each.n_bins) for each in found] == [("film", 18)]


def test_every_run_that_lacks_the_level_is_named_with_it():
    spec = FeatureSpec(name="words", kind="bag-of-words", level="story")
    runs = [run("1", "film"), run("1", "glee"), run("2", "glee"), run("1", "suits")]
    other = factory.table([("a", 0.0, 1.0, "x")], level="object", stim_id="suits")
    with pytest.raises(FeatureError) as caught:
        bin_stimuli(pa.concat_tables([factory.table([("a", 0.0, 1.0, "x")]), other]), runs, spec)
    sentence = caught.value.sentence()
    assert "level story" in sentence and "task-film" not in sentence
    assert "task-glee_run-1, task-glee_run-2 (stimulus glee): the level 'story' is not there" in sentence
    assert "task-suits_run-1 (stimulus suits): the level 'story' is not there (it has object)" in sentence


def test_settings_that_contradict_each_other_are_said_at_once():
    with pytest.raises(FeatureError) as caught:
        FeatureSpec(name="f", kind="static", layers=(1,), level=None, bin_s=0.0, missing="none", annotators="all")
    for part in ("missing is 'none'", "annotators is 'all'", "a model is missing", "the level is missing",
                 "static has one layer", "bin_s is 0.0"):  # fmt: skip
        assert part in caught.value.what


def test_name_is_no_part_of_what_features_are():
    one, two = (FeatureSpec(name=name, kind="bag-of-words", level="story") for name in ("one", "two"))
    assert one.identity() == two.identity()
    assert np.array_equal(binned([("a", 0, 1, "x")]).missing, [False, True, True, True, True, True])


def test_stimuli_in_different_languages_are_not_mixed_where_none_is_named():
    spec = FeatureSpec(name="words", kind="bag-of-words", level="story")
    both = pa.concat_tables([
        factory.table([("a", 0.0, 1.0, "x")]), factory.table([("a", 0.0, 1.0, "猫")], language="ja", stim_id="glee"),
    ])  # fmt: skip
    with pytest.raises(FeatureError, match="different languages: film in en; glee in ja"):
        bin_stimuli(both, [run("1", "film"), run("1", "glee")], spec)
    assert bin_stimuli(both, [run("1", "glee")], spec)[0].language == "ja"
