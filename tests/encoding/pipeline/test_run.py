"""An analysis from its file to its tables: planted words are found where they are, and nothing is done twice."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from encoding_data_factory import nifti
from encoding_study_factory import ANALYSIS, BOTH, BROKEN, N_VOLUMES, OBJECT, STILL, STORY, write_study

from release_kit.encoding.data.problems import DataError
from release_kit.encoding.pipeline.finished import read_finished
from release_kit.encoding.pipeline.run import RunReport, remove_folders, run_analysis
from release_kit.encoding.pipeline.tables import COLUMNS, read_rows
from release_kit.encoding.spec.model import Analysis
from release_kit.encoding.spec.read import read_analysis


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, RunReport]:
    analysis = read_analysis(write_study(tmp_path_factory.mktemp("study")))
    return analysis, run_analysis(analysis)


def one(rows: list[dict], **wanted: Any) -> Mapping[str, Any]:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def test_each_level_predicts_the_voxels_that_follow_it(study):
    analysis, report = study
    scores = read_rows(analysis.folder, "encoding_scores")
    assert report.n_fitted == 6 and report.n_kept == 0  # single bands are the fits of their features
    for subject in ("01", "02"):
        for feature, own, other in (("story-words", "story", "object"), ("object-words", "object", "story")):
            wanted = {"subject": subject, "feature": feature, "metric": "r"}
            assert one(scores, **wanted, region=own)["value"] > 0.7
            assert abs(one(scores, **wanted, region=other)["value"]) < 0.15
    called = one(scores, subject="01", feature="story-words", metric="share_significant", region="story")
    assert called["value"] == 1 and called["n_voxels"] == 6
    row = one(scores, subject="01", feature="story-words", metric="r", region="all")
    assert (row["n_voxels"], row["level"], row["kind"], row["chosen"]) == (38, "story", "bag-of-words", True)
    assert (analysis.folder / "fits" / row["fit_id"] / "fit.json").is_file()


def test_a_score_is_the_correlation_of_the_prediction_with_the_recording(study):
    _, report = study
    result = report.results[0]
    subject, part = next(iter(result.fits))
    fit = result.fits[subject, part]
    y, predicted = result.groups[0].held_out(subject), fit.prediction()
    expected = [np.corrcoef(y[:, voxel], predicted[:, voxel])[0, 1] for voxel in range(38)]
    assert fit.r[:38] == pytest.approx(expected, abs=1e-5)
    assert y.shape == predicted.shape == (3 * (N_VOLUMES - 4), 40)


def test_voxels_that_cannot_be_scored_say_why_and_are_left_out(study):
    _, report = study
    for fit in report.results[0].fits.values():
        assert fit.columns["reason"][STILL] == "constant" and fit.columns["reason"][BROKEN] == "not finite"
        assert np.isnan(fit.r[[STILL, BROKEN]]).all() and np.isfinite(fit.r[:STILL]).all()
        assert fit.facts["n_scored"] == 38


def test_unique_parts_lie_where_they_were_planted_and_parts_add_up(study):
    analysis, report = study
    rows = read_rows(analysis.folder, "partition")
    for subject in ("01", "02"):
        value = {row["part"]: row for row in rows if (row["subject"], row["region"]) == (subject, "story")}
        assert value["unique:story-words"]["low"] > 0.4
        assert abs(value["unique:object-words"]["value"]) < 0.05
        parts = [row["value"] for name, row in value.items() if name != "all bands"]
        assert sum(parts) == pytest.approx(value["all bands"]["value"], abs=1e-6)
    partitioned = report.results[0].partitions[0]
    assert np.nanmin(partitioned.voxels["unique:story-words"][STORY]) > 0.2
    assert np.nanmin(partitioned.voxels["unique:object-words"][BOTH]) > 0.05
    assert np.nanmax(np.abs(partitioned.voxels["unique:object-words"][STORY])) < 0.1


def test_a_comparison_is_made_inside_subjects_and_over_them(study):
    analysis, _ = study
    rows = read_rows(analysis.folder, "statistics")
    over = one(rows, test="subjects", region="story")
    inside = [one(rows, test="blocks", region="story", subject=subject) for subject in ("01", "02")]
    assert over["n"] == 2 and over["n_greater"] == 2 and over["p_sign_flip"] == 0.5
    assert over["difference"] == pytest.approx(np.mean([row["difference"] for row in inside]))
    assert all(row["low"] < row["difference"] < row["high"] and row["low"] > 0.5 for row in inside)


def test_subjects_of_one_film_give_a_ceiling(study):
    analysis, _ = study
    rows = read_rows(analysis.folder, "ceiling")
    assert one(rows, subject="01", bound="lower", region="story")["value"] > 0.6
    scores = read_rows(analysis.folder, "encoding_scores")
    wanted = {"subject": "01", "feature": "story-words", "region": "story"}
    normalised, plain = (one(scores, **wanted, metric=name)["value"] for name in ("r_normalised", "r"))
    assert normalised > plain


def test_the_record_names_what_was_analysed_and_where_flat_surfaces_are(study):
    analysis, _ = study
    source = read_finished(analysis.folder).record["dataset"]["sources"][0]
    assert source["URL"] == "bids:small-films:" and re.fullmatch("sha256:[0-9a-f]{64}", source["Version"])
    assert read_finished(analysis.folder).record["flatmaps"] == {}


def test_a_dataset_with_a_doi_and_changes_is_named_by_them(tmp_path: Path):
    text = ANALYSIS + "flatmaps: {'01': {surface: S1}}\n"
    analysis = read_analysis(write_study(tmp_path, subjects=("01",), analysis=text))
    description = tmp_path / "dataset/dataset_description.json"
    description.write_text(description.read_text().replace("{", '{"DatasetDOI": "https://doi.org/10.1/x", ', 1))
    (tmp_path / "dataset/CHANGES").write_text("1.2.0 2026-01-02\n - more films\n1.1.0 2025-01-02\n")
    run_analysis(analysis)
    record = read_finished(tmp_path).record
    assert record["dataset"]["sources"] == [{"DOI": "doi:10.1/x", "Version": "1.2.0"}]
    assert record["flatmaps"] == {"01": {"surface": "S1", "transform": None}}


def test_a_flatmap_of_nobody_is_refused(tmp_path: Path):
    text = ANALYSIS + "flatmaps: {'03': {surface: S1}}\n"
    with pytest.raises(DataError, match=r"sub-03.*has a flatmap, but is no subject"):
        run_analysis(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text)))


def test_samples_are_counted_run_by_run(study):
    analysis, _ = study
    rows = read_rows(analysis.folder, "samples")
    assert len(rows) == 12
    last = one(rows, subject="02", run="task-glee_run-02")
    assert (last["n_train"], last["n_held_out"], last["n_volumes"]) == (0, N_VOLUMES - 4, N_VOLUMES)


def test_a_second_run_fits_nothing_and_tables_have_the_columns_that_are_promised(study):
    analysis, _ = study
    before = {path: path.read_bytes() for path in (analysis.folder / "tables").iterdir()}
    again = run_analysis(analysis)
    assert (again.n_fitted, again.n_kept, again.unused) == (0, 6, ())
    assert {path: path.read_bytes() for path in (analysis.folder / "tables").iterdir()} == before
    assert {path.stem for path in before} == set(COLUMNS) - {"modes"}
    for name in set(COLUMNS) - {"modes", "factors"}:
        assert list(read_rows(analysis.folder, name)[0]) == list(COLUMNS[name])


def test_only_what_depends_on_a_change_is_made_again(tmp_path: Path):
    file = write_study(tmp_path, subjects=("01",))
    run_analysis(read_analysis(file))
    changed = ANALYSIS.replace("permutations: 99", "permutations: 49")
    file.write_text(changed, encoding="utf-8")
    report = run_analysis(read_analysis(file))
    assert report.n_fitted == 0  # a test is no part of a fit
    assert [path.parent.name for path in report.unused] == ["tests", "tests"]  # of 99 permutations
    remove_folders(report.unused)
    assert len(list((tmp_path / "fits").glob("*/tests/*"))) == 2
    assert (run_analysis(read_analysis(file)).n_fitted, run_analysis(read_analysis(file)).unused) == (0, ())
    file.write_text(
        changed.replace("{level: object, kind: bag-of-words}", "{level: object, kind: bag-of-words, pca: 2}")
    )
    report = run_analysis(read_analysis(file))
    assert (report.n_fitted, report.n_kept) == (2, 1)  # the level and the model of both; the other level is kept
    assert len(report.unused) == 3  # what the file does not ask for any more: two fits and a partition


def test_a_damaged_fit_is_made_again_and_tables_are_as_they_were(tmp_path: Path):
    analysis = read_analysis(write_study(tmp_path))
    first = run_analysis(analysis)
    tables = {path: path.read_bytes() for path in sorted((tmp_path / "tables").iterdir())}
    fit = next(iter(first.results[0].fits.values()))
    path = fit.folder / "prediction.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"\x00\x00\x00\x01")
    assert run_analysis(analysis).n_fitted == 1
    assert path.read_bytes() == whole
    for table, expected in tables.items():
        assert table.read_bytes() == expected, table.name


def test_a_change_of_one_recording_refits_its_subject_alone(tmp_path: Path):
    analysis = read_analysis(write_study(tmp_path))
    run_analysis(analysis)
    image = next((tmp_path / "dataset/derivatives/clean/sub-02").rglob("*glee_run-01*.nii.gz"))
    values = np.asarray(nibabel.load(image).dataobj).copy()
    values[0, 0, 0] *= 1.5
    nifti(image, values)
    report = run_analysis(analysis)
    assert report.n_fitted == 3 and all("sub-02" in path.name for path in report.unused)


def test_both_modes_are_run_and_what_changes_is_a_table(tmp_path: Path):
    analysis = replace(read_analysis(write_study(tmp_path, subjects=("01",))), mode="both")
    report = run_analysis(analysis)
    assert [result.choices.mode for result in report.results] == ["corrected", "paper"]
    rows = read_rows(tmp_path, "modes")
    samples = one(rows, name="samples", metric="n_train")
    assert (samples["corrected"], samples["paper"]) == (3 * 86, 3 * 90)
    paper = report.results[1]
    assert min(np.nanmin(judged.p) for judged in paper.judged.values()) == 0
    assert min(np.nanmin(judged.p) for judged in report.results[0].judged.values()) == pytest.approx(0.01)


def test_too_few_permutations_to_call_anybody_are_said_with_how_many_it_takes(tmp_path: Path):
    text = ANALYSIS.replace("permutations: 99", "permutations: 40")
    report = run_analysis(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text)))
    judged = report.results[0].judged
    stuck = [text for text in report.notes if "reach the smallest p of 40 permutations (0.024)" in text]
    assert len(stuck) == 2 and not any(each.significant.any() for each in judged.values())
    said = re.fullmatch(
        r"sub-01 story-words_layer-00: (\d+) of 38 voxels reach .* at least (\d+) permutations", stuck[0]
    )
    n_stuck, least = map(int, said.groups())
    assert n_stuck >= 12 and 1 / (least + 1) <= 0.05 * n_stuck / 38 < 1 / least
    (tmp_path / "encoding.yaml").write_text(ANALYSIS)
    enough = run_analysis(read_analysis(tmp_path))
    assert all(each.significant.sum() >= 12 for each in enough.results[0].judged.values())
    assert not any("smallest p" in text for text in enough.notes)


def test_predicted_voxels_at_the_end_of_the_grid_are_said_and_silent_ones_are_not(tmp_path: Path):
    file = write_study(tmp_path, subjects=("01",))
    report = run_analysis(read_analysis(file))
    judged = report.results[0].judged
    assert not any("alpha" in text for text in report.notes)
    fit = next(iter(judged.values()))
    silent = ~fit.significant & np.isfinite(fit.fitted.r)
    assert (fit.fitted.columns["alpha"][silent] > 9_999).mean() > 0.1  # the largest, as it should be
    file.write_text(ANALYSIS.replace("{from: 0, to: 4, n: 5}", "{from: -2, to: -1, n: 2}"))
    notes = run_analysis(read_analysis(file)).notes
    assert any(
        "% of the voxels that are called have the largest alpha that was tried (0.1): raise ridge.alphas.to" in text
        for text in notes
    ), notes


def test_leave_one_title_out_predicts_every_sample_once(tmp_path: Path):
    text = ANALYSIS.replace("samples: {drop_start_s: 4}", "samples: {drop_start_s: 4, test: leave-one-title-out}")
    analysis = read_analysis(write_study(tmp_path, subjects=("01",), analysis=text))
    result = run_analysis(analysis).results[0]
    fit = next(iter(result.fits.values()))
    assert fit.facts["n_held_out"] == 6 * 86 and fit.facts["n_train"] == [4 * 86] * 3
    assert np.mean(fit.r[STORY]) > 0.7 and abs(np.mean(fit.r[OBJECT])) < 0.15


def test_everything_wrong_is_said_before_anything_is_made(tmp_path: Path):
    text = ANALYSIS.replace("level: object", "level: objects").replace("block_s: 10", "block_s: 60")
    file = write_study(tmp_path, analysis=text)
    root = tmp_path / "dataset"
    next((root / "derivatives/clean/sub-02").rglob("*crown_run-01*.nii.gz")).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        run_analysis(read_analysis(file))
    said = str(caught.value)
    assert "sub-02, task-crown_run-01" in said
    assert "no annotation of level 'objects'" in said
    assert "at least 2 blocks of 60" in said
    assert not (tmp_path / "fits").exists() and not (tmp_path / "features").exists()


def test_a_banded_model_says_what_each_band_adds(tmp_path: Path):
    file = write_study(tmp_path, subjects=("01",), analysis=ANALYSIS.replace("n_iter: 0", "n_iter: 3"))
    result = run_analysis(read_analysis(file)).results[0]
    fit = result.partitions[0].fitted
    story, objects = (fit.columns[f"split_r2:{name}-words"] for name in ("story", "object"))
    assert np.nanmax(np.abs(story + objects - fit.columns["r2"])) < 0.02  # of centred data, hence not to the last digit
    assert np.mean(story[STORY]) > 0.5 and abs(np.mean(objects[STORY])) < 0.05
    row = one(read_rows(tmp_path, "partition"), part="split:story-words", region="story")
    assert row["value"] == pytest.approx(np.mean(story[STORY]), abs=1e-6)
    assert not list((tmp_path / ".release_kit").rglob("*.npz"))  # what is complete needs no state


def test_annotators_that_disagree_set_a_ceiling(tmp_path: Path):
    text = ANALYSIS.replace(
        "{level: story, kind: bag-of-words}", "{level: story, kind: bag-of-words, annotators: [each]}"
    )
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(("bands", "compare")))
    file = write_study(tmp_path, subjects=("01",), analysis=text)
    stimuli = tmp_path / "dataset/stimuli"
    (stimuli / "annotations.tsv").write_text(
        (stimuli / "annotations.tsv").read_text() + "storyA02\tstory\tA02\ten\n", encoding="utf-8"
    )
    for path in stimuli.glob("*_annot-storyA01_events.tsv"):
        header, *lines = path.read_text().splitlines()
        # The second annotator writes something else in every third second.
        changed = [line if k % 3 else line[: line.rindex("\t")] + "\tsea sea" for k, line in enumerate(lines)]
        path.with_name(path.name.replace("A01", "A02")).write_text("\n".join([header, *changed]) + "\n")
    result = run_analysis(read_analysis(file)).results[0]
    own = {who: result.fit("01", result.chosen("01", "story-words", who)) for who in ("A01", "A02")}
    assert np.mean(own["A01"].r[STORY]) > np.mean(own["A02"].r[STORY]) + 0.05
    row = one(read_rows(tmp_path, "ceiling"), source="between annotators of story-words", region="story")
    assert 0.7 < row["value"] < 0.99 and row["bound"] == "upper"
