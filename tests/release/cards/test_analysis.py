"""The analysis of a study in the card of its release: shown, traced, and left out when the results have moved on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from analysis_factory import SVG, write_analysis

from release_kit.core.analysis_summary import SUMMARY_FILE, AnalysisSummary, read_summary, results_digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.results import RESULTS_FILE, read_results
from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.cards import read_card_inputs
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.downloaded import check_downloaded
from release_kit.release.check import check_study

ROOT = Path(__file__).parents[3]


def problems(built) -> list[str]:
    return [f"{each.code} {each.path}: {each.what}" for each in check_cards(built.inputs()).problems]


def test_summary_says_the_same_after_reading_it_back(built):
    summary = write_analysis(built.study.folder, sources={"tables/layer_changes.parquet": "0" * 64})
    assert read_summary(built.study.folder) == summary
    page = (ROOT / "docs/formats/analysis.md").read_text()
    example = json.loads(page.split("```json")[1].split("```")[0])
    assert AnalysisSummary.from_dict(example).to_dict() == example
    assert all(f"`{key}`" in page for key in example if key != "schema_version")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claims": [{"claim": "x", "verdict": "maybe", "key": "/a"}]}, "`claims[0].verdict` is 'maybe'"),
        ({"report": {"path": "cells/x.html", "sha256": "0"}}, "expected a file under analysis/"),
        ({"figures": [{"path": "analysis/../x.svg", "sha256": "0"}]}, "x.svg"),
        ({"figure": []}, "did you mean 'figures'"),
    ],
)
def test_broken_summary_is_refused_with_its_key(built, change, message):
    summary = write_analysis(built.study.folder)
    (built.study.folder / SUMMARY_FILE).write_text(json.dumps(summary.to_dict() | change))
    with pytest.raises(ReleaseKitError) as caught:
        read_summary(built.study.folder)
    assert message in str(caught.value)


def test_card_of_the_release_shows_verdicts_that_lead_to_their_claim(built):
    write_analysis(built.study.folder)
    report = build_release(built.study)
    card = (built.release / "index/README.md").read_text()
    assert "keeps more of arc_tiny than full tuning | mean difference | **cannot be told** | 0.013 |" in card
    assert "-0.040 to 0.065" in card and "scores \\| of another base" in card
    assert "![Estimates of 1 claim](figures/analysis/verdicts.svg)" in card
    assert '"key":"/verdicts/0"' in card and '"index/analysis/verdicts.json":"' in card
    index = {entry.path for entry in report.manifest.index}
    assert {"analysis/report.html", "analysis/verdicts.json", "analysis/summary.json"} <= index
    assert (built.release / "index/figures/analysis/verdicts.svg").read_text() == SVG
    assert problems(built) == [] and build_release(built.study).written == ()


def test_number_of_a_verdict_edited_by_hand_is_named_also_in_a_download(built):
    write_analysis(built.study.folder)
    build_release(built.study)
    card = built.release / "index/README.md"
    card.write_text(card.read_text().replace("-0.040 to 0.065", "0.040 to 0.065", 1))
    (found,) = problems(built)
    assert found.startswith("number-edited index/README.md") and "Interval shows 0.040 to 0.065" in found
    (edited,) = check_downloaded(built.release).problems
    assert edited.code == "number-edited" and edited.now == "-0.040 to 0.065"


def test_figure_that_was_exchanged_after_the_build_is_named(built):
    write_analysis(built.study.folder)
    build_release(built.study)
    (built.release / "index/figures/analysis/verdicts.svg").write_text(SVG.replace("Verdicts", "Better"))
    assert [found.split(":")[0] for found in problems(built)] == ["figure-stale index/figures/analysis/verdicts.svg"]


def test_analysis_of_other_results_is_left_out(built):
    write_analysis(built.study.folder, results_sha256="0" * 64)
    build_release(built.study)
    assert "## Analysis" not in (built.release / "index/README.md").read_text()
    assert not (built.release / "index/analysis").exists()


def test_digest_of_results_depends_on_what_they_say_and_not_on_their_order(built):
    rows = read_results(built.study.folder / RESULTS_FILE)
    digest = results_digest(rows)
    assert results_digest(reversed(rows)) == digest
    assert results_digest([replace(row, source="elsewhere.csv", source_sha256="1") for row in rows]) == digest
    assert results_digest([replace(rows[0], value=0.5), *rows[1:]]) != digest


def test_loss_picture_samples_and_log_of_a_cell_go_into_the_release(built):
    cell = next(cell for cell in built.inputs().cells if cell.kind == "adapter")
    model = built.study.folder / "cells" / cell.cell_id / "model"
    (model / "loss.svg").write_text(SVG)
    (model / "training_log.parquet").write_bytes(b"PAR1PAR1")
    (model.parent / "eval" / "arc_tiny.samples.parquet").write_bytes(b"PAR1samples")
    report = build_release(built.study)
    files = next({entry.path for entry in each.files} for each in report.manifest.cells if each.cell_id == cell.cell_id)
    assert {"loss.svg", "training_log.parquet", "eval/arc_tiny.samples.parquet"} <= files
    card = built.card(cell.name).read_text()
    assert "(loss.svg)" in card and "`training_log.parquet`" in card
    assert check_study(read_study(built.study.folder)).problems == () and problems(built) == []
    cards = [built.card(each.name).read_text() for each in read_card_inputs(built.study).cells]
    assert sum("(loss.svg)" in text for text in cards) == 1
