"""The report of a finished analysis: one page that needs nothing else, whose numbers lead to their rows."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from encoding_study_factory import ANALYSIS, write_study

from release_kit.bids.validate.reference import run_reference
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.maps.flatmap import can_flatten
from release_kit.encoding.maps.regions import RegionRow
from release_kit.encoding.maps.results import write_maps
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.report.circles import draw_circles
from release_kit.encoding.report.figures import draw_tables
from release_kit.encoding.report.report import write_report
from release_kit.encoding.report.tables import regions
from release_kit.encoding.report.verdicts import FAILS, HOLDS, UNTOLD, make_verdicts
from release_kit.encoding.spec.read import read_analysis

NONE: dict[str, list] = {"statistics": [], "partition": [], "encoding_scores": [], "modes": [], "layers": []}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, analysis=ANALYSIS.replace("space: MNI", "space: T1w"))
    for path in (folder / "dataset/derivatives").rglob("*space-MNI*"):  # slices are drawn faster than glass brains
        path.rename(path.with_name(path.name.replace("space-MNI", "space-T1w")))
    run_analysis(read_analysis(file), mode="both")
    write_maps(folder)
    write_report(folder)
    return folder


def test_page_needs_nothing_from_outside(study: Path):
    text = (study / "report/report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "<script" not in text
    assert "@import" not in text
    assert str(study) not in text


def test_every_number_leads_to_the_rows_that_it_is_the_mean_of(study: Path):
    text = (study / "report/report.html").read_text(encoding="utf-8")
    found = re.findall(r'<span data-source="tables/encoding_scores.parquet#([\d,]+)"[^>]*>(\u2212?[\d.]+)</span>', text)
    scores = pq.read_table(study / "tables/encoding_scores.parquet").to_pylist()
    assert len(found) >= 8
    for rows, shown in found:
        values = [scores[int(row)]["value"] for row in rows.split(",")]
        assert float(shown.replace("\u2212", "-")) == pytest.approx(sum(values) / len(values), abs=6e-4)


@pytest.mark.parametrize(("table", "column"), [("statistics", "difference"), ("partition", "value")])
def test_numbers_of_comparisons_and_parts_are_the_means_of_their_rows(study: Path, table: str, column: str):
    text = (study / "report/report.html").read_text(encoding="utf-8")
    before = r"<td>[^<]*</td><td>[^<]*</td>" if table == "statistics" else ""  # the third cell is the difference
    number = rf'<span data-source="tables/{table}.parquet#([\d,]+)"[^>]*>(\u2212?\d\.\d{{3,5}})</span>'
    found = re.findall(f'{before}<td class="n">(?:<strong>)?{number}', text)
    rows = pq.read_table(study / f"tables/{table}.parquet").to_pylist()
    assert len(found) >= 3
    for numbers, shown in found:
        values = [rows[int(row)][column] for row in numbers.split(",")]
        assert float(shown.replace("\u2212", "-")) == pytest.approx(sum(values) / len(values), abs=6e-4)


def test_table_of_regions_says_voxels_subjects_and_ceiling_and_puts_all_voxels_last():
    row = {"mode": "corrected", "level": "story", "feature": "f", "model": "m", "annotator": "mean", "n_subjects": 2,
           "r": 0.25, "low": 0.2, "high": 0.3, "share_significant": 0.5, "r_normalised": 0.8}  # fmt: skip
    over = [
        RegionRow(**row, region=region, n_voxels=n, rows=(k, k + 9))
        for k, (region, n) in enumerate((("all", 12_000), ("top", 600), ("v1", 80)))
    ]
    bounds = [
        {"mode": "corrected", "region": "v1", "source": "between subjects", "bound": bound, "value": value}
        for bound, value in (("lower", 0.4), ("upper", 0.7), ("lower", 0.6), ("upper", 0.8))
    ]
    text = regions(over, bounds, "corrected")[0]
    heads = re.findall(r'<th colspan="8">(.*?)</th>', text)
    assert [re.sub(r"<[^>]+>", "", head) for head in heads] == [
        "top: 600 voxels",
        "v1: 80 voxels; ceiling 0.500 to 0.750 (between subjects)",
        "all: 12,000 voxels",
    ]
    assert 'data-source="tables/ceiling.parquet#0,2"' in heads[1]
    assert 'data-source="tables/encoding_scores.parquet#2,11"' in text
    assert 'data-source="report/regions.parquet#2"' in text


def test_planted_parts_and_predictions_are_judged_to_hold(study: Path):
    report = write_report(study)
    said = {each.statement: each.verdict for each in report.verdicts}
    assert said["story-words explains something that no other band of both does"] == HOLDS
    assert said["object-words predicts responses to what was not trained on"] == HOLDS
    rows = pq.read_table(study / "tables/statistics.parquet").to_pylist()
    asked = {"mode": "corrected", "region": "top", "test": "subjects"}
    (row,) = [row for row in rows if {key: row[key] for key in asked} == asked]
    expected = HOLDS if row["low"] > 0 else FAILS if row["high"] <= 0 else UNTOLD
    assert said["story-words predicts better than object-words over 2 subjects"] == expected


def test_same_analysis_same_bytes(study: Path):
    before = {path.name: path.read_bytes() for path in (study / "report").rglob("*") if path.is_file()}
    write_report(study)
    assert {path.name: path.read_bytes() for path in (study / "report").rglob("*") if path.is_file()} == before
    assert {"regions.parquet", "compared.svg", "circles-both.svg", "parts-both.svg"} <= set(before)


@pytest.mark.skipif(can_flatten(), reason="pycortex is installed: tests of flat pictures draw them")
def test_flat_surfaces_that_cannot_be_drawn_are_said_and_cost_nothing_else(study: Path, tmp_path: Path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    record = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    record["flatmaps"] = {"01": {"surface": "S1", "transform": "fullhead"}}
    (folder / "analysis.json").write_text(json.dumps(record), encoding="utf-8")
    report = write_report(folder)
    text = report.path.read_text(encoding="utf-8")
    assert "pycortex is not installed here, so that none is drawn" in text
    assert "pycortex" not in (study / "report/report.html").read_text(encoding="utf-8")
    assert any(each.name.startswith("map-") for each in report.pictures)


def test_derivative_of_an_analysis_passes_the_reference_validator(study: Path):
    assert run_reference(study / "derivative", ".", headers=True).said == "no errors"


def test_unfinished_analysis_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(AnalysisError, match="no finished analysis"):
        write_report(tmp_path)


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.1, 0.3, HOLDS), (-0.3, -0.1, FAILS), (-0.1, 0.2, UNTOLD),
                                                      (None, None, UNTOLD)])  # fmt: skip
def test_comparison_is_judged_by_its_interval_alone(low: float | None, high: float | None, verdict: str):
    row = {"mode": "corrected", "name": "c", "a": "a", "b": "b", "test": "subjects", "subject": None, "metric": "r",
           "region": "top", "n": 3, "difference": 0.05, "low": low, "high": high}  # fmt: skip
    (found,) = make_verdicts({**NONE, "statistics": [row]}, "corrected", 0.05)
    assert found.verdict == verdict
    assert found.rows == (0,)


def test_a_feature_that_too_few_permutations_can_call_is_not_said_to_fail():
    row = {"mode": "corrected", "subject": "01", "feature": "f", "annotator": "mean", "metric": "share_significant",
           "region": "all", "chosen": True, "value": 0.0}  # fmt: skip
    tables = {**NONE, "encoding_scores": [row]}
    (found,) = make_verdicts(tables, "corrected", 0.05)
    assert found.verdict == FAILS
    (found,) = make_verdicts(tables, "corrected", 0.05, {("01", "f", "mean"): "too few"})
    assert found.verdict == UNTOLD and "too few permutations to call any voxel in 1" in found.reason


def test_the_note_says_what_r_is_divided_by_and_what_agreement_of_annotators_is_of():
    row = {"mode": "corrected", "level": "story", "feature": "f", "model": "m", "annotator": "mean", "n_subjects": 1,
           "r": 0.25, "low": None, "high": None, "share_significant": 0.5, "r_normalised": 1.28}  # fmt: skip
    over = [RegionRow(**row, region="top", n_voxels=9, rows=(0,))]
    bound = {"mode": "corrected", "region": "top", "bound": "lower", "value": 0.4, "normalises": True}
    other = {**bound, "source": "between annotators of f", "bound": "upper", "normalises": False}
    head, note = regions(over, [{**bound, "source": "between subjects"}, other], "corrected")
    assert "the true ceiling is higher, and a ratio above 1 is no error" in note
    assert "agreement of annotators' predictions" in re.sub("&#x27;", "'", head) and "(f)" in head
    assert "It is of the predictions alone" in note
    note = regions(over, [{**bound, "source": "repeats", "bound": "upper"}], "corrected")[1]
    assert "estimated from repeats" in note and "true ceiling is higher" not in note


def _part(region: str, value: float, low: float, high: float) -> dict:
    return {"mode": "corrected", "subject": "01", "name": "both", "part": "unique:story", "metric": "r2",
            "region": region, "value": value, "low": low, "high": high, "n_voxels": 9}  # fmt: skip


def test_unique_parts_are_judged_where_cross_validation_predicts_and_not_by_the_voxels_that_nothing_predicts():
    rows = [_part("all", -0.05, -0.06, -0.04), _part("top", 0.1, 0.08, 0.12), _part("v1", -0.2, -0.3, -0.1)]
    (found,) = make_verdicts({**NONE, "partition": rows}, "corrected", 0.05)
    assert (found.verdict, found.rows) == (HOLDS, (1,))
    assert found.value == "unique R² 0.100 [0.080, 0.120]"
    assert "cross-validation on training data" in found.rule


def test_an_end_of_an_interval_that_is_not_0_does_not_read_as_0():
    (found,) = make_verdicts({**NONE, "partition": [_part("top", 0.01, 0.0002, 0.02)]}, "corrected", 0.05)
    assert found.value == "unique R² 0.0100 [0.0002, 0.0200]"


def test_seconds_shown_in_training_make_the_claim_of_unseen_data_fail():
    row = {"metric": "held-out samples that training shows", "paper": 20.0, "corrected": 0.0}
    paper, corrected = make_verdicts({**NONE, "modes": [row]}, "corrected", 0.05)
    assert (paper.verdict, corrected.verdict) == (FAILS, HOLDS)
    assert paper.value == "20 samples"


def test_layers_are_drawn_where_a_model_has_several():
    rows = [
        {"mode": "corrected", "subject": who, "feature": "f", "level": "story", "model": "m", "annotator": "mean",
         "layer": layer, "r": 0.1 * layer, "chosen": layer == 2}
        for who in ("01", "02") for layer in (0, 1, 2)
    ]  # fmt: skip
    (picture,) = draw_tables({**NONE, "layers": rows}, "corrected")
    assert (picture.name, picture.title) == ("layers", "Scores over layers, n = 2 subjects")
    assert draw_tables({**NONE, "layers": rows[:1]}, "corrected") == []


def test_three_bands_are_drawn_as_circles_whose_numbers_are_the_parts():
    parts = ["unique:a", "unique:b", "unique:c", "shared:a+b", "shared:a+c", "shared:b+c", "shared:a+b+c"]
    rows = [
        {"mode": "corrected", "subject": "01", "name": "three", "part": part, "metric": "r2", "region": "all",
         "value": 0.01 * k, "low": None, "high": None, "n_voxels": 9}
        for k, part in enumerate(parts)
    ]  # fmt: skip
    names = [each.name for each in draw_tables({**NONE, "partition": rows}, "corrected")]
    assert names == ["parts-three", "circles-three"]


def test_circles_need_every_part_and_are_drawn_for_each_region_but_all_voxels():
    parts = ["unique:a", "unique:b", "shared:a+b"]
    rows = [
        {**_part(region, 0.01 * k, 0.0, 0.1), "part": part}
        for region in ("all", "top", "v1") for k, part in enumerate(parts)
    ]  # fmt: skip
    found = draw_circles(rows, "both")
    assert found is not None
    assert found.title == "Shared and unique R² of the bands of both, n = 1 subject"
    assert draw_circles([row for row in rows if row["part"] != "shared:a+b"], "both") is None
    assert draw_circles(rows, "other") is None
