"""What the modes change is told on the same voxels and the same held-out seconds, and how many these are."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from encoding_study_factory import ANALYSIS, N_VOLUMES, write_study

from release_kit.encoding.arrays import Samples
from release_kit.encoding.pipeline.mode_table import common_samples, mode_rows
from release_kit.encoding.pipeline.results import ModeResult
from release_kit.encoding.pipeline.run import RunReport, run_analysis
from release_kit.encoding.pipeline.tables import COLUMNS, read_rows
from release_kit.encoding.report.modes import modes
from release_kit.encoding.spec.read import read_analysis


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunReport]:
    folder = tmp_path_factory.mktemp("study")
    return folder, run_analysis(read_analysis(write_study(folder)), mode="both")


def chosen(result: ModeResult, feature: str):
    return result.fit("01", result.chosen("01", feature))


def one(rows: list[dict], **wanted) -> dict:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def test_both_modes_are_judged_on_the_samples_that_both_hold_out(study):
    folder, report = study
    corrected, paper = report.results
    row = one(read_rows(folder, "modes"), subject="01", name="story-words", metric="r", region="story")
    y = corrected.groups[0].held_out("01")
    # Both hold out the second runs; the paper's choices drop 20 s of them, these 4 s.
    fits = [(chosen(paper, "story-words"), 0), (chosen(corrected, "story-words"), 16)]
    kept = N_VOLUMES - 20
    means = []
    for fit, ahead in fits:
        predicted = fit.prediction()
        length = len(predicted) // 3
        rows = np.concatenate([np.arange(k * length + ahead, k * length + ahead + kept) for k in range(3)])
        truth = np.concatenate([np.arange(k * (N_VOLUMES - 4) + 16, (k + 1) * (N_VOLUMES - 4)) for k in range(3)])
        means.append(np.mean([np.corrcoef(y[truth, v], predicted[rows, v])[0, 1] for v in range(6)]))
    assert (row["paper"], row["corrected"]) == pytest.approx(means, abs=1e-5)
    assert row["n_samples"] == 3 * kept
    assert row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(row["paper"] - row["corrected"])


def test_a_voxel_that_one_mode_cannot_score_is_compared_in_neither_and_counted(study):
    _, report = study
    corrected, paper = report.results
    fit = chosen(paper, "object-words")
    whole = fit.columns["r"].copy()
    try:
        fit.columns["r"][:4] = np.nan  # as where a prediction is constant
        rows = [row for row in mode_rows(report.results) if row["subject"] == "01" and row["name"] == "object-words"]
    finally:
        fit.columns["r"][:] = whole
    row = one(rows, metric="r", region="all")
    assert (row["n_paper"], row["n_corrected"], row["n_voxels"]) == (34, 38, 34)
    story = one(rows, metric="r", region="story")
    assert (story["n_paper"], story["n_corrected"], story["n_voxels"]) == (2, 6, 2)
    expected = chosen(corrected, "object-words").r
    assert abs(story["corrected"] - np.mean(expected[4:6])) < 0.1  # the same two voxels, fewer samples


def test_unique_parts_are_compared_in_one_metric_with_the_level_and_an_interval(study):
    folder, report = study
    rows = read_rows(folder, "modes")
    for metric in ("r2", "r"):
        row = one(rows, subject="01", name="both", part="unique:story-words", metric=metric, region="story")
        assert None not in (row["paper"], row["corrected"], row["low"], row["high"])
        assert (row["level"], row["n_voxels"]) == ("story", 6)
        assert row["difference"] == pytest.approx(row["paper"] - row["corrected"])
    # On samples that the corrected mode holds out alone there are a few more, hence not to the last digit.
    own = one(read_rows(folder, "partition"), mode="corrected", subject="01", part="unique:story-words", region="story")
    row = one(rows, subject="01", part="unique:story-words", metric="r2", region="story")
    assert row["corrected"] == pytest.approx(own["value"], abs=0.05)
    assert row["fit_id_paper"] == report.results[1].partitions[0].fitted.fit_id


def test_samples_held_out_by_both_modes_are_matched_by_run_and_volume():
    def plan(volumes: dict[int, range], held: list[int]) -> SimpleNamespace:
        run = np.concatenate([np.full(len(each), k) for k, each in volumes.items()]).astype(np.int32)
        volume = np.concatenate([np.array(each, np.int32) for each in volumes.values()])
        samples = Samples(
            run=run, volume=volume, runs=("a", "b", "c"), titles=("t", "t", "t"), train=~np.isin(run, held)
        )
        return SimpleNamespace(samples=samples, held_out=np.flatnonzero(~samples.train))

    found = common_samples({"corrected": plan({0: range(9), 1: range(3, 6), 2: range(2)}, [1, 2]),
                            "paper": plan({0: range(9), 1: range(4, 9), 2: range(1, 4)}, [1, 2])})  # fmt: skip
    assert found.rows["corrected"].tolist() == [1, 2, 4] and found.rows["paper"].tolist() == [0, 1, 5]
    assert found.borders == (slice(0, 2), slice(2, 3)) and found.n == 3


def test_without_resamples_there_are_values_and_no_intervals(tmp_path: Path):
    text = ANALYSIS.replace("bootstrap: 50", "bootstrap: 0")
    run_analysis(read_analysis(write_study(tmp_path, subjects=("01",), analysis=text)), mode="both")
    rows = [row for row in read_rows(tmp_path, "modes") if row["metric"] in ("r", "r2")]
    assert len(rows) > 20 and all(row["difference"] is not None and row["low"] is None for row in rows)


def modes_row(**changed) -> dict:
    row = dict.fromkeys(COLUMNS["modes"])
    return row | {"subject": "01", "name": "speech-words", "level": "speech", "metric": "r", "region": "top",
                  "n_voxels": 600, "n_paper": 610, "n_corrected": 640, "n_samples": 70} | changed  # fmt: skip


def values(paper: float, corrected: float) -> dict:
    return {"paper": paper, "corrected": corrected, "difference": paper - corrected}


def test_the_page_has_a_line_a_level_and_number_with_interval_and_counts():
    rows = [
        modes_row(**values(0.25, 0.5), low=-0.3, high=-0.2),
        modes_row(**values(0.1, 0.2), region="all"),
        modes_row(**values(0, 10), metric="layer", region="all"),
        modes_row(**values(0.5, 0.25), metric="share_significant", region="all", low=0.2, high=0.3),
        modes_row(**values(0.04, 0.06), name="both", part="unique:speech-words", metric="r2", low=-0.05, high=0.01),
        modes_row(**values(0.04, 0.06), name="both", part="shared:speech-words+b", metric="r2"),
        modes_row(**values(270, 258), name="samples", metric="n_train", region="all", level=None),
    ]
    text, note = modes(rows)
    plain = [line for line in text.splitlines() if line.startswith("<tr><td>")]
    assert len(plain) == 5  # all voxels and shared parts stand in the file
    assert "layer" not in plain[0] and "0.0" not in plain[3].replace("0.00", "")
    assert "\u22120.300 to \u22120.200" in plain[0]
    for count in ("600", "610", "640"):
        assert f">{count}</span>" in plain[0]
    assert ">25.0</span>" in plain[2] and ">20.0 to 30.0</span>" in plain[2]  # per cent
    assert ">0</span>" in plain[3] and ">10</span>" in plain[3]
    assert "Unique R²" in text and "Layer that cross-validation chose" in text and "n_train" not in text
    assert "70 a subject" in note


def test_over_subjects_the_interval_is_of_their_differences():
    rows = [modes_row(**values(0.2, 0.1 * k), subject=f"0{k}", low=-9, high=9) for k in (1, 2, 3)]
    text = modes(rows)[0]
    assert "\u22120.248 to 0.248" in text and "9" not in text.split("to 0.248")[1].split("</td>")[0]
