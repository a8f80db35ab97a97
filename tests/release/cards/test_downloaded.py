"""A reader holds the cards of a download against its table, without the study."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from release_kit.core.results import read_results, write_results
from release_kit.release.cards.downloaded import check_downloaded
from release_kit.release.cards.trace import TRACE_OPEN

CELL, BASE = "tiny-llama-alpaca-lora-s0", "tiny-llama-none-base-s0"


@pytest.fixture
def download(built) -> Path:
    """The cards and tables of a release as a download has them: no study, no artifacts."""
    folder = built.study.folder.parent / "download"
    shutil.copytree(built.release, folder)
    return folder


def change(folder: Path, name: str, **changes) -> None:
    cell_id = (folder / "cells" / name / "README.md").read_text().split("Identity of the cell: `")[1][:12]
    path = folder / "results/results.parquet"
    rows = [
        dataclasses.replace(row, **changes) if (row.cell_id, row.benchmark) == (cell_id, "arc_tiny") else row
        for row in read_results(path)
    ]
    write_results(path, rows)


def columns(report, name: str) -> set[str]:
    return {p.what.split(", ")[1].split(" ")[0] for p in report.problems if p.path == f"cells/{name}/README.md"}


def test_download_as_published_has_no_problem(download):
    report = check_downloaded(download)
    assert report.problems == () and report.n_cards == 11 and report.n_numbers > 200


def test_number_that_the_table_does_not_give_is_named(download):
    change(download, CELL, value=0.25)
    report = check_downloaded(download)
    value = next(p for p in report.problems if p.path == f"cells/{CELL}/README.md" and "Value" in p.what)
    assert value.code == "number-stale" and value.now == "0.2500"
    line = (download / value.path).read_text().split("\n")[value.line - 1]
    assert value.shown in line
    assert columns(report, CELL) >= {"Value", "Difference"}


def test_base_model_and_median_are_worked_out_again_too(download):
    change(download, BASE, value=0.25)
    report = check_downloaded(download)
    assert columns(report, CELL) == {"Base", "Difference"}
    change(download, "tiny-llama-lima-full-s1", value=None)
    assert columns(check_downloaded(download), CELL) >= {"Cells", "Base"}


def test_number_edited_in_the_text_is_named_and_other_edits_too(download):
    card = download / "cells" / CELL / "README.md"
    text = card.read_text()
    shown = text.split("| arc_tiny | 0 | acc | **")[1][:6]
    card.write_text(text.replace(f"**{shown}**", "**0.9999**", 1))
    (problem,) = check_downloaded(download).problems
    assert (problem.code, problem.shown, problem.now) == ("number-edited", "0.9999", shown)
    card.write_text(text.replace("value: 0.", "value: 0.9"))
    assert [p.code for p in check_downloaded(download).problems] == ["text-edited"]


def test_row_from_another_source_is_a_warning(download):
    change(download, CELL, source_key="/elsewhere")
    report = check_downloaded(download)
    assert [p.code for p in report.problems] == ["source-changed"] and report.ok


def test_partial_download_is_checked_as_far_as_it_goes(download):
    shutil.rmtree(download / "index")
    for folder in sorted((download / "cells").iterdir())[1:]:
        shutil.rmtree(folder)
    report = check_downloaded(download)
    assert report.problems == () and report.n_cards == 2


def test_card_without_or_with_a_broken_record_is_named(download):
    card = download / "cells" / CELL / "README.md"
    card.write_text(card.read_text().split(TRACE_OPEN)[0])
    other = download / "cells" / BASE / "README.md"
    other.write_text(other.read_text().replace(f"{TRACE_OPEN}{{", f"{TRACE_OPEN}{{{{"))
    assert {p.path: p.code for p in check_downloaded(download).problems} == {
        f"cells/{CELL}/README.md": "card-foreign",
        f"cells/{BASE}/README.md": "card-unreadable",
    }
