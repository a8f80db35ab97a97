"""SRT and WebVTT as editors write them."""

from pathlib import Path

from bids_readers import problems, read, source, spans

SRT = """\
1
00:00:01,000 --> 00:00:02,500
Walter: <i>Hi</i> there
you

2
00:00:03,000 --> 00:00:04,000 X1:10 Y1:20

3
0:00:06.5 --> 00:01:07,000
7

8
"""


def test_srt_cues_have_lines_tags_and_blank_lines(tmp_path: Path):
    assert spans(read(tmp_path, SRT, source("srt"))) == [
        (1, 1.5, "Walter: Hi there\nyou", None),
        (3, 1, None, None),
        (6.5, 60.5, "7\n\n8", None),
    ]


def test_srt_speakers_and_tags_are_options(tmp_path: Path):
    rows = read(tmp_path, SRT.encode("utf-16"), source("srt", speakers="colon", tags=True, keep_missing=False))
    assert spans(rows) == [(1, 1.5, "<i>Hi</i> there\nyou", "Walter"), (6.5, 60.5, "7\n\n8", None)]


def test_vtt_voices_are_speakers_and_comments_are_passed_over(tmp_path: Path):
    text = (
        "WEBVTT - a title\r\n\r\nNOTE a comment\r\nof two lines\r\n\r\nSTYLE\r\n::cue {color: red}\r\n\r\n"
        "intro\r\n00:01.000 --> 00:02.000 align:start\r\n<v.loud Walter White>Salt &amp; <b>pepper</b></v>\r\n\r\n"
        "00:00:02.000 --> 00:00:03.000\r\n<v A>one\r\n<v B>two\r\n\r\n01:00:00.000 --> 01:00:01.250\r\n<00:01.000>plain"
    )
    assert spans(read(tmp_path, text, source("vtt"))) == [
        (1, 1, "Salt & pepper", "Walter White"),
        (2, 1, "one", "A"),
        (2, 1, "two", "B"),
        (3600, 1.25, "plain", None),
    ]


def test_broken_cues_are_named_by_line(tmp_path: Path):
    text = "1\n00:00:02,000 --> 00:00:01,000\na\n\n2\n00:61:00,000 --> 01:02:00,000\nb\n\n3\n00:01 -> x --> 00:02\nc\n"
    found = problems(tmp_path, text, source("srt"))
    assert [line.partition(":")[0] for line in found] == ["2", "6", "10"]
    assert "ends at 1 s, before it begins at 2 s" in found[0] and "60 or more" in found[1]
    assert problems(tmp_path, "1\n00:00 - 00:02\nc\n", source("srt")) == ["None: holds no line with `-->`: no cue"]
    assert read(tmp_path, "WEBVTT\n\nNOTE nobody speaks\n", source("vtt")) == read(tmp_path, "", source("srt")) == []
    assert problems(tmp_path, "00:00.000 --> 00:01.000\nx\n", source("vtt")) == [
        "1: does not begin with the line WEBVTT"
    ]
