"""Files that are broken by chance or on purpose: rows or a clear refusal, never a crash; and documents that keep up."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from bids_readers import FILM, source
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.annotations.read import READERS, read_annotations, reader_options
from release_kit.bids.annotations.readers.intervals import IntervalOptions
from release_kit.bids.annotations.readers.seconds import SecondsOptions
from release_kit.bids.annotations.readers.subtitles import SubtitleOptions
from release_kit.bids.annotations.readers.textgrid import TierOptions
from release_kit.bids.annotations.write import read_exports
from release_kit.core.errors import ReleaseKitError

DOCS = Path(__file__).resolve().parents[3] / "docs"

SEEDS = {
    "seconds": "[0] a/b\n[1] メイン#Bo:x/Al:y\n",
    "seconds-table": "a\tb\n..\tc\n",
    "intervals": 'onset,duration,text\n0,1,"a, b"\n1.5,2,c\n',
    "srt": "1\n00:00:01,000 --> 00:00:02,000\nBo: a\n\n2\n00:00:03,000 --> 00:00:04,000\nb\n",
    "vtt": "WEBVTT\n\nid\n00:01.000 --> 00:02.000\n<v Bo>a &amp; b\n",
    "textgrid": 'File type = "ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n'
    '"IntervalTier"\n"t"\n0\n2\n1\n0\n2\n"a ""b"""\n',
    "elan": '<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="1"/></TIME_ORDER>'
    '<TIER TIER_ID="t"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="x" TIME_SLOT_REF1="a" TIME_SLOT_REF2="a">'
    "<ANNOTATION_VALUE>v</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
}
_scraps = st.sampled_from(
    [
        "",
        "\n",
        "\r",
        "\t",
        '"',
        "-1",
        "1e999",
        "nan",
        "<",
        "&",
        "-->",
        "\0",
        "é",
        "男",
        "[",
        "]",
        "9" * 400,
        ":",
        "/",
        "!",
    ]
)
_edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), _scraps), min_size=1, max_size=4)
_codes = st.sampled_from(["utf-8", "utf-16", "cp932", "latin-1"])


@pytest.mark.parametrize("reader", sorted(SEEDS))
@settings(max_examples=40)
@given(edits=_edits, code=_codes)
def test_a_damaged_file_is_read_or_refused_and_never_crashes(
    reader: str, edits: list, code: str, tmp_path_factory: pytest.TempPathFactory
):
    text = SEEDS[reader]
    for where, n_cut, scrap in edits:
        at = int(where * len(text))
        text = text[:at] + scrap + text[at + n_cut :]
    options = {"header": False} if reader == "seconds-table" else {}
    path = tmp_path_factory.getbasetemp() / f"damaged-{reader}"
    path.write_bytes(text.encode(code, errors="replace"))
    try:
        rows = read_annotations(path, source(reader, **options), FILM, None)
    except ReleaseKitError as error:
        assert str(path) in str(error)
    else:
        assert all(row.onset_s >= 0 and row.duration_s >= 0 and row.text != "" for row in rows)


def test_every_seed_is_read_when_nothing_is_damaged(tmp_path: Path):
    assert set(SEEDS) == set(READERS)
    for reader, text in SEEDS.items():
        (tmp_path / "x").write_text(text, encoding="utf-8")
        options = {"header": False} if reader == "seconds-table" else {}
        assert read_annotations(tmp_path / "x", source(reader, **options), FILM, None)


@pytest.mark.parametrize("name", ["annotations.csv", "annotations.tsv"])
def test_every_wrong_row_of_an_edited_table_is_named(name: str, tmp_path: Path):
    between = "," if name.endswith("csv") else "\t"
    columns = ["stim_id", "onset_s", "duration_s", "level", "annotator", "language", "text", "speaker", "annot_id"]
    rows = ["f nan 1 l A en t s x", "f 0 -1 l A en t s x", "f 0 1 l A en t s", "f 0 1 l A en t s x"]
    lines = [between.join(columns), *(between.join(row.split()) for row in rows)]
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ReleaseKitError) as caught:
        read_exports(tmp_path / name)
    said = str(caught.value)
    if name.endswith("csv"):
        assert "row 1 below the header: onset: 'nan'" in said and "row 2 below the header: duration: -1" in said
        assert "row 3 below the header: expected 9 cells, got 8" in said and "3 problems" in said
    else:
        assert "line 4: expected 9 fields, got 8" in said


def test_the_format_page_names_every_option():
    page = (DOCS / "formats" / "annotations.md").read_text(encoding="utf-8")
    names = {
        f.name for o in (SecondsOptions, IntervalOptions, SubtitleOptions, TierOptions) for f in dataclasses.fields(o)
    }
    internal = {"every", "tiers"}
    assert not [name for name in sorted(names - internal) if f"`{name}`" not in page and f"`{name}:" not in page]
    assert "`tier`" in page


def test_the_recipe_of_the_guide_has_options_that_readers_take():
    page = (DOCS / "bids-annotations.md").read_text(encoding="utf-8")
    declared = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["annotations"]
    assert len(declared) == 4
    for each in declared:
        assert reader_options(source(each["reader"], **each.get("options", {})))
