"""One line a second, in both published forms: nothing is lost, moved or guessed."""

from pathlib import Path

import pytest
from bids_readers import problems, read, run_of, source, spans
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.annotations.merge import merge_steps, split_steps
from release_kit.bids.annotations.table import Row
from release_kit.core.errors import RecordError

STORY = "[0] 男が走る/女が待つ\n[1] 男が走る/不明\n[2] 男が走る/女が叫ぶ\n[3] ../..\n"


def test_a_line_is_a_second_and_annotators_are_told_by_position(tmp_path: Path):
    rows = read(tmp_path, STORY, source("seconds", split_annotators=True))
    assert [(row.annot_id, row.annotator, row.onset_s, row.text) for row in rows] == [
        ("storyA01A01", "A01", 0, "男が走る"),
        ("storyA01A02", "A02", 0, "女が待つ"),
        ("storyA01A01", "A01", 1, "男が走る"),
        ("storyA01A01", "A01", 2, "男が走る"),
        ("storyA01A02", "A02", 2, "女が叫ぶ"),
    ]
    assert {row.duration_s for row in rows} == {1.0}


def test_one_annotator_of_several_can_be_taken_under_the_name_of_the_source(tmp_path: Path):
    rows = read(tmp_path, STORY, source("seconds", part=2))
    assert [(row.annot_id, row.annotator, row.text) for row in rows] == [
        ("storyA01", "A01", "女が待つ"),
        ("storyA01", "A01", "女が叫ぶ"),
    ]
    assert problems(tmp_path, STORY, source("seconds", part=3))[0].startswith("None: has at most 2 parts")


def test_names_of_annotators_can_be_given(tmp_path: Path):
    how = source("seconds", split_annotators=True, annotators=["Ken", "Mio"])
    assert {row.annot_id for row in read(tmp_path, STORY, how)} == {"storyA01Ken", "storyA01Mio"}


def test_without_splitting_the_line_is_one_text(tmp_path: Path):
    assert spans(read(tmp_path, "[0] a/b\n[1] \n", source("seconds"))) == [(0, 1, "a/b", None)]


def test_speech_has_speakers(tmp_path: Path):
    lines = ["Walter:Go: now/Jesse:yo", "..", "不明:who", "Walter:不明", "alone"]
    text = "".join(f"[{n}] メイン#{line}\n" for n, line in enumerate(lines, start=1))
    rows = read(tmp_path, text, source("seconds", form="speech"))
    assert spans(rows) == [
        (0, 1, "Go: now", "Walter"),
        (0, 1, "yo", "Jesse"),
        (2, 1, "who", None),
        (3, 1, None, "Walter"),
        (4, 1, "alone", None),
    ]
    assert problems(tmp_path, "[0] Walter:Go\n[1] x メイン#a\n", source("seconds", form="speech")) == [
        "1: has no marker 'メイン#'",
        "2: has text before the marker 'メイン#'",
    ]


def test_missing_seconds_can_be_kept(tmp_path: Path):
    assert spans(read(tmp_path, "[0] 不明\n[1] a\n", source("seconds", keep_missing=True))) == [
        (0, 1, None, None),
        (1, 1, "a", None),
    ]


def test_a_missing_or_doubled_line_is_found_by_its_time(tmp_path: Path):
    found = problems(tmp_path, "[0] a\n[2] b\n[2] c\nd\n[x] e\n", source("seconds"))
    assert [line.partition(":")[0] for line in found] == ["2", "3", "4", "5"]
    assert "its time 2 s follows 0 s" in found[0] and "does not begin with a time" in found[2]


def test_times_of_the_lines_themselves_can_be_used(tmp_path: Path):
    rows = read(tmp_path, "[0:00:07.5] a\n[90] b\n", source("seconds", times="prefix"))
    assert spans(rows) == [(7.5, 1, "a", None), (90, 1, "b", None)]
    assert "`times: prefix`" in problems(tmp_path, "[700] a\n", source("seconds"))[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp"])
def test_encoding_and_line_ends_change_nothing(end: str, encoding: str, tmp_path: Path):
    how = source("seconds", split_annotators=True)
    assert read(tmp_path, STORY.replace("\n", end).encode(encoding), how) == read(tmp_path, STORY, how)


def test_a_part_that_is_left_out_is_refused_since_it_would_move_the_others(tmp_path: Path):
    text = "[0] a/b/c\n[1] a/c\n[2] 不明\n"
    assert problems(tmp_path, text, source("seconds", split_annotators=True)) == [
        "2: has 2 parts where 3 annotators are told apart by position; "
        "`ragged: true` takes the missing ones from the end"
    ]
    assert len(read(tmp_path, text, source("seconds", split_annotators=True, ragged=True))) == 5
    with_names = source("seconds", split_annotators=True, annotators=["K", "M"], ragged=True)
    assert problems(tmp_path, text, with_names) == ["1: has 3 parts where 2 annotators are told apart by position"]


def test_a_table_of_seconds_must_say_whether_it_has_a_header(tmp_path: Path):
    text = "first\tsecond\nb\t..\n"
    with pytest.raises(RecordError, match=r"annotations\.storyA01\.options\.header` is missing"):
        read(tmp_path, text, source("seconds-table", split_annotators=True))
    named = read(tmp_path, text, source("seconds-table", split_annotators=True, header=True))
    assert [(row.onset_s, row.annotator, row.text) for row in named] == [(0, "A01", "b")]
    plain = read(tmp_path, text, source("seconds-table", split_annotators=True, header=False))
    assert [(row.onset_s, row.annotator) for row in plain] == [(0, "A01"), (0, "A02"), (1, "A01")]


def test_the_clock_of_a_run_becomes_stimulus_time_without_rounding(tmp_path: Path):
    rows = read(tmp_path, "[0] \n[1] \n[2] a\n", source("seconds", clock="run"), run_of(700.1, onset_s=1.7))
    assert spans(rows) == [(700.4, 1, "a", None)]
    found = problems(tmp_path, "[0] a\n", source("seconds", clock="run"), run_of(700, onset_s=2))
    assert found == ["None: the cue at 0 s of the run comes before the stimulus begins (`shows.onset_s` is 2)"]


def test_a_cue_at_the_very_onset_of_the_stimulus_is_read_whatever_its_float(tmp_path: Path):
    """Decimal("0.1") is below the float 0.1, and Decimal("3.3") above its own."""
    for onset in (0.1, 1.1, 3.3, 6.6):
        text = f"onset,duration,text\n{onset},1,a\n"
        rows = read(tmp_path, text, source("intervals", clock="run"), run_of(700, onset_s=onset))
        assert rows[0].onset_s == 700


def test_a_run_clock_without_its_run_is_refused(tmp_path: Path):
    with pytest.raises(RecordError, match="no run that shows 'film' is given"):
        read(tmp_path, "[0] a\n", source("seconds", clock="run"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seperator": "/"}, "did you mean 'separator'"),
        ({"form": "song"}, "known: plain, speech"),
        ({"prefix": "["}, "no regular expression"),
        ({"prefix": "x", "times": "prefix"}, "needs a group"),
        ({"form": "speech", "part": 1}, "not annotators"),
        ({"part": 0}, "counts from 1"),
        ({"step_s": 0}, "above 0"),
        ({"annotators": ["A 1"], "split_annotators": True}, "letters and digits"),
        ({"annotators": ["A1"]}, "split_annotators: true"),
        ({"separator": "", "part": 1}, "is needed"),
        ({"merge": "yes"}, "expected bool"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict, said: str, tmp_path: Path):
    with pytest.raises(RecordError, match=said):
        read(tmp_path, "[0] a\n", source("seconds", **options))


def test_equal_neighbours_are_one_interval_only_when_asked(tmp_path: Path):
    merged = read(tmp_path, STORY, source("seconds", split_annotators=True, merge=True))
    assert [(row.annotator, row.onset_s, row.duration_s, row.text) for row in merged] == [
        ("A01", 0, 3, "男が走る"),
        ("A02", 0, 1, "女が待つ"),
        ("A02", 2, 1, "女が叫ぶ"),
    ]


_words = st.sampled_from([None, "a", "b"])
_second = st.lists(st.tuples(_words, _words), max_size=3)


@given(st.lists(_second, max_size=12), st.sampled_from([0.1, 0.48, 1.0, 1 / 3, 2.0]), st.sampled_from([0.0, 700.48]))
def test_merging_is_undone_by_splitting(seconds: list, step_s: float, start_s: float):
    rows = [
        Row(stim_id="film", onset_s=float(start_s + i * step_s), duration_s=step_s, level="speech", annotator="A01",
            language="en", annot_id="speechA01", text=text, speaker=speaker)
        for i, second in enumerate(seconds) for text, speaker in second
    ]  # fmt: skip
    merged = merge_steps(rows)
    assert merge_steps(merged) == merged
    back = split_steps(merged, step_s)
    assert [(row.text, row.speaker) for row in back] == [(row.text, row.speaker) for row in rows]
    assert [row.onset_s for row in back] == pytest.approx([row.onset_s for row in rows], abs=1e-9)
