"""``stimuli/`` holds every stimulus and every annotation exactly, and any text survives a table."""

import io
import json

import annotation_study
import pyarrow.parquet as pq
import pytest
import yaml
from annotation_study import good_rows, good_table, make_recipe, row
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.stimuli import annotations_of, stimuli_files, stimulus_media
from release_kit.bids.annotations.table import annotation_table, table_rows
from release_kit.bids.annotations.tsv import escape_field, number, parse_tsv, tsv_bytes, unescape_field
from release_kit.bids.recipe.model import Stimulus
from release_kit.core.errors import RecordError, StudyError
from release_kit.core.resources import resource_root


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(stimuli_files(make_recipe(), good_table()))


def table(files: dict[str, bytes], path: str) -> list[dict[str, str | None]]:
    header, rows = parse_tsv(files[path], path)
    return [dict(zip(header, values, strict=True)) for values in rows]


def test_every_stimulus_has_a_row_with_what_the_recipe_says(files):
    film, short = table(files, bep044.STIMULI_TABLE)
    assert film["stimulus_id"] == "stim-film"
    assert (film["title"], film["duration"], film["present"], film["series"]) == ("The Film", "36", "false", "A")
    assert short["URL"] == "https://example.org/short"
    assert (short["series"], short["license"], short["language"]) == (None, None, None)


def test_columns_of_the_draft_come_first_and_every_column_is_described(files):
    for path, columns in (
        (bep044.STIMULI_TABLE, bep044.STIMULUS_COLUMNS),
        (bep044.ANNOTATIONS_TABLE, bep044.ANNOTATION_COLUMNS),
    ):
        header, _ = parse_tsv(files[path], path)
        assert tuple(header[: len(columns)]) == columns
        assert set(header) <= set(json.loads(files[path.replace(".tsv", ".json")]))


def test_annotations_say_who_annotated_what_from_what(files):
    rows = {values["annot_id"]: values for values in table(files, bep044.ANNOTATIONS_TABLE)}
    assert sorted(rows) == ["objectA01", "storyA01", "storyA01ja", "storyA02", "timeplaceA03"]
    japanese = rows["storyA01ja"]
    assert (japanese["level"], japanese["annotator_id"], japanese["language"]) == ("story", "A01", "ja")
    assert (japanese["translated_from"], japanese["tool"]) == ("storyA01", "DeepL")
    assert (japanese["n_intervals"], japanese["coverage"], japanese["granularity"]) == ("6", "1", "every 6 s")


def test_events_files_and_level_tables_give_the_table_back(files):
    found = []
    for annotation in annotations_of(good_table(), make_recipe()):
        for stim_id in ("film", "short"):
            path = bep044.annotation_path(stim_id, annotation.id)
            for values in table(files, path) if path in files else ():
                found.append(
                    row(annotation.id, float(values["onset"]), float(values["duration"]), values["text"],
                        speaker=values["speaker"], language=annotation.language, stim_id=stim_id)
                )  # fmt: skip
    assert annotation_table(found).equals(good_table())
    levels = {path: data for path, data in files.items() if path.endswith(".parquet")}
    assert sorted(levels) == [bep044.level_table_path(name) for name in ("object", "story", "timeplace")]
    together = [row for data in levels.values() for row in table_rows(pq.read_table(io.BytesIO(data)))]
    assert annotation_table(together).equals(good_table())


def test_the_order_of_rows_does_not_change_a_byte(files):
    assert dict(stimuli_files(make_recipe(), annotation_table(good_rows()[::-1]))) == files
    assert dict(stimuli_files(make_recipe(), good_table().take(list(range(good_table().num_rows))[::-1]))) == files


def test_annotations_of_an_unknown_stimulus_are_refused():
    with pytest.raises(StudyError, match="other"):
        list(stimuli_files(make_recipe(), annotation_table([row("storyA01", 0, 1, "x", stim_id="other")])))


def test_one_id_for_two_annotators_is_refused():
    mixed = [row("storyA01", 0, 1, "x"), row("storyA01", 1, 1, "y", language="de")]
    with pytest.raises(StudyError, match="storyA01"):
        annotations_of(annotation_table(mixed))


def test_annotators_told_apart_in_one_file_keep_their_source_and_their_translation():
    recipe = make_recipe(
        annotations=(
            annotation_study.source("story", "story", "pool"),
            annotation_study.source("storyja", "story", "pool", language="ja", translated_from="story", tool="DeepL"),
        )
    )
    rows = [row("storyA01", 0, 1, "x"), row("storyA02", 0, 1, "y"), row("storyjaA02", 0, 1, "z", language="ja")]
    rows[2] = rows[2].__class__(**{**_values(rows[2]), "level": "story", "annotator": "A02"})
    found = {a.id: a for a in annotations_of(annotation_table(rows), recipe)}
    assert (found["storyjaA02"].translated_from, found["storyjaA02"].tool) == ("storyA02", "DeepL")
    assert found["storyA01"].translated_from is None


def _values(value) -> dict:
    return {name: getattr(value, name) for name in value.__slots__}


def test_media_that_the_recipe_names_are_present_under_the_name_of_the_draft(tmp_path):
    films = {"film": Stimulus(label="film", title="F", duration_s=1, file="media/Film.MP4", columns={"type": "video"})}
    recipe = make_recipe(tmp_path, stimuli=films)
    assert list(stimulus_media(recipe)) == [("stimuli/stim-film_video.mp4", tmp_path / "media/Film.MP4")]
    _, rows = parse_tsv(dict(stimuli_files(recipe, annotation_table([])))[bep044.STIMULI_TABLE], "x")
    assert rows[0][1] == "video" and rows[0][6] == "true"


def test_media_of_a_film_say_in_the_table_what_their_name_says(tmp_path):
    recipe = make_recipe(tmp_path, stimuli={"film": Stimulus(label="film", title="F", duration_s=1, file="film.mp4")})
    assert [path for path, _ in stimulus_media(recipe)] == ["stimuli/stim-film_audiovideo.mp4"]
    _, rows = parse_tsv(dict(stimuli_files(recipe, annotation_table([])))[bep044.STIMULI_TABLE], "x")
    assert rows[0][1] == "audiovideo"


def test_coverage_counts_no_second_after_the_stimulus(tmp_path):
    recipe = make_recipe(tmp_path, stimuli={"film": Stimulus(label="film", title="F", duration_s=36)})
    table = annotation_table([row("storyA01", 18, 99, "x")])
    header, rows = parse_tsv(dict(stimuli_files(recipe, table))[bep044.ANNOTATIONS_TABLE], "x")
    assert dict(zip(header, rows[0], strict=True))["coverage"] == "0.5"


def test_the_five_levels_of_the_vocabulary_are_described():
    levels = yaml.safe_load(resource_root("bids").joinpath("levels.yaml").read_text(encoding="utf-8"))["levels"]
    assert list(levels) == ["speech", "object", "story", "summary", "timeplace"]
    assert all(set(level) == {"description", "granularity"} and all(level.values()) for level in levels.values())


@settings(max_examples=500)
@given(
    st.one_of(
        st.none(), st.text(st.characters(exclude_categories=("Cs",))), st.sampled_from(["n/a", '"a"', "\\", "\\u0041"])
    )
)
def test_any_text_survives_a_field(text):
    field = escape_field(text)
    assert unescape_field(field) == text
    assert len(field.splitlines()) == 1 and "\t" not in field and field == field.strip()


@settings(max_examples=200)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.one_of(st.none(), st.text(max_size=6)), min_size=n, max_size=n), max_size=5)
    )
)
def test_any_table_of_texts_survives(rows):
    header = [f"c{i}" for i in range(len(rows[0]) if rows else 2)]
    assert parse_tsv(tsv_bytes(header, rows), "x") == (header, rows)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e12))
def test_numbers_are_exact_and_have_no_exponent(value):
    assert float(number(value)) == value
    assert "e" not in number(value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no header"),
        (b"a\tb\n1\n", "line 2"),
        (b"a\n\\q\n", "no escape"),
        (b"a\n\\ud800\n", "no escape"),
        (b"a\n\xff\n", "UTF-8"),
    ],
)
def test_broken_tables_are_refused_with_their_place(data, says):
    with pytest.raises(RecordError, match=says):
        parse_tsv(data, "x.tsv")


def test_pandas_reads_the_files_without_our_help(files):
    pandas = pytest.importorskip("pandas")
    text = files[bep044.annotation_path("short", "storyA01")].decode()
    frame = pandas.read_csv(io.StringIO(text), sep="\t", na_values="n/a")
    assert frame["text"].tolist() == ["A dog runs\\tand runs\\nhome"]
    assert frame["onset"].tolist() == [0] and frame["speaker"].isna().all()
