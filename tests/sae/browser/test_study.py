"""A browser made from the tables of a study: small with many autoencoders, rows of the files, links followed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sae.report.table_factory import record_tables, write_tables

from release_kit.sae.browser.study import browser_tables
from release_kit.sae.browser.write import write_browser
from release_kit.sae.claims.read import StudyTables, read_tables
from release_kit.sae.spec.read import read_study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return read_tables(read_study(write_tables(tmp_path_factory.mktemp("study"), n_features=20)))


@pytest.fixture(scope="module")
def folder(tables: StudyTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    shown = browser_tables(tables, most=6)
    assert shown is not None
    write_browser(shown, folder, title="t")
    return folder


def data_of(path: Path) -> object:
    match = re.fullmatch(r"browserData\(\"[^\"]*\",(.*)\);\n", path.read_text(encoding="utf-8"), re.DOTALL)
    assert match, path
    return json.loads(match[1])


def test_the_most_frequent_features_of_each_class_are_shown_by_turns(tables: StudyTables):
    shown = browser_tables(tables, most=6)
    assert shown is not None
    rows = [row for row in shown.features.to_pylist() if (row["size"], row["step"], row["layer"], row["seed"]) ==
            ("large", 256, 2, 1)]  # fmt: skip
    classes = [row["class"] for row in rows]
    assert len(rows) == 6 and {name: classes.count(name) for name in set(classes)} == {"bilingual": 2, "en": 2, "ja": 2}
    every = [row for row in tables.tables["features"].to_pylist() if row["size"] == "large" and row["step"] == 256
             and row["layer"] == 2 and row["seed"] == 1 and row["class"] == "bilingual"]  # fmt: skip
    densest = sorted(row["density"] for row in every)[-2:]
    assert sorted(row["density"] for row in rows if row["class"] == "bilingual") == densest


def test_rows_are_those_of_the_files(tables: StudyTables, folder: Path):
    index = data_of(folder / "data/index.js")
    assert isinstance(index, dict)
    for size, step, layer, seed, metric, value, row, name in index["metrics"]:
        there = tables.tables[name].slice(row, 1).to_pylist()[0]
        assert (there["size"], there["step"], there["layer"], there["seed"]) == (size, step, layer, seed)
        assert value == pytest.approx(there["null_share" if metric.endswith("_null") else "value"], rel=1e-3)
    contexts = tables.tables["contexts"]
    for number, found in data_of(folder / "data/small_step-64_layer-3_seed-2_0.js").items():
        for language, tokens, _, _, row in found:
            there = contexts.slice(row, 1).to_pylist()[0]
            assert (there["feature"], there["language"], there["tokens"]) == (int(number), language, tokens)


def test_a_study_of_a_hundred_autoencoders_opens_with_little(folder: Path, tables: StudyTables):
    files = [path for path in folder.rglob("*") if path.is_file()]
    n_features = len({tuple(row.values()) for row in browser_tables(tables, most=6).features.select(
        ["size", "step", "layer", "seed", "feature"]).to_pylist()})  # fmt: skip
    assert n_features == 96 * 6
    assert sum(path.stat().st_size for path in files) < 10e6
    assert (folder / "data/index.js").stat().st_size < 0.5e6


def test_without_contexts_there_is_no_browser(tmp_path: Path):
    study = write_tables(tmp_path)
    (study / "tables/contexts.parquet").unlink()
    assert browser_tables(read_tables(read_study(record_tables(study)))) is None
    pq.write_table(pq.read_table(study / "tables/features.parquet").slice(0, 0), study / "tables/contexts.parquet")
    assert browser_tables(read_tables(read_study(record_tables(study)))) is None


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_slider_follows_a_feature_along_its_links(folder: Path):
    index = data_of(folder / "data/small_layer-2_seed-0_links.js")
    both = {(one[0], one[1]): one[3] for one in index if one[6] == 3}
    start = next(feature for step, feature in both if step == 64)
    act = """setTimeout(() => { const at = document.getElementById("step"); at.value = 3;
      at.dispatchEvent(new Event("input")); }, 400);"""
    (folder / "act.js").write_text(act, encoding="utf-8")
    page = (folder / "index.html").read_text(encoding="utf-8")
    (folder / "acted.html").write_text(page.replace("</body>", '<script src="act.js"></script></body>'), "utf-8")
    address = (folder / "acted.html").as_uri() + f"#size=small&seed=0&layer=2&step=64&feature={start}"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    ran = subprocess.run([*command, address], capture_output=True, text=True, timeout=120)
    assert f'data-shown="small_step-256_layer-2_seed-0/{both[64, start]}"' in ran.stdout, ran.stderr[-1000:]
    assert "Along training" in ran.stdout and 'data-source="tables/links.parquet#' in ran.stdout
