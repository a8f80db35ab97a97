"""Held-out runs that show the same film again: the ceiling is the planted one, scores are of their mean."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoding_study_factory import ANALYSIS, BOTH, N_VOLUMES, OBJECT, STORY, TITLES, write_study

from release_kit.encoding.arrays import Samples
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.pipeline.repeats import find_repeats, later_rows
from release_kit.encoding.pipeline.run import RunReport, run_analysis
from release_kit.encoding.pipeline.tables import read_rows
from release_kit.encoding.spec.read import read_analysis

HELD_OUT = ", ".join(f"task-{title}_run-{run}" for title in TITLES for run in ("02", "03"))
TWICE = ANALYSIS.replace("{drop_start_s: 4}", f"{{drop_start_s: 4, test: runs, test_runs: [{HELD_OUT}]}}")
N_TIMES = 3 * (N_VOLUMES - 4)


def write_repeats(folder: Path, analysis: str = TWICE) -> Path:
    """Write the small study with a third run of each title: what the second shows, with noise of its own."""
    file = write_study(folder, subjects=("01",), analysis=analysis)
    write_study(folder / "other", subjects=("02", "01"))
    for below in ("", "derivatives/clean/"):
        ours, other = (root / f"dataset/{below}sub-01/func" for root in (folder, folder / "other"))
        for path in other.glob("*_run-02_*"):
            shutil.copy(path, ours / path.name.replace("_run-02_", "_run-03_"))
    shutil.rmtree(folder / "other")
    return file


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunReport]:
    found = {}
    for how in ("mean", "each"):
        text = TWICE.replace("drop_start_s: 4,", f"drop_start_s: 4, repeats: {how},")
        folder = tmp_path_factory.mktemp(how)
        found[how] = run_analysis(read_analysis(write_repeats(folder, text)))
    return found


def rows_of(report: RunReport, table: str, **wanted: Any) -> list[dict]:
    rows = read_rows(report.tables[0].parent.parent, table)
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_the_ceiling_is_the_planted_one(both_ways: dict[str, RunReport]):
    result = both_ways["each"].results[0]
    cleaned = result.groups[0].cleaned("01")
    driven = np.r_[STORY, OBJECT, BOTH]
    # The noise has variance 1, so what is more is signal.
    total = cleaned.values[:, driven].var(axis=0, dtype=np.float64)
    one = np.sqrt(1 - 1 / total)
    assert result.repeats["01"][driven] == pytest.approx(one, abs=0.06)
    assert abs(np.mean(result.repeats["01"][driven] - one)) < 0.01
    assert np.mean(result.repeats["01"][18:38]) < 0.2  # nothing but noise
    both = both_ways["mean"].results[0].repeats["01"][driven]
    assert both == pytest.approx(np.sqrt(2 * one**2 / (1 + one**2)), abs=0.05)


def test_scores_are_of_the_mean_response_and_near_the_ceiling(both_ways: dict[str, RunReport]):
    means, each = (both_ways[how].results[0] for how in ("mean", "each"))
    part = next(part for _, part in means.fits if part.feature == "story-words")
    assert means.fit("01", part).facts["n_held_out"] == N_TIMES
    assert each.fit("01", part).facts["n_held_out"] == 2 * N_TIMES
    group, plan = means.groups[0], means.inputs.plans["01"]
    cleaned = group.cleaned("01")
    first, second = (np.concatenate([rows[k] for rows in plan.repeats]) for k in (0, 1))
    expected = (cleaned.rows(first) + cleaned.rows(second)) / 2
    assert plan.held_out.tolist() == sorted(first.tolist())
    assert group.held_out("01")[np.argsort(np.argsort(first))] == pytest.approx(expected, abs=1e-5)
    gained = means.fit("01", part).r[STORY] - each.fit("01", part).r[STORY]
    assert gained.min() > 0.01
    for how in ("mean", "each"):
        row = rows_of(both_ways[how], "encoding_scores", feature="story-words", metric="r_normalised", region="story")
        assert 0.93 < row[0]["value"] < 1.05


def test_the_table_says_where_the_ceiling_comes_from(both_ways: dict[str, RunReport]):
    rows = rows_of(both_ways["mean"], "ceiling")
    assert {(row["source"], row["bound"], row["normalises"]) for row in rows} == {("repeats", "upper", True)}
    assert {row["region"] for row in rows} == {"all", "story", "object", "both"}
    assert all(row["n_voxels"] == 6 and row["value"] > 0.7 for row in rows if row["region"] != "all")


def test_repeats_are_found_by_what_is_shown_not_by_names():
    def run(name: str, stim_id: str, start: float, onset: float = 0.0) -> RunInfo:
        return RunInfo(
            subject="01", session=None, task="a", run=name, title="a", stim_id=stim_id, n_volumes=10, tr_s=2.0,
            stim_start_s=start, onset_s=onset,
        )  # fmt: skip

    # The second begins two volumes into its run; the third shows the last half and more; the fourth another film.
    runs = (run("1", "film", 0.0), run("2", "film", 0.0, onset=4.0), run("3", "film", 10.0), run("4", "other", 0.0))
    samples = Samples(
        run=np.repeat(np.arange(4, dtype=np.int32), 10),
        volume=np.tile(np.arange(10, dtype=np.int32), 4),
        runs=tuple(each.name for each in runs),
        titles=("a",) * 4,
        train=np.zeros(40, bool),
    )
    found = find_repeats(runs, samples, np.arange(40))
    assert [rows.tolist() for rows in found] == [
        [[0, 1, 2, 3, 4], [12, 13, 14, 15, 16]],
        [[5, 6, 7], [17, 18, 19], [20, 21, 22]],
        [[8, 9], [23, 24]],
    ]
    assert later_rows(found).tolist() == [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
    assert find_repeats(runs, samples, np.arange(10)) == ()


def test_a_study_without_repeats_has_none(tmp_path: Path):
    result = run_analysis(read_analysis(write_study(tmp_path, subjects=("01",)))).results[0]
    assert not result.repeats and not result.inputs.plans["01"].repeats
