"""Events of each run say what of which stimulus was on when."""

import json

import annotation_study
from annotation_study import good_table, make_recipe, row

from release_kit.bids.annotations.events import events_files, scene_sources
from release_kit.bids.annotations.runs import run_derivative_files
from release_kit.bids.annotations.table import annotation_table
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.recipe.model import Run


def rows_of(data: bytes) -> list[dict[str, str | None]]:
    header, rows = parse_tsv(data, "x")
    return [dict(zip(header, values, strict=True)) for values in rows]


def test_every_subject_that_has_the_run_has_its_events():
    files = dict(events_files(make_recipe(), good_table()))
    assert sorted(path for path in files if path.endswith(".tsv")) == [
        "sub-01/func/sub-01_task-film_run-01_events.tsv",
        "sub-01/func/sub-01_task-film_run-02_events.tsv",
        "sub-01/func/sub-01_task-short_run-01_events.tsv",
        "sub-02/func/sub-02_task-film_run-01_events.tsv",
        "sub-02/func/sub-02_task-short_run-01_events.tsv",
    ]
    assert sorted(path for path in files if path.endswith(".json")) == [
        "task-film_events.json",
        "task-short_events.json",
    ]


def test_rows_give_the_play_position_of_stimulus_overlap_scenes_and_end():
    files = dict(events_files(make_recipe(), good_table()))
    rows = rows_of(files["sub-01/func/sub-01_task-film_run-02_events.tsv"])
    found = [(r["onset"], r["duration"], r["trial_type"], r["stim_start"], r["stim_end"], r["scene"]) for r in rows]
    assert found == [
        ("2", "20", "stimulus", "16", "36", None),
        ("2", "4", "overlap", "16", "20", None),
        ("2", "2", "scene", "16", "18", "day, station"),
        ("4", "18", "scene", "18", "36", "day, platform"),
        ("21", "1", "end", "35", "36", None),
    ]
    assert {r["stim_id"] for r in rows} == {"stim-film"}
    assert [r["annot_id"] for r in rows] == [None, None, "timeplaceA03", "timeplaceA03", None]


def test_a_task_without_scenes_has_no_columns_of_them():
    files = dict(events_files(make_recipe(), good_table()))
    header, _ = parse_tsv(files["sub-01/func/sub-01_task-short_run-01_events.tsv"], "x")
    assert header == ["onset", "duration", "trial_type", "stim_id", "stim_start", "stim_end"]


def test_every_column_is_described_and_the_presentation_is_the_recipes():
    files = dict(events_files(make_recipe(), good_table()))
    for task in ("film", "short"):
        sidecar = json.loads(files[f"task-{task}_events.json"])
        header, _ = parse_tsv(files[f"sub-01/func/sub-01_task-{task}_run-01_events.tsv"], "x")
        assert set(header) <= set(sidecar)
        assert sidecar["StimulusPresentation"] == {"SoftwareName": "VLC"}


def test_runs_that_show_nothing_have_no_events():
    rest = Run(task="rest", run=1, tr_s=1, recording=annotation_study.RECORDING)
    assert not list(events_files(make_recipe(runs=(rest,)), good_table()))


def test_a_run_that_nobody_has_leaves_no_file_about_nothing():
    """The reference validator calls a sidecar without its data an error."""
    gone = {"01": "the scanner stopped", "02": "the scanner stopped"}
    lost = Run(
        task="lost", run=1, tr_s=1, recording=annotation_study.RECORDING, shows=annotation_study.FILM, missing=gone
    )
    recipe = make_recipe(runs=(*make_recipe().runs, lost))
    paths = [path for make in (events_files, run_derivative_files) for path, _ in make(recipe, good_table())]
    assert paths and not [path for path in paths if "task-lost" in path]


def test_sessions_are_folders():
    run = Run(
        task="film", run=1, session="a", tr_s=1, recording=annotation_study.RECORDING, shows=annotation_study.FILM
    )
    paths = [path for path, _ in events_files(make_recipe(runs=(run,)), good_table())]
    assert "sub-01/ses-a/func/sub-01_ses-a_task-film_run-01_events.tsv" in paths


def test_scenes_are_those_of_one_original_annotator():
    recipe = make_recipe(
        annotations=(
            annotation_study.source("timeplaceA01en", "timeplace", "A01", translated_from="timeplaceA02"),
            annotation_study.source("timeplaceA02", "timeplace", "A02", language="ja"),
        )
    )
    rows = [row("timeplaceA01en", 0, 9, "day"), row("timeplaceA02", 0, 9, "昼", language="ja")]
    assert scene_sources(recipe, annotation_table(rows))["film"].id == "timeplaceA02"
