"""The analysis on disk: complete, self-contained, traced, the same bytes again, and fit for the cards of a release."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from analysis_records_factory import Made, drawn
from click.testing import CliRunner

from release_kit.cli import cli
from release_kit.core.analysis_summary import SUMMARY_FILE, read_analysis_files, read_summary
from release_kit.core.hashing import digest_bytes
from release_kit.release.build import build_release
from release_kit.release.cards import read_card_inputs
from release_kit.release.cards.compare import check_cards
from release_kit.release.check import check_study
from release_kit.sft.analysis.report import write_report

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags close and collects what a page points to."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._collect(attrs)

    def handle_startendtag(self, tag, attrs):
        self._collect(attrs)

    def _collect(self, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    analysis, pictures = drawn()
    return folder, analysis, write_report(folder, analysis, results_sha256="ab" * 32, pictures=pictures)


def test_summary_names_files_that_are_there(written):
    folder, analysis, done = written
    summary = read_summary(folder)
    assert summary == done.summary
    assert len(read_analysis_files(folder, summary)) == 2 + len(summary.figures)
    assert [claim.claim for claim in summary.claims] == [each.statement for each in analysis.findings.verdicts]
    assert summary.claims[0].low == pytest.approx(-0.46) and summary.claims[-1].estimate is None
    assert len({figure.path for figure in summary.figures}) == len(summary.figures) == 9


def test_key_of_a_claim_leads_to_it_in_the_file_of_verdicts(written):
    folder, _, done = written
    document = json.loads((folder / done.summary.verdicts.path).read_text())
    for claim in done.summary.claims:
        found = document
        for part in claim.key.strip("/").split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        assert found["statement"] == claim.claim
        assert (found["estimate"] or {}).get("value") == claim.estimate


def test_page_is_whole_and_needs_nothing_from_outside(written):
    folder, _, done = written
    text = (folder / done.summary.report.path).read_text()
    page = Page(text)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "<script" not in text and "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "prefers-color-scheme:dark" in text and "@media print" in text
    assert text.count("<figure>") == len([path for path in done.files if path.endswith(".svg")])


def test_doubts_stand_before_every_verdict_and_verdicts_have_their_interval(written):
    text = (written[0] / written[2].summary.report.path).read_text()
    assert text.index("Base rows in doubt") < text.index('id="verdicts"') < text.index('id="gains"')
    assert "every score of base-c-7B is that of base-a-7B" in text
    assert "\u22120.34 [\u22120.46, \u22120.22]" in text and "no activations were recorded" in text
    assert "run: release-kit sft measure S" in text


def test_each_table_names_its_file_with_the_right_digest(written):
    folder, _, done = written
    text = (folder / done.summary.report.path).read_text()
    traced = re.findall(r"Numbers: <code>([^<]+)</code>, sha256 <code>([0-9a-f]{64})</code>", text)
    assert len(traced) >= 9
    assert all(digest_bytes((folder / path).read_bytes()).sha256 == sha256 for path, sha256 in traced)


def test_text_of_a_study_cannot_become_markup(tmp_path):
    hostile = replace(Made(2, 2, 2).analysis(), study="<script>x</script>", notes=("<img src=x>",))
    done = write_report(tmp_path, hostile, results_sha256="0" * 64, pictures=[])
    text = (tmp_path / done.summary.report.path).read_text()
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text


def test_command_writes_once_and_then_nothing(make_study, tmp_path):
    study = make_study(benchmarks=("arc_tiny", "copa_tiny"))
    runner = CliRunner()
    first = runner.invoke(cli, ["sft", "analyse", str(study.folder), "--json"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    said = json.loads(first.stdout)
    assert SUMMARY_FILE in said["changed"] and not said["reused"] and len(said["verdicts"]) > 10
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    second = json.loads(runner.invoke(cli, ["sft", "analyse", str(study.folder), "--json"]).stdout)
    assert second["reused"] and second["changed"] == [] and second["verdicts"] == said["verdicts"]
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()} == before
    text = runner.invoke(cli, ["sft", "analyse", str(study.folder)]).stdout
    assert "nothing has changed" in text and "cannot be told" in text
    _the_release_carries_it(study)
    _a_damaged_file_is_made_again(study, runner)
    _another_folder_leaves_the_study_alone(study, runner, tmp_path / "out")


def _the_release_carries_it(study):
    build_release(study)
    card = (study.folder / "release/index/README.md").read_text()
    assert "## Analysis" in card and "(figures/analysis/" in card
    assert check_study(study).problems == ()
    assert check_cards(read_card_inputs(study)).problems == ()


def _a_damaged_file_is_made_again(study, runner):
    report = study.folder / "analysis/report.html"
    right = report.read_bytes()
    report.write_bytes(b"<html>")
    again = json.loads(runner.invoke(cli, ["sft", "analyse", str(study.folder), "--json"]).stdout)
    assert again["changed"] == ["analysis/report.html"] and report.read_bytes() == right


def _another_folder_leaves_the_study_alone(study, runner, out):
    shutil.rmtree(study.folder / "analysis")
    shutil.rmtree(study.folder / "tables")
    said = runner.invoke(cli, ["sft", "analyse", str(study.folder), "--out", str(out), "--json"])
    assert said.exit_code == 0 and (out / SUMMARY_FILE).is_file()
    assert not (study.folder / "analysis").exists() and not (study.folder / "tables").exists()


def test_results_that_cannot_be_read_are_refused_and_nothing_is_written(make_study):
    study = make_study()
    next(study.folder.glob("cells/*/eval/*.json")).write_text("{")
    done = CliRunner().invoke(cli, ["sft", "analyse", str(study.folder)])
    assert done.exit_code != 0 and not (study.folder / "analysis").exists()
