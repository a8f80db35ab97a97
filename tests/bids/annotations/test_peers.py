"""The tools that annotators use read our files as they were meant, and we read what those tools write.

Praat itself (as the package praat-parselmouth), pympi for ELAN, and two parsers of subtitles.
"""

import html
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bids_readers import FILM, source
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.annotations.read import read_annotations
from release_kit.bids.annotations.table import Row, annotation_table, table_rows
from release_kit.bids.annotations.write import write_annotations

_texts = st.sampled_from(["hello world", 'say "hi"', "男が走る。", "a & b <i>c</i>", "two\nlines", "1", "x: y", "é"])
_times_ms = st.integers(0, 9000)
_rows = st.builds(
    lambda onset, duration, text, speaker: Row(
        stim_id="film",
        onset_s=onset / 1000,
        duration_s=duration / 1000,
        level="story",
        annotator="A01",
        language="ja",
        annot_id="storyA01",
        text=text,
        speaker=speaker,
    ),
    _times_ms,
    _times_ms,
    _texts,
    st.sampled_from([None, "Bo", "Walter White", "ジェシー"]),
)
_tables = st.lists(_rows, min_size=1, max_size=8).map(annotation_table)


def _written(table: pa.Table, fmt: str, folder: str) -> Path:
    return write_annotations(table, fmt, Path(folder), overwrite=True)[0]


def _read_back(path: Path, reader: str, table: pa.Table, **options: Any) -> None:
    rows = read_annotations(path, source(reader, **options), FILM, None)
    assert sorted((round(row.onset_s, 6), row.text) for row in rows) == sorted(
        (row.onset_s, row.text) for row in table_rows(table)
    )


@settings(max_examples=25)
@given(table=_tables)
def test_praat_reads_and_writes_the_same_labels(table: pa.Table):
    parselmouth = pytest.importorskip("parselmouth")
    call = parselmouth.praat.call
    with tempfile.TemporaryDirectory() as folder:
        grid = parselmouth.read(str(_written(table, "textgrid", folder)))
        assert sorted(_labels(grid, call)) == sorted(
            (round(row.onset_s, 6), round(row.onset_s + row.duration_s, 6), row.text) for row in table_rows(table)
        )
        for form in ("Save as text file", "Save as short text file"):
            call(grid, form, f"{folder}/saved.TextGrid")
            _read_back(Path(folder) / "saved.TextGrid", "textgrid", table, speakers="tier")


def _labels(grid: Any, call: Any) -> list[tuple[float, float, str]]:
    """Return (onset, end, label) of every labelled interval and point, as Praat answers."""
    found = []
    for tier in range(1, int(call(grid, "Get number of tiers")) + 1):
        if call(grid, "Is interval tier", tier):
            for i in range(1, int(call(grid, "Get number of intervals", tier)) + 1):
                times = (call(grid, f"Get {side} time of interval", tier, i) for side in ("start", "end"))
                found.append((*times, call(grid, "Get label of interval", tier, i)))
        else:
            for i in range(1, int(call(grid, "Get number of points", tier)) + 1):
                time = call(grid, "Get time of point", tier, i)
                found.append((time, time, call(grid, "Get label of point", tier, i)))
    return [(round(onset, 6), round(end, 6), label) for onset, end, label in found if label]


@settings(max_examples=25)
@given(table=_tables)
def test_pympi_reads_and_writes_the_same_elan_document(table: pa.Table):
    elan = pytest.importorskip("pympi.Elan")
    with tempfile.TemporaryDirectory() as folder:
        document = elan.Eaf(str(_written(table, "elan", folder)))
        found = [item[:3] for name in document.get_tier_names() for item in document.get_annotation_data_for_tier(name)]
        ends = {row: round((row.onset_s + row.duration_s) * 1000) for row in table_rows(table)}
        starts = {row: round(row.onset_s * 1000) for row in table_rows(table)}
        assert sorted(found) == sorted(
            (starts[row], max(starts[row] + 1, ends[row]), row.text) for row in table_rows(table)
        )
        document.to_file(f"{folder}/saved.eaf")
        _read_back(Path(folder) / "saved.eaf", "elan", table, speakers="participant")


@settings(max_examples=25)
@given(table=_tables)
def test_parsers_of_subtitles_find_every_cue(table: pa.Table):
    srt, webvtt = pytest.importorskip("srt"), pytest.importorskip("webvtt")
    rows = table_rows(table)
    with tempfile.TemporaryDirectory() as folder:
        cues = list(srt.parse(_written(table, "srt", folder).read_text(encoding="utf-8")))
        assert [cue.content for cue in cues] == [
            f"{row.speaker}: {row.text}" if row.speaker else row.text for row in rows
        ]
        assert [cue.start.total_seconds() for cue in cues] == [row.onset_s for row in rows]
        captions = list(webvtt.read(str(_written(table, "vtt", folder))))
        assert [(html.unescape(cue.text), cue.voice) for cue in captions] == [(row.text, row.speaker) for row in rows]
