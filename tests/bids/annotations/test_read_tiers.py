"""Praat TextGrids and ELAN documents: both text forms, tiers by name, references, and nothing that XML can smuggle."""

from pathlib import Path

import pytest
from bids_readers import problems, read, source, spans

LONG = '''\
File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.3
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "Mary ""M"""
        xmin = 0
        xmax = 2.3
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.1
            text = "say ""hi"" [2] 5 ! <exists>
next"
        intervals [2]:
            xmin = 1.1
            xmax = 1.4
            text = ""
        intervals [3]:
            xmin = 1.4
            xmax = 2.3
            text = "男"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.3
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
'''
SHORT = (
    'File type = "ooTextFile"\n"TextGrid"\n\n0\n2.3\n<exists>\n2\n"IntervalTier" "Mary ""M"""\n0 2.3 3\n0 1.1 '
    '"say ""hi"" [2] 5 ! <exists>\nnext"\n! a comment with "quotes" and 7\n1.1 1.4 ""\n1.4 2.3 "男"\n'
    '"TextTier" "bell" 0 2.3 1 1.5 "ding"\n'
)


@pytest.mark.parametrize("text", [LONG, SHORT, LONG.replace("\n", "\r\n")], ids=["long", "short", "CRLF"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_long_and_short_form_say_the_same(text: str, encoding: str, tmp_path: Path):
    rows = read(tmp_path, text.encode(encoding), source("textgrid", speakers="tier"))
    first = 'say "hi" [2] 5 ! <exists>\nnext'
    assert [(*row[:2], (row[2] or "").replace("\r", ""), row[3]) for row in spans(rows)] == [
        (0, 1.1, first, 'Mary "M"'),
        (1.4, 0.9, "男", 'Mary "M"'),
        (1.5, 0, "ding", "bell"),
    ]


def test_the_tier_must_be_said_where_there_are_several(tmp_path: Path):
    assert spans(read(tmp_path, LONG, source("textgrid", tier="bell"))) == [(1.5, 0, "ding", None)]
    assert "has the tiers" in problems(tmp_path, LONG, source("textgrid"))[0]
    assert "did you mean 'bell'" in problems(tmp_path, LONG, source("textgrid", tier=["bel"]))[0]


def test_broken_textgrids_are_refused_with_the_line(tmp_path: Path):
    for broken, said in [
        (LONG[:-3], "36: is no TextGrid: a quoted text never ends"),
        (LONG[: LONG.index("mark")], "ends where the label of a point should follow"),
        (LONG.replace("xmax = 1.4", "xmax = 1.0"), "21: ends at 1 s, before it begins at 1.1 s"),
        (LONG.replace('"IntervalTier"', '"Tier"'), "has the class 'Tier'"),
        (LONG.replace("size = 3", "size = 4"), "expected the start of an interval, got 'TextTier'"),
        (LONG.replace("size = 2", "size = 2.5"), "the number of tiers is 2.5"),
        ("just text", 'is no TextGrid: ends where "ooTextFile" should follow'),
    ]:
        text = broken.replace('text = ""', 'text = "x"')
        assert any(said in line for line in problems(tmp_path, text, source("textgrid", speakers="tier"))), said
    assert "binary TextGrid" in problems(tmp_path, b"ooBinaryFile\x08TextGrid", source("textgrid"))[0]


ELAN = """\
<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/>
 </TIME_ORDER>
 <TIER TIER_ID="talk" PARTICIPANT="Bo" LINGUISTIC_TYPE_REF="t">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>hi &amp; &lt;bye&gt;</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="words" PARENT_REF="talk" LINGUISTIC_TYPE_REF="w">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a3">
   <ANNOTATION_VALUE>bye</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
   <ANNOTATION_VALUE>hi</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="gloss" PARENT_REF="words" LINGUISTIC_TYPE_REF="g">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a4">
   <ANNOTATION_VALUE>leave</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER TIER_ID="empty" LINGUISTIC_TYPE_REF="t"/>
</ANNOTATION_DOCUMENT>
"""


def test_referring_annotations_take_and_share_the_time_of_their_parent(tmp_path: Path):
    rows = read(tmp_path, ELAN, source("elan", tier=["talk", "words", "gloss"], speakers="participant"))
    assert sorted(spans(rows), key=lambda row: (row[0], -row[1])) == [
        (1, 1, "hi & <bye>", "Bo"),
        (1, 0.5, "hi", None),
        (1.5, 0.5, "bye", None),
        (1.5, 0.5, "leave", None),
    ]
    assert "has the tiers 'talk', 'words', 'gloss'" in problems(tmp_path, ELAN, source("elan"))[0]


def test_a_time_slot_without_a_value_is_refused(tmp_path: Path):
    text = ELAN.replace('TIME_SLOT_REF2="ts2"', 'TIME_SLOT_REF2="ts3"')
    assert "has a time slot without a value" in problems(tmp_path, text, source("elan", tier="gloss"))[0]
    turned = ELAN.replace('TIME_VALUE="2000"', 'TIME_VALUE="500"')
    assert "annotation a1 ends at 0.5 s, before" in problems(tmp_path, turned, source("elan", tier="talk"))[0]


def test_references_to_nowhere_and_in_circles_are_refused(tmp_path: Path):
    lost = ELAN.replace('ANNOTATION_ID="a5" ANNOTATION_REF="a4"', 'ANNOTATION_ID="a5" ANNOTATION_REF="a9"')
    assert "refers to 'a9', which is not there" in problems(tmp_path, lost, source("elan", tier="gloss"))[0]
    circle = ELAN.replace('ANNOTATION_ID="a4" ANNOTATION_REF="a1"', 'ANNOTATION_ID="a4" ANNOTATION_REF="a5"')
    assert "which is not there" in problems(tmp_path, circle, source("elan", tier="gloss"))[0]


def test_annotations_of_one_id_are_refused_and_none_is_lost_in_silence(tmp_path: Path):
    twice = ELAN.replace('ANNOTATION_ID="a5"', 'ANNOTATION_ID="a4"')
    assert "2 annotations have the id 'a4'" in problems(tmp_path, twice, source("elan", tier="talk"))[0]


def test_xml_that_could_harm_or_is_broken_is_refused(tmp_path: Path):
    bomb = ELAN.replace("<ANNOTATION_DOCUMENT", '<!DOCTYPE x [<!ENTITY a "aaaa">]>\n<ANNOTATION_DOCUMENT', 1)
    assert "declares a document type or entities" in problems(tmp_path, bomb, source("elan", tier="talk"))[0]
    assert "not well-formed XML" in problems(tmp_path, ELAN[:-9], source("elan", tier="talk"))[0]
    assert "its root is 'html'" in problems(tmp_path, "<html/>", source("elan", tier="talk"))[0]
    frames = ELAN.replace('"milliseconds"', '"PAL-frames"')
    assert "counts its time in 'PAL-frames'" in problems(tmp_path, frames, source("elan", tier="talk"))[0]
