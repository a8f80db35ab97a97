"""An analysis that is damaged, or that no longer follows from the results and tables of today."""

import pytest
from analysis_factory import write_analysis

from release_kit.core.errors import RecordError
from release_kit.release.build import build_release
from release_kit.release.check import check_study


@pytest.fixture
def study(make_study):
    made = make_study()
    build_release(made)
    return made


def test_analysis_of_today_is_clean(study):
    write_analysis(study.folder)
    build_release(study)
    assert check_study(study).problems == ()


def test_analysis_of_other_results(study, only):
    write_analysis(study.folder, results_sha256="0" * 64)
    build_release(study)
    (found,) = only(study, "analysis-stale", "analysis/summary.json", severity="error")
    assert "other results" in found.what


def test_analysis_of_another_table_of_layers(study, only):
    write_analysis(study.folder, sources={"tables/layer_changes.parquet": "0" * 64})
    build_release(study)
    (found,) = only(study, "analysis-stale", "analysis/summary.json", severity="error")
    assert "tables/layer_changes.parquet" in found.what


def test_damaged_figure_stops_the_build_too(study):
    write_analysis(study.folder)
    (study.folder / "analysis/figures/verdicts.svg").write_text("<svg/>")
    with pytest.raises(RecordError, match=r"verdicts\.svg is not the file that was recorded"):
        build_release(study)
    found = {each.code: each for each in check_study(study).problems}
    assert "analysis-broken" in found and "verdicts.svg" in found["analysis-broken"].what


def test_summary_that_cannot_be_read(study, only):
    (study.folder / "analysis").mkdir()
    (study.folder / "analysis/summary.json").write_text("{")
    assert "analysis-broken" in {each.code for each in check_study(study).problems}
