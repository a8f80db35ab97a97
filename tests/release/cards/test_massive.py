"""The real table: 1,027 cells with 30 results each become 1,027 cards and an index."""

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.cards import read_card_inputs
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.lint import lint_card
from release_kit.release.cards.trace import visible_numbers

ROOT = Path(__file__).parents[3]
TABLE = ROOT.parent / "shared/data/massive-sft/evaluation_result.csv"


@pytest.fixture(scope="module")
def massive(tmp_path_factory):
    if not TABLE.is_file():
        pytest.skip(f"the real results table is not at {TABLE}")
    folder = tmp_path_factory.mktemp("massive")
    shutil.copy(ROOT / "studies/massive-sft.yaml", folder / "study.yaml")
    shutil.copy(TABLE, folder)
    study = read_study(folder)
    build_release(study)
    return study


def test_real_table_becomes_cards_that_follow_from_it(massive):
    release = massive.folder / "release"
    assert len(list(release.glob("cells/*/README.md"))) == 1027
    report = check_cards(read_card_inputs(massive))
    assert report.problems == () and report.n_cards == 1029 and report.n_numbers > 150_000


def test_real_cards_are_clean_and_the_client_reads_every_number(massive):
    release = massive.folder / "release"
    inputs = read_card_inputs(massive)
    for cell in inputs.cells[::97]:
        card = release / "cells" / cell.name / "README.md"
        own = [row.value for row in inputs.results if row.cell_id == cell.cell_id and row.value is not None]
        results = ModelCard.load(card).data.eval_results
        assert sorted(r.metric_value for r in results) == sorted(own) and len(own) >= 18
        names = {(r.dataset_name, r.metric_type) for r in results}
        assert len(names) == len(results)
        codes = {p.code for p in lint_card(card.read_text(), cell.name, card.parent)}
        assert codes == {"license-missing", "base-model-missing"}


def test_real_index_names_the_holes(massive):
    text = (massive.folder / "release/index/README.md").read_text()
    holes = {keys[0]: shown for (table, keys, column), (shown, _) in visible_numbers(text).items()
             if table == "holes" and column == "Cells without it"}  # fmt: skip
    assert holes["the whole cell"] == "55"
    assert holes["LongBench-v2 · 0-shot · score"] == "986"
    assert "20" in holes.values()


@pytest.mark.slow
def test_one_new_number_in_the_real_table_changes_only_the_cards_that_show_it(massive, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(massive.folder, folder)
    table = folder / "evaluation_result.csv"
    lines = table.read_text().split("\n")
    fields = lines[1].split(",")
    assert fields[5] == "13.19"
    lines[1] = ",".join([*fields[:5], "13.2", *fields[6:]])
    table.write_text("\n".join(lines))
    report = build_release(read_study(folder))
    cards = [path for path in report.written if path.startswith("release/cells/")]
    assert len(cards) == 2, cards
    assert yaml.safe_load((folder / cards[0]).read_text().split("---")[1])["model-index"]
