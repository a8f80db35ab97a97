"""The quality report finds what is wrong with annotations, and nothing where nothing is."""

import json
from dataclasses import replace
from pathlib import Path

import annotation_study
import bids_factory
import pytest
from annotation_study import good_rows, make_recipe, row
from cli_in_process import release_kit

from release_kit.bids.annotations.collect import collect_annotations
from release_kit.bids.annotations.events import events_files
from release_kit.bids.annotations.quality import quality_report
from release_kit.bids.annotations.quality_records import CODES, Quality
from release_kit.bids.annotations.report_html import render_report
from release_kit.bids.annotations.stimuli import stimuli_files
from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.recipe.model import AnnotationSource, Run, Shown, Stimulus
from release_kit.bids.recipe.read import read_recipe
from release_kit.core.canonical import document_bytes

WORDS = ("station", "letter", "brother", "train", "coast", "bench", "rain", "house", "garden", "road", "night", "song")
WORDS += ("river", "kitchen", "window", "doctor")


def report(rows: list[Row], **changes: object) -> Quality:
    return quality_report(make_recipe(**changes), annotation_table(rows), embed=False)


def codes(quality: Quality) -> list[str]:
    return sorted({finding.code for finding in quality.findings} - {"missing-stimulus"})


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * step + 3) % len(WORDS)] for step in (1, 3, 5, 7, 11)) + f" {i}"


def test_annotations_without_a_fault_have_no_finding():
    whole = [r for r in good_rows() if r.stim_id == "film"]
    quality = report(whole)
    assert quality.findings == () and quality.ok
    story = next(track for track in quality.tracks if track.annotation == "storyA01")
    assert (story.coverage, story.n_gaps, story.overlap_s, story.median_duration_s) == (1.0, 0, 0.0, 6)


def test_gaps_and_coverage_are_seconds_of_the_stimulus():
    quality = report([row("storyA01", 2, 4, "a"), row("storyA01", 5, 5, "b"), row("storyA01", 20, 6, None)])
    (track,) = quality.tracks
    assert track.covered_s == 8 and track.coverage == pytest.approx(8 / 36)
    assert track.longest_gap == (10, 36) and track.n_gaps == 2
    assert track.overlap_s == 1 and track.empty_s == 6


FAULTS = {
    "outside-stimulus": [row("storyA01", 30, 7, "a"), row("storyA01", -2, 3, "b")],
    "overlapping": [row("storyA01", 0, 7, "a"), row("storyA01", 6, 6, "b")],
    "duplicate": [row("storyA01", 0, 6, "a"), row("storyA01", 0, 6, "a")],
    "zero-duration": [row("storyA01", 4, 0, "a")],
    "empty-spell": [row("storyA01", 0, 6, "a"), row("storyA01", 6, 12, None)],
    "placeholder": [row("storyA01", 0, 6, "..")],
    "foreign-script": [row("storyA01", 0, 6, "彼は駅で待つ")],
    "untranslated": [row("storyA01", 0, 6, "不明な男"), row("storyA01ja", 0, 6, "不明な男", language="ja")],
    "translation-timing": [row("storyA01", 0, 6, "a man"), row("storyA01ja", 1, 6, "話", language="ja")],
    "same-across-annotators": [row(f"storyA0{a}", 0, 6, "the very same sentence here") for a in (1, 2)],
    "same-across-levels": [row(name, 0, 6, "the very same sentence here") for name in ("storyA01", "objectA01")],
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_is_named(code):
    quality = report(FAULTS[code])
    assert code in codes(quality)
    assert quality.ok == (CODES[code][0] == "warning")


def test_two_people_may_talk_at_once_and_one_may_not():
    rows = [row("speechA01", 0, 4, "yes", speaker="Ann"), row("speechA01", 2, 4, "no", speaker="Ben")]
    assert codes(report(rows)) == []
    assert codes(report([replace(r, speaker="Ann") for r in rows])) == ["overlapping"]


def test_a_hole_and_an_early_end_are_told_from_silence():
    film = {"film": Stimulus(label="film", title="F", duration_s=400)}
    dense = [row("storyA01", 5 * i, 5, sentence(i)) for i in range(80)]
    assert codes(report(dense, stimuli=film)) == []
    hole = [r for r in dense if not 100 <= r.onset_s < 130]
    assert codes(report(hole, stimuli=film)) == ["long-gap"]
    assert codes(report([r for r in dense if r.onset_s < 370], stimuli=film)) == ["ends-early"]
    sparse = [row("speechA01", 20 * i, 2, sentence(i)) for i in range(20)]
    assert codes(report(sparse, stimuli=film)) == [], "speech leaves gaps"


def test_an_annotator_who_writes_of_something_else_is_found():
    film = {"film": Stimulus(label="film", title="F", duration_s=200)}
    rows = [row("storyA01", 5 * i, 5, sentence(i)) for i in range(40)]
    same = [replace(r, annot_id="storyA02", annotator="A02", text=(r.text or "") + " too") for r in rows]
    assert codes(report(rows + same, stimuli=film)) == []
    other = [replace(r, text=sentence(97 - 2 * i)) for i, r in enumerate(same)]
    assert codes(report(rows + other, stimuli=film)) == ["no-agreement"]


def test_one_text_for_the_whole_film_is_no_evidence_of_disagreement():
    quality = report([row("storyA01", 0, 36, "a man"), row("storyA02", 0, 36, "a woman")])
    assert codes(quality) == []
    assert quality.agreements[0].above_chance is None


def test_labels_get_alpha_and_sentences_do_not():
    scenes = [row(f"timeplaceA0{a}", 6 * i, 6, ("day", "night")[i % 2]) for a in (1, 2) for i in range(6)]
    (found,) = report(scenes).labels
    assert (found.level, found.alpha, found.n_bins) == ("timeplace", 1.0, 36)
    assert found.annotations == ("timeplaceA01", "timeplaceA02")


def test_a_source_that_lacks_a_stimulus_is_named_unless_the_recipe_says_why():
    rows = [row("storyA01", 0, 12, "a", stim_id="short"), row("storyA01", 0, 36, "a"), row("storyA02", 0, 36, "a")]
    (finding,) = report(rows).findings
    assert (finding.code, finding.where) == ("missing-stimulus", "storyA02, stim-short")
    excused = replace(annotation_study.source("storyA02", "story", "A02"), missing={"short": "not annotated"})
    assert report(rows, annotations=(excused,)).findings == ()
    other = replace(annotation_study.source("storyA0", "story", "A0"), missing={"short": "not annotated"})
    both = (other, annotation_study.source("storyA02", "story", "A02"))
    assert [one.where for one in report(rows, annotations=both).findings] == ["storyA02, stim-short"]


@pytest.fixture
def run_clock(tmp_path: Path):
    """Return a function that writes files of runs with times ``stretch`` times too long, and reports on them."""

    def make(stretch: float, order: int = 1) -> Quality:
        runs, lengths = [], (100, 130, 160)
        for index, length in enumerate(lengths):
            shows = Shown(stimulus="film", start_s=sum(lengths[:index]), duration_s=length)
            runs.append(Run(task="film", run=index + 1, tr_s=1, recording=annotation_study.RECORDING, shows=shows))
            starts = range(0, length, 10)[::order]
            lines = [f"{at * stretch:.3f},{10 * stretch:.3f},part {index} and {at}" for at in starts]
            (tmp_path / f"film_run{index + 1}.csv").write_text("\n".join(["onset,duration,text", *lines]) + "\n")
        source = AnnotationSource(
            id="storyA01", level="story", annotator="A01", language="en", reader="intervals", clock="run",
            pattern="{task}_run{run}.csv",
        )  # fmt: skip
        film = {"film": Stimulus(label="film", title="F", duration_s=sum(lengths))}
        recipe = make_recipe(tmp_path, runs=tuple(runs), stimuli=film, annotations=(source,))
        return quality_report(recipe, collect_annotations(recipe), embed=False)

    return make


def test_files_on_the_clock_of_a_run_end_with_it(run_clock):
    quality = run_clock(1.0)
    assert codes(quality) == []
    assert quality.end_drifts[0].ratio == 1.0 and quality.end_drifts[0].residual_s == 0


def test_a_frame_rate_taken_for_another_shows_as_a_line_over_the_parts(run_clock):
    quality = run_clock(25 / 24)
    assert {"longer-than-run", "stretched"} <= set(codes(quality)) and not quality.ok
    assert quality.end_drifts[0].ratio == pytest.approx(25 / 24, abs=1e-4)
    assert "stretched" in codes(run_clock(24 / 25)), "too short is as wrong"


def test_a_file_out_of_order_is_named(run_clock):
    quality = run_clock(1.0, order=-1)
    finding = next(finding for finding in quality.findings if finding.code == "unsorted")
    assert finding.where == "storyA01, film_run1.csv" and "after" in finding.what


def test_a_dataset_gives_the_report_of_its_recipe(tmp_path: Path):
    recipe, table = make_recipe(), annotation_table(good_rows())
    write_dataset(tmp_path, recipe, table)
    ours, theirs = quality_report(recipe, table, embed=False), quality_report(tmp_path, table, embed=False)
    assert theirs.to_dict() == ours.to_dict()
    assert theirs.stimuli[0].runs == (("film run 1", 0.0, 20.0, 0.0), ("film run 2", 16.0, 36.0, 4.0))


def test_a_dataset_whose_rows_were_reordered_is_told(tmp_path: Path):
    recipe, table = make_recipe(), annotation_table(good_rows())
    write_dataset(tmp_path, recipe, table)
    path = tmp_path / "stimuli/stim-film_annot-storyA01_events.tsv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *lines[::-1]]) + "\n")
    assert "unsorted" in codes(quality_report(tmp_path, table, embed=False))


def test_the_report_does_not_depend_on_the_order_of_rows():
    ours = report(good_rows() + FAULTS["overlapping"])
    assert report((good_rows() + FAULTS["overlapping"])[::-1]).to_dict() == ours.to_dict()


def test_the_record_is_plain_json_with_severities():
    value = json.loads(json.dumps(report(FAULTS["outside-stimulus"]).to_dict()))
    assert value["schema_version"] == 1 and value["ok"] is False
    assert value["findings"][0]["severity"] == "error"
    assert value["notes"] and "spans" not in value["tracks"][0]


@pytest.mark.parametrize("length", ["nan", "inf", "-36", "a film"])
def test_a_dataset_with_a_length_that_is_none_is_refused_by_name(length: str, tmp_path: Path):
    write_dataset(tmp_path, make_recipe(), annotation_table(good_rows()))
    table = tmp_path / "stimuli" / "stimuli.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("\t36\t", f"\t{length}\t"), encoding="utf-8")
    done = release_kit("bids", "quality", tmp_path, "--no-embed")
    assert done.returncode == 1 and "stimuli.tsv" in done.stderr and length in done.stderr


def test_events_of_others_may_hold_a_backslash(tmp_path: Path):
    write_dataset(tmp_path, make_recipe(), annotation_table(good_rows()))
    events = next(tmp_path.glob("sub-01/func/*_events.tsv"))
    header, *rows = events.read_text(encoding="utf-8").splitlines()
    lines = [f"{header}\tstim_file", *(f"{row}\tC:\\films\\a.mp4" for row in rows)]
    events.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert release_kit("bids", "quality", tmp_path, "--no-embed").returncode == 0


def test_a_dataset_whose_description_is_no_mapping_is_refused_by_name(tmp_path: Path):
    write_dataset(tmp_path, make_recipe(), annotation_table(good_rows()))
    (tmp_path / "dataset_description.json").write_text("[]", encoding="utf-8")
    done = release_kit("bids", "quality", tmp_path, "--no-embed")
    assert done.returncode == 1 and "dataset_description.json" in done.stderr


def test_times_beyond_a_week_are_told_and_not_laid_out_second_by_second():
    quality = report([row("storyA01", 0, 1e13, "a"), row("storyA02", 0, 1e13, "b")], stimuli={"film": _long(1e13)})
    assert quality.agreements == () and "beyond a week: film" in " ".join(quality.notes)
    assert len(render_report(quality)) < 50_000


def _long(seconds: float) -> Stimulus:
    return Stimulus(label="film", title="Film", duration_s=seconds)


@pytest.mark.parametrize("kind", ["link", "pointer"])
def test_annotations_whose_content_is_elsewhere_are_named_as_not_looked_at(kind: str, tmp_path: Path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    write_dataset(dataset, make_recipe(), annotation_table(good_rows()))
    gone = dataset / "stimuli" / "stim-film_annot-storyA01_events.tsv"
    gone.unlink()
    if kind == "link":
        gone.symlink_to("../.git/annex/objects/nowhere")
    else:
        gone.write_text("/annex/objects/SHA256E-s9--0.tsv\n", encoding="utf-8")
    quality = json.loads(release_kit("bids", "quality", dataset, "--no-embed", "--json").stdout)
    assert any(gone.name in note and "not looked at" in note for note in quality["notes"])
    export = release_kit("bids", "export", dataset, tmp_path / "out.csv", "--format", "csv")
    assert export.returncode == 0 and "without 1 annotation file of the dataset" in export.stdout
    assert gone.name in export.stdout


def write_dataset(folder: Path, recipe, table) -> None:
    (folder / "dataset_description.json").write_bytes(document_bytes({"Name": recipe.dataset.name}))
    for path, data in [*stimuli_files(recipe, table), *events_files(recipe, table)]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def test_command_reports_on_a_recipe_and_writes_page_and_record(tmp_path: Path):
    recipe = bids_factory.make_recordings(tmp_path / "study")
    ran = release_kit("bids", "quality", recipe, "--no-embed", "--out", tmp_path / "report")
    assert ran.returncode == 0, ran.stderr
    assert "storyA01" in ran.stdout and "0 errors" in ran.stdout
    assert "share tokens" in ran.stdout and "chance" in ran.stdout
    value = json.loads((tmp_path / "report/quality.json").read_text())
    assert value == quality_report(read_recipe(recipe), collect_annotations(read_recipe(recipe)), embed=False).to_dict()
    assert "<svg" in (tmp_path / "report/quality.html").read_text()


def test_command_reports_on_a_dataset_and_fails_on_times_that_cannot_be(tmp_path: Path):
    write_dataset(tmp_path, make_recipe(), annotation_table([*good_rows(), row("storyA01", 36, 7, "a")]))
    ran = release_kit("bids", "quality", tmp_path, "--no-embed", "--json")
    assert ran.returncode == 1
    value = json.loads(ran.stdout)
    assert not value["ok"] and "outside-stimulus" in {finding["code"] for finding in value["findings"]}


def test_command_names_a_study_that_is_not_there(tmp_path: Path):
    ran = release_kit("bids", "quality", tmp_path / "nothing.yaml")
    assert ran.returncode in (1, 2) and "nothing.yaml" in ran.stderr


def test_every_code_is_explained_in_the_documentation():
    page = Path(__file__).parents[3].joinpath("docs/bids-quality.md").read_text(encoding="utf-8")
    assert [code for code in CODES if f"`{code}`" not in page] == []
