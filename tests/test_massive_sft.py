"""The real table of a published study, as it is: through the adapter, checked, built, published, fetched, verified.

The table has no licence and is not part of this repository; the tests read it from ``../shared/data`` and skip where
it is absent.
"""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from release_kit.cli import cli
from release_kit.core.collect import collect_results
from release_kit.core.study import Study, read_study
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release
from release_kit.release.check.run import check_study
from release_kit.release.tree import open_tree

ROOT = Path(__file__).parent.parent
TABLE = ROOT.parent / "shared" / "data" / "massive-sft" / "evaluation_result.csv"
N_ROWS = 1027
N_METRICS = 30

pytestmark = pytest.mark.skipif(not TABLE.is_file(), reason="the massive-sft table is not on this machine")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the declared study with its table, built."""
    folder = tmp_path_factory.mktemp("massive") / "study"
    folder.mkdir()
    shutil.copy(ROOT / "studies" / "massive-sft.yaml", folder / "study.yaml")
    shutil.copy(TABLE, folder)
    declared = read_study(folder)
    build_release(declared)
    return declared


def test_every_row_of_the_table_comes_in(study):
    collected = collect_results(study)
    assert not collected.problems and not collected.undeclared
    assert len({row.source_row for row in collected.rows}) == N_ROWS
    holes = Counter(row.benchmark for row in collected.rows if row.value is None)
    assert holes["alpaca_eval_v2"] == 4 and sum(holes.values()) == 204


def test_check_names_the_real_defects(study):
    report = check_study(study)
    found = {}
    for problem in report.problems:
        found.setdefault(problem.code, []).append(f"{problem.where}: {problem.what}")
    text = {code: "\n".join(lines) for code, lines in found.items()}
    assert report.n_missing == 55
    assert "Swallow-Mistral-7B: not one of its 41 cells" in text["cell-missing"]
    assert "dataset=lima" in text["cell-missing"] and "lr_schedule=constant epoch=10" in text["cell-missing"]
    assert "Gemma2-9B dataset=magicoder method=full" in text["cell-missing"]
    assert "Chinese-Mistral-7B-v0.1" in text["results-identical"] and "29 metrics" in text["results-identical"]
    partly = [line for line in found["results-partly-identical"] if "dataset=pretrain" in line]
    assert any("OLMo-7B-hf" in line and "LLM-jp-3-7B" in line for line in partly)
    assert "Mistral-7B-v0.1 method=lora" in text["result-empty"] and "(20 cells)" in text["result-empty"]
    assert "994 cells" in text["results-incomplete"] and "LongBench-v2" in text["results-incomplete"]
    assert "BoolQ 5-shot" in text["result-collapse"]
    assert "Truthful_QA" in text["result-scale"]
    assert "method=none" in text["results-spelling"]
    assert "licence-missing" in found


def test_a_card_for_every_row_and_an_index_are_built(study):
    manifest = open_tree(study.folder).manifest
    assert len(manifest.cells) == N_ROWS
    assert all(cell.kind == "results-only" for cell in manifest.cells)
    assert all("README.md" in {entry.path for entry in cell.files} for cell in manifest.cells)
    assert "README.md" in {entry.path for entry in manifest.index}


def test_cards_of_the_table_follow_from_it(study):
    done = CliRunner().invoke(cli, ["cards", str(study.folder), "--check"], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_published_downloaded_and_verified(study, tmp_path):
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    with LocalHub(tmp_path / "hub", durability="fast") as hub:
        address = ["--endpoint", hub.endpoint]
        refused = CliRunner().invoke(cli, ["publish", str(study.folder), "--to", "lab", *address])
        assert refused.exit_code == 1 and not any(record.method == "POST" for record in hub.requests)
        run("publish", str(study.folder), "--to", "lab", "--despite-errors", *address)
        run("verify", "lab/massive-sft@v1.0.0", "--remote", *address)
        run("download", "lab/massive-sft@v1.0.0", str(tmp_path / "copy"), *address)
        assert f"{N_ROWS}" in run("verify", str(tmp_path / "copy"))
    shown = (tmp_path / "copy" / "index" / "README.md").read_text()
    assert "1,027" in shown and "Swallow-Mistral-7B" in shown
