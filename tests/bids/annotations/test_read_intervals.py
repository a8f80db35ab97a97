"""Tables of intervals: columns by name, three units, and everything that is wrong with a file at once."""

from pathlib import Path

import pytest
from bids_readers import problems, read, source, spans

from release_kit.core.errors import RecordError


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("onset,duration,text,speaker\n1.5,0.3,Hi,Bo\n", {}),
        ("onset_s\tend_s\ttext\tspeaker\n1.5\t1.8\tHi\tBo\n", {}),
        ("who,b,e,what\nBo,1500,1800,Hi\n",
         {"columns": {"onset": "b", "end": "e", "text": "what", "speaker": "who"}, "units": "ms"}),
        ("start;end;text;speaker\n00:00:01,500;0:01.8;Hi;Bo\n", {"separator": ";", "units": "timecode"}),
        ("onset,duration,end,text,speaker\n1.5,0.3,1.8,Hi,Bo\n\n", {}),
        ("start,end,text,speaker,rater\n9,10,No,,K\n1.5,1.8,Hi,Bo,M\n", {"select": {"rater": "M"}}),
    ],
)  # fmt: skip
def test_columns_units_and_separators(text: str, options: dict, tmp_path: Path):
    assert spans(read(tmp_path, text, source("intervals", **options))) == [(1.5, 0.3, "Hi", "Bo")]


def test_a_column_to_select_by_does_not_take_the_place_of_the_text(tmp_path: Path):
    text = "onset,duration,what,text\n0,1,yes,K\n1,1,no,M\n"
    options = {"columns": {"text": "what"}, "select": {"text": "K"}}
    assert spans(read(tmp_path, text, source("intervals", **options))) == [(0, 1, "yes", None)]


def test_a_cell_longer_than_any_text_is_refused_in_plain_words(tmp_path: Path):
    """A quote that is never closed takes the rest of the file into its cell."""
    text = 'onset,duration,text\n0,1,"never closed\n' + "1,1,a line of text\n" * 9_000
    (said,) = problems(tmp_path, text, source("intervals"))
    assert "2: has a cell of more than 131,072 characters" in said and "double quote that is never closed" in said
    assert "field limit" not in said


def test_quoted_cells_hold_separators_quotes_and_line_ends(tmp_path: Path):
    text = 'onset,duration,text\r\n0,1,"a, ""b""\nc\td"\r\n2,1,last\r\n'
    assert spans(read(tmp_path, text, source("intervals"))) == [(0, 1, 'a, "b"\nc\td', None), (2, 1, "last", None)]
    bare = 'onset\tduration\ttext\n0\t1\t"Hi" he said\n'
    assert "`quotes: false`" in problems(tmp_path, bare, source("intervals"))[0]
    assert read(tmp_path, bare, source("intervals", quotes=False))[0].text == '"Hi" he said'


def test_overlapping_and_unsorted_rows_are_read_as_they_stand(tmp_path: Path):
    rows = read(tmp_path, "onset,duration,text\n5,4,b\n1,9,a\n5,4,b\n", source("intervals"))
    assert [row.text for row in rows] == ["b", "a", "b"]


def test_missing_text_is_null(tmp_path: Path):
    text = "onset,duration,text\n0,1,n/a\n1,1,\n2,1,不明\n"
    assert [row.text for row in read(tmp_path, text, source("intervals", unknown=["n/a", "不明"]))] == [None] * 3
    assert read(tmp_path, text, source("intervals", keep_missing=False))[0].text == "不明"


def test_every_wrong_line_is_named(tmp_path: Path):
    text = 'onset,end,text\n0,1,ok\n2,1,x\nnan,3,x\n-1,2,x\n1;5,2,x\n4,inf,x\n5,6\n"6\n",7,two lines\n7,,x\n8,1e400,x\n'
    found = problems(tmp_path, text, source("intervals"))
    assert found == [
        "3: ends at 1 s, before it begins at 2 s",
        "4: onset: 'nan' is not a plain number",
        "5: begins at -1 s, before the clock starts",
        "6: onset: '1;5' is not a plain number",
        "7: end: 'inf' is not a plain number",
        "8: expected 3 cells, got 2",
        "11: end: the time is missing",
        "12: end: '1e400' is not a plain number",
    ]


def test_a_negative_duration_and_an_end_that_contradicts_it_are_refused(tmp_path: Path):
    found = problems(tmp_path, "onset,duration,end,text\n3,-1,2,x\n3,1,9,x\n", source("intervals"))
    assert found == ["2: has the negative duration -1", "3: ends at 9 s, but onset and duration say 4 s"]


def test_columns_that_are_missing_or_may_be_two_things_are_named(tmp_path: Path):
    assert "needs an onset and a duration" in problems(tmp_path, "time,text\n0,a\n", source("intervals"))[0]
    assert "may all be the onset" in problems(tmp_path, "onset,start,end\n0,0,1\n", source("intervals"))[0]
    mapped = source("intervals", columns={"text": "txet"}, select={"raters": "K"})
    found = problems(tmp_path, "onset,end,text,rater\n0,1,a,K\n", mapped)
    assert "did you mean 'text'" in found[0] and "did you mean 'rater'" in found[1]
    assert problems(tmp_path, "", source("intervals")) == ["None: has no header line"]


def test_files_that_are_no_text_say_what_they_are(tmp_path: Path):
    assert "save the sheet as CSV" in problems(tmp_path, b"PK\x03\x04rest", source("intervals"))[0]
    assert "cannot be told for sure" in problems(tmp_path, "onset,end\n0,é\n".encode("cp1252"), source("intervals"))[0]


def test_unknown_options_are_refused_with_the_nearest(tmp_path: Path):
    for options, said in [
        ({"unit": "s"}, "did you mean 'units'"),
        ({"columns": {"onsets": "a"}}, "did you mean 'onset'"),
    ]:
        with pytest.raises(RecordError, match=said):
            read(tmp_path, "onset,end\n0,1\n", source("intervals", **options))
    with pytest.raises(RecordError, match="did you mean 'intervals'"):
        read(tmp_path, "", source("interval"))
