"""The table leaves in every format and comes back the same; what an annotator edits in between counts."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import hypothesis
import pyarrow as pa
import pytest
from bids_tables import tables
from hypothesis import given, settings

from release_kit.bids.annotations.table import COLUMNS, Row, annotation_table, table_rows
from release_kit.bids.annotations.write import FORMATS, read_exports, write_annotations
from release_kit.core.errors import ReleaseKitError

N_TABLES = 500

A01 = {"level": "story", "annotator": "A01", "language": "en", "annot_id": "storyA01"}
A02 = {"level": "speech", "annotator": "A02", "language": "ja", "annot_id": "speechA02"}
ROWS = (
    Row(stim_id="bb", onset_s=0.5, duration_s=1.25, text='He said "go".\nShe went.', speaker="Bo", **A01),
    Row(stim_id="bb", onset_s=1, duration_s=1, text="Overlap", speaker="Bo", **A01),
    Row(stim_id="bb", onset_s=3, duration_s=0, text="男が走る", **A02),
    Row(stim_id="gits", onset_s=1 / 3, duration_s=2, **A01),
)


def check_every_format(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for fmt in FORMATS:
            hypothesis.note(fmt)
            out = Path(folder) / fmt
            out.mkdir()
            write_annotations(table, fmt, out)
            back = read_exports(out, fmt)
            assert back.to_pylist() == table.to_pylist()
            assert back.schema.equals(table.schema, check_metadata=True) and back.column_names == list(COLUMNS)


@settings(max_examples=15)
@given(table=tables())
def test_random_tables_come_back_the_same(table: pa.Table):
    check_every_format(table)


@pytest.mark.slow
@settings(max_examples=N_TABLES)
@given(table=tables())
def test_five_hundred_random_tables_come_back_the_same(table: pa.Table):
    check_every_format(table)


def test_names_of_files_say_stimulus_and_source(tmp_path: Path):
    table = annotation_table(ROWS)
    names = {fmt: sorted(path.name for path in write_annotations(table, fmt, tmp_path / fmt)) for fmt in FORMATS}
    assert names["csv"] == ["annotations.csv"] and names["parquet"] == ["annotations.parquet"]
    assert names["srt"][::2] == [
        "stim-bb_annot-speechA02.srt",
        "stim-bb_annot-storyA01.srt",
        "stim-gits_annot-storyA01.srt",
    ]
    assert names["srt"][1::2] == [f"{name}.json" for name in names["srt"][::2]]
    assert names["textgrid"] == [f"stim-{x}.TextGrid{end}" for x in ("bb", "gits") for end in ("", ".json")]


def test_equal_tables_give_equal_bytes_whatever_their_order(tmp_path: Path):
    for fmt in FORMATS:
        one = write_annotations(annotation_table(ROWS), fmt, tmp_path / "one" / fmt)
        two = write_annotations(annotation_table(reversed(ROWS)), fmt, tmp_path / "two" / fmt)
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("fmt", ["srt", "vtt", "textgrid", "elan"])
def test_an_edited_word_counts_and_the_rest_stays(fmt: str, tmp_path: Path):
    files = write_annotations(annotation_table(ROWS), fmt, tmp_path)
    edited = next(path for path in files if "Overlap" in path.read_text(encoding="utf-8"))
    edited.write_text(edited.read_text(encoding="utf-8").replace("Overlap", "Edited"), encoding="utf-8")
    changed = [replace(row, text="Edited") if row.text == "Overlap" else row for row in ROWS]
    assert table_rows(read_exports(tmp_path, fmt)) == table_rows(annotation_table(changed))


def test_a_textgrid_saved_again_in_utf16_is_read(tmp_path: Path):
    write_annotations(annotation_table(ROWS), "textgrid", tmp_path)
    path = tmp_path / "stim-bb.TextGrid"
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-16"))
    back = [row for row in table_rows(read_exports(tmp_path, "textgrid")) if row.stim_id == "bb"]
    assert back[0].text == "男が走る" and len(back) == 3


def test_a_missing_companion_is_named(tmp_path: Path):
    write_annotations(annotation_table(ROWS), "vtt", tmp_path)
    (tmp_path / "stim-bb_annot-storyA01.vtt.json").unlink()
    with pytest.raises(ReleaseKitError, match=r"stim-bb_annot-storyA01\.vtt: has no companion"):
        read_exports(tmp_path, "vtt")


def test_an_unknown_tier_is_refused_with_its_name(tmp_path: Path):
    write_annotations(annotation_table(ROWS), "textgrid", tmp_path)
    path = tmp_path / "stim-gits.TextGrid"
    path.write_text(path.read_text(encoding="utf-8").replace('name = "storyA01"', 'name = "mine"'), encoding="utf-8")
    with pytest.raises(ReleaseKitError, match="knows no tier 'mine'"):
        read_exports(tmp_path, "textgrid")


def test_a_companion_of_another_version_is_refused(tmp_path: Path):
    write_annotations(annotation_table(ROWS), "srt", tmp_path)
    path = tmp_path / "stim-gits_annot-storyA01.srt.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "schema_version": 2}), encoding="utf-8")
    with pytest.raises(ReleaseKitError, match="update release_kit"):
        read_exports(tmp_path, "srt")


def test_a_text_that_readers_of_csv_do_not_take_leaves_in_other_formats(tmp_path: Path):
    table = annotation_table([replace(ROWS[0], text="x" * 131_073)])
    with pytest.raises(ReleaseKitError, match=r"1 annotation of more than 131,072 characters \(the first at 0.5 s"):
        write_annotations(table, "csv", tmp_path / "long.csv")
    assert not list(tmp_path.iterdir())
    for fmt in ("tsv", "parquet"):
        (path,) = write_annotations(table, fmt, tmp_path / f"long.{fmt}")
        assert read_exports(path).equals(table)
    table = annotation_table([replace(ROWS[0], text="x" * 131_072)])
    (path,) = write_annotations(table, "csv", tmp_path / "just.csv")
    assert read_exports(path).equals(table)


def test_a_parquet_file_damaged_anywhere_is_refused_or_the_same(tmp_path: Path):
    table = annotation_table(ROWS)
    (path,) = write_annotations(table, "parquet", tmp_path)
    whole = path.read_bytes()
    n_refused = 0
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_exports(path)
        except ReleaseKitError as error:
            assert str(path) in str(error)
            n_refused += 1
    assert n_refused > 5


@pytest.mark.parametrize("fmt", ["elan", "textgrid"])
def test_a_source_whose_name_no_format_can_hold_comes_back_the_same(fmt: str, tmp_path: Path):
    table = annotation_table([replace(ROWS[0], annot_id="a\x01\nb"), replace(ROWS[1], annot_id="a b")])
    write_annotations(table, fmt, tmp_path)
    assert read_exports(tmp_path).to_pylist() == table.to_pylist()
