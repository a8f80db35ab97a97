"""A whole study's annotations: every file, every problem, one table that other tools load."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bids_factory import RECIPE, replace_in_recipe
from cli_in_process import release_kit

from release_kit.bids.annotations.collect import collect_annotations, source_rows
from release_kit.bids.annotations.problems import AnnotationError
from release_kit.bids.annotations.stimuli import stimuli_files
from release_kit.bids.annotations.table import SCHEMA, table_rows
from release_kit.bids.annotations.write import FORMATS, read_dataset_annotations, read_exports, write_annotations
from release_kit.bids.recipe.read import read_recipe
from release_kit.core.errors import RecordError

PARTS = """\
  - {id: speech, level: speech, annotator: A01, language: ja, reader: seconds, clock: run,
     pattern: "annotations/{task}_run{run}.txt", options: {form: speech, merge: true}}
"""


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    """A study of one film in two parts with an overlap of 4 s: three tables and a speech file a run."""
    (tmp_path / "annotations").mkdir()
    for name, step in (("story_A01", 4), ("story_A02", 6), ("object_A01", 1)):
        lines = ["onset,duration,text", *(f"{t},{step},{name} at {t} s" for t in range(0, 36, step))]
        (tmp_path / "annotations" / f"film_{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    for run, start in ((1, 0), (2, 16)):
        speech = [f"[{t}] メイン#ボー:{'行こう' if 14 <= start + t < 22 else f'言葉{start + t}'}\n" for t in range(20)]
        (tmp_path / "annotations" / f"film_run{run}.txt").write_text("".join(speech), encoding="cp932")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + PARTS, encoding="utf-8")
    return path


def test_every_source_is_in_one_table_of_stimulus_time(recipe_path: Path):
    table = collect_annotations(read_recipe(recipe_path))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    counts = Counter(row.annot_id for row in table_rows(table))
    assert counts == {"storyA01": 9, "storyA02": 6, "objectA01": 36, "speech": 29}
    assert {row.stim_id for row in table_rows(table)} == {"film"}


def test_what_a_part_repeats_is_there_once_and_joins_across_the_cut(recipe_path: Path):
    recipe = read_recipe(recipe_path)
    rows = source_rows(recipe, recipe.annotations[-1])
    assert sum(row.duration_s for row in rows) == 36
    assert [(row.onset_s, row.duration_s) for row in rows if row.text == "行こう"] == [(14, 8)]


def test_what_differs_in_the_repeated_spell_stays_for_the_report(recipe_path: Path):
    path = recipe_path.parent / "annotations" / "film_run2.txt"
    path.write_bytes(path.read_bytes().replace("行こう".encode("cp932"), "行くぞ".encode("cp932")))
    recipe = read_recipe(recipe_path)
    rows = source_rows(recipe, recipe.annotations[-1])
    assert [(row.text, row.onset_s, row.duration_s) for row in rows if row.text and row.text[0] == "行"] == [
        ("行こう", 14, 2),
        ("行こう", 16, 4),
        ("行くぞ", 16, 4),
        ("行くぞ", 20, 2),
    ]


def test_the_problems_of_all_files_come_together(recipe_path: Path):
    folder = recipe_path.parent / "annotations"
    (folder / "film_story_A01.csv").write_text("onset,duration,text\n0,-1,a\nx,1,b\n", encoding="utf-8")
    (folder / "film_story_A02.csv").unlink()
    (folder / "film_object_A01.csv").write_bytes(b"onset,duration,text\n0,1,caf\xe9\n")
    (folder / "film_run2.txt").write_text("[0] メイン#a\n[2] メイン#b\n", encoding="utf-8")
    with pytest.raises(AnnotationError) as caught:
        collect_annotations(read_recipe(recipe_path))
    places = [(Path(problem.path).name, problem.line) for problem in caught.value.problems]
    assert places == [
        ("film_object_A01.csv", None),
        ("film_run2.txt", 2),
        ("film_story_A01.csv", 2),
        ("film_story_A01.csv", 3),
        ("film_story_A02.csv", None),
    ]
    assert str(caught.value).startswith("5 problems:\n") and caught.value.to_dict()["problems"][1]["line"] == 2


def test_an_option_that_is_wrong_is_told_once(recipe_path: Path):
    replace_in_recipe(recipe_path.parent, "merge: true", "mrege: true")
    with pytest.raises(AnnotationError, match=r"`annotations\.speech\.options\.mrege` is not a known key.*'merge'"):
        collect_annotations(read_recipe(recipe_path))


def _dataset(recipe_path: Path, folder: Path) -> Path:
    recipe = read_recipe(recipe_path)
    for name, data in stimuli_files(recipe, collect_annotations(recipe)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "dataset_description.json").write_text("{}", encoding="utf-8")
    return folder


def test_a_dataset_gives_the_table_back(recipe_path: Path, tmp_path: Path):
    dataset = _dataset(recipe_path, tmp_path / "dataset")
    assert read_dataset_annotations(dataset).equals(collect_annotations(read_recipe(recipe_path)))
    absent = dataset / "stimuli" / "stim-film_annot-storyA01_events.tsv"
    absent.unlink()
    absent.symlink_to("../.git/annex/objects/not-here")
    assert set(read_dataset_annotations(dataset)["annot_id"].to_pylist()) == {"storyA02", "objectA01", "speech"}


def test_an_events_file_that_no_annotation_lists_is_refused(recipe_path: Path, tmp_path: Path):
    dataset = _dataset(recipe_path, tmp_path / "dataset")
    (dataset / "stimuli" / "stim-film_annot-mine_events.tsv").write_text("onset\tduration\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"'mine' is not in stimuli/annotations\.tsv"):
        read_dataset_annotations(dataset)
    with pytest.raises(RecordError, match=r"annotations\.tsv: cannot be read"):
        read_dataset_annotations(tmp_path)


@pytest.mark.parametrize("fmt", FORMATS)
def test_export_writes_a_dataset_and_reads_it_back(fmt: str, recipe_path: Path, tmp_path: Path):
    dataset = _dataset(recipe_path, tmp_path / "dataset")
    done = release_kit("bids", "export", dataset, tmp_path / "out", "--format", fmt, "--level", "story")
    assert done.returncode == 0, done.stderr
    assert "15 annotations in " in done.stdout
    expected = [row for row in table_rows(read_dataset_annotations(dataset)) if row.level == "story"]
    assert table_rows(read_exports(tmp_path / "out")) == expected


def test_export_goes_from_recipe_to_praat_to_csv(recipe_path: Path, tmp_path: Path):
    praat, csv = tmp_path / "praat", tmp_path / "all.csv"
    assert release_kit("bids", "export", recipe_path, praat, "--format", "textgrid").returncode == 0
    assert release_kit("bids", "export", praat, csv, "--format", "csv", "--json").stdout.startswith('{"ok": true')
    assert read_exports(csv).equals(collect_annotations(read_recipe(recipe_path)))


def test_export_keeps_what_an_annotator_has_edited(recipe_path: Path, tmp_path: Path):
    export = ("bids", "export", recipe_path, tmp_path / "out", "--format", "vtt")
    assert release_kit(*export).returncode == release_kit(*export).returncode == 0
    edited = tmp_path / "out" / "stim-film_annot-storyA01.vtt"
    edited.write_text("WEBVTT\n\nNOTE mine\n", encoding="utf-8")
    refused = release_kit(*export)
    assert refused.returncode == 1 and "there is other content already in" in refused.stderr
    assert edited.read_text(encoding="utf-8").endswith("NOTE mine\n")
    assert release_kit(*export, "--overwrite").returncode == 0 and "NOTE" not in edited.read_text(encoding="utf-8")


def test_export_refuses_names_that_nobody_has(recipe_path: Path, tmp_path: Path):
    done = release_kit("bids", "export", recipe_path, tmp_path / "o", "--format", "csv", "--level", "stroy")
    assert done.returncode == 2 and "did you mean 'story'" in done.stderr and not (tmp_path / "o").exists()
    (tmp_path / "empty").mkdir()
    nothing = release_kit("bids", "export", tmp_path / "empty", tmp_path / "o", "--format", "csv")
    assert nothing.returncode == 1 and "holds no annotations" in nothing.stderr


LOAD = """\
import sys
from datasets import load_dataset
files = {"story": sys.argv[1] + "/stimuli/annotations/story.parquet"}
levels = load_dataset("parquet", data_files=files, split="story")
table = load_dataset("parquet", data_files=sys.argv[2], split="train")
print(len(levels), len(table), table.column_names == sys.argv[3].split(","), table.features["onset_s"].dtype)
print(sorted(set(table["annot_id"])), table.filter(lambda row: row["text"] == "行こう")[0]["duration_s"])
"""


def test_the_table_loads_with_datasets_offline(recipe_path: Path, tmp_path: Path):
    dataset = _dataset(recipe_path, tmp_path / "dataset")
    (one,) = write_annotations(read_dataset_annotations(dataset), "parquet", tmp_path / "all.parquet")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", LOAD, str(dataset), str(one), ",".join(SCHEMA.names)]
    loaded = subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")
    assert loaded.stdout.splitlines() == [
        "15 80 True float64",
        "['objectA01', 'speech', 'storyA01', 'storyA02'] 8.0",
    ], loaded.stderr[-2000:]
