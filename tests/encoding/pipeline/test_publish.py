"""The derivative of an analysis is published as a dataset with a card, comes back whole, and is what it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bids_hub import build, contents, download, publish
from cli_in_process import release_kit
from encoding_study_factory import write_study

from release_kit.bids.release_study import write_release_study
from release_kit.bids.versioning.identity import Search
from release_kit.encoding.pipeline.finished import read_finished
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.spec.read import read_analysis
from release_kit.hub.server import LocalHub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub", durability="fast") as server:
        yield server


def test_maps_and_tables_are_published_and_come_back(tmp_path: Path, hub: LocalHub):
    analysis = tmp_path / "analysis"
    run_analysis(read_analysis(write_study(analysis, subjects=("01",))))
    outcome = release_kit("encoding", "report", analysis)
    assert outcome.returncode == 0 and "maps and the tables in" in outcome.stdout, outcome.stderr
    derivative, study = analysis / "derivative", tmp_path / "release"
    validated = release_kit("bids", "validate", derivative)
    assert validated.returncode == 0 and "valid: 0 errors" in validated.stdout, validated.stdout
    write_release_study(derivative, study, name="small-maps", version="1.0.0", search=Search(words=()))
    build(study)
    card = (study / "release/index/README.md").read_text(encoding="utf-8")
    assert "### Maps" in card and "| r |" in card and "### Recordings" not in card
    assert "## Main results" in card and "| held-out r of story-words (bag-of-words, level story) | 0." in card
    assert "story-words explains something that no other band of both does | unique R² 0." in card
    assert "`sourcedata/tables/partition.parquet`, row " in card
    assert publish(study, hub).n_commits
    download(hub, tmp_path / "copy", "lab/small-maps@v1.0.0")
    assert release_kit("verify", tmp_path / "copy").returncode == 0
    sent, there = contents(derivative), contents(tmp_path / "copy")
    assert {path: there.get(path) for path in sent if path != "README.md"} == {
        path: digest for path, digest in sent.items() if path != "README.md"
    }
    for name, digest in read_finished(analysis).record["files"].items():
        if name.startswith("tables/"):
            assert there[f"sourcedata/{name}"] == digest


def test_a_report_of_an_analysis_that_never_ended_is_refused(tmp_path: Path):
    write_study(tmp_path, subjects=("01",))
    outcome = release_kit("encoding", "report", tmp_path)
    assert outcome.returncode == 1 and "is no finished analysis" in outcome.stderr
    assert "release-kit encoding run finishes it" in outcome.stderr
    assert not (tmp_path / "derivative").exists()
