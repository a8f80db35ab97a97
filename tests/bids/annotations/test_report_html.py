"""The quality report as a page: well-formed, self-contained, the same every time, and safe with any text."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from annotation_study import good_rows, make_recipe, row

from release_kit.bids.annotations.quality import quality_report
from release_kit.bids.annotations.quality_records import Quality
from release_kit.bids.annotations.report_html import render_report
from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.annotations.timeline import GUTTER, RIGHT, WIDTH, clock, timeline_svg
from release_kit.bids.recipe.model import Stimulus

VOID = {"meta", "br", "link", "img", "input", "hr"}


def report(rows: list[Row], **changes: object) -> Quality:
    return quality_report(make_recipe(**changes), annotation_table(rows), embed=False)


class Balanced(HTMLParser):
    """Fails on an element that is not closed in its place; collects the names of all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def picture(quality: Quality, label: str = "film") -> ET.Element:
    stimulus = next(stimulus for stimulus in quality.stimuli if stimulus.label == label)
    tracks = [track for track in quality.tracks if track.stimulus == label]
    return ET.fromstring(timeline_svg(stimulus, tracks, [a for a in quality.agreements if a.stimulus == label]))


def test_page_is_well_formed_and_fetches_nothing():
    page = render_report(report(good_rows()))
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert not {"script", "link", "img", "iframe"} & set(parser.seen)
    assert not re.search(r"(?:src|href)=|url\(|https?:", page)
    assert parser.seen.count("svg") == 2


def test_the_same_report_gives_the_same_page():
    assert render_report(report(good_rows())) == render_report(report(good_rows()[::-1]))


def test_text_of_a_study_cannot_become_markup():
    evil = '<script>alert("1")</script>'
    films = {"film": Stimulus(label="film", title=evil, duration_s=36)}
    rows = [
        row("storyA01", 0, 6, f"{evil} and 彼は駅で待つ彼は駅で待つ彼は駅で待つ彼は駅で待つ"),
        row("storyA02", 40, 6, ".."),
    ]
    page = render_report(report(rows, stimuli=films))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_page_names_every_finding_and_says_when_there_is_none():
    clean = render_report(report([r for r in good_rows() if r.stim_id == "film"]))
    assert "Nothing was found" in clean
    page = render_report(report([row("storyA01", 30, 9, "a"), row("storyA01", 0, 0, "b")]))
    assert "outside-stimulus" in page and "zero-duration" in page and "Nothing was found" not in page


def test_many_findings_of_one_code_are_counted_not_all_listed():
    films = {f"f{i}": Stimulus(label=f"f{i}", title=f"F{i}", duration_s=5) for i in range(20)}
    page = render_report(report([row("storyA01", 0, 9, "a", stim_id=name) for name in films], stimuli=films))
    assert "and 8 more" in page


def test_a_study_without_annotations_has_a_page():
    page = render_report(report([]))
    assert page.count("no annotations") == 2


def test_bars_lie_where_the_texts_are():
    svg = picture(report([row("storyA01", 9, 9, "a"), row("storyA01", 27, 4.5, None)]))
    plot = WIDTH - GUTTER - RIGHT
    bars = {bar[0].text: bar for bar in svg.iter("rect")}
    text = bars["storyA01: 0:09 to 0:18"]
    assert float(text.get("x")) == pytest.approx(GUTTER + plot / 4, abs=0.02)
    assert float(text.get("width")) == pytest.approx(plot / 4, abs=0.02)
    empty = next(bar for title, bar in bars.items() if title.startswith("marked without a text"))
    assert float(empty.get("width")) == pytest.approx(plot / 8, abs=0.02)


def test_picture_shows_runs_what_is_shown_again_and_agreement():
    titles = [title.text for title in picture(report(good_rows())).iter("title")]
    assert "film run 2: 0:16 to 0:36" in titles
    assert "film run 2 shows 4 s again" in titles
    assert any(title.startswith("F1 ") for title in titles)


def test_nothing_is_drawn_outside_the_picture():
    svg = picture(report([row("storyA01", -5, 9, "a"), row("storyA01", 30, 60, "b")]))
    for bar in svg.iter("rect"):
        assert float(bar.get("x")) >= GUTTER
        assert float(bar.get("x")) + float(bar.get("width")) <= WIDTH - RIGHT + 1


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.4, "1:15"), (3600, "1:00:00"), (3599.6, "1:00:00")])
def test_times_read_as_a_clock(seconds, text):
    assert clock(seconds) == text
