"""The browser is a folder that opens from disk: small, the same bytes twice, and no text of it is ever code."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from sae.browser.browser_factory import HOSTILE, make_tables

from release_kit.sae.browser.write import write_browser
from release_kit.sae.errors import SaeError


def data_of(path: Path) -> tuple[str, object]:
    """Return key and value of a data script, read as a browser would."""
    match = re.fullmatch(r"browserData\((\"[^\"]*\"),(.*)\);\n", path.read_text(encoding="utf-8"), re.DOTALL)
    assert match, path
    return json.loads(match[1]), json.loads(match[2])


def test_the_same_tables_give_the_same_bytes(tmp_path: Path):
    for name in "ab":
        write_browser(make_tables(), tmp_path / name, title="t")
    files = [path.relative_to(tmp_path / "a") for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()]
    assert len(files) > 20
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_text_of_users_never_closes_a_script_and_comes_back_as_it_was(tmp_path: Path):
    write_browser(make_tables(), tmp_path, title="</script><b>")
    tokens = set()
    for path in (tmp_path / "data").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert "<" not in text and "\u2028" not in text
        key, value = data_of(path)
        if key.startswith("contexts/"):
            tokens |= {token for rows in value.values() for row in rows for token in row[1]}
    assert set(HOSTILE[:3]) <= tokens
    assert data_of(tmp_path / "data" / "index.js")[1]["title"] == "</script><b>"


def test_nothing_is_asked_of_any_other_place(tmp_path: Path):
    write_browser(make_tables(), tmp_path, title="t")
    for name in ("index.html", "app.js", "page.js", "style.css"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|fetch\(|XMLHttpRequest|innerHTML|eval\(", text), name


def test_numbers_carry_the_row_that_they_come_from(tmp_path: Path):
    tables = make_tables()
    write_browser(tables, tmp_path, title="t")
    _, index = data_of(tmp_path / "data" / "index.js")
    for size, step, layer, seed, metric, value, row, table in index["metrics"]:
        assert table == "saes"
        there = tables.saes.slice(row, 1).to_pylist()[0]
        assert (there["size"], there["step"], there["layer"], there["seed"]) == (size, step, layer, seed)
        assert there["metric"] == metric and there["value"] == pytest.approx(value, rel=1e-3)
    _, features = data_of(tmp_path / "data" / "small_step-100_layer-2_seed-0.js")
    for k, row in enumerate(features["row"]):
        there = tables.features.slice(row, 1).to_pylist()[0]
        assert there["feature"] == features["feature"][k] and there["layer"] == 2
        assert there["density"] == pytest.approx(features["density"][k], rel=1e-3)


def test_six_hundred_features_stay_below_ten_megabytes(tmp_path: Path):
    write_browser(make_tables(n_features=50, n_contexts=10, length=48), tmp_path, title="t")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 10e6


def test_tables_that_do_not_fit_are_named(tmp_path: Path):
    tables = make_tables()
    object.__setattr__(tables, "saes", tables.saes.drop_columns(["value"]))
    object.__setattr__(tables, "links", tables.links.set_column(7, "cosine", pa.array(["x"] * len(tables.links))))
    with pytest.raises(SaeError, match=r"saes\.value is missing; links\.cosine is string, expected double"):
        write_browser(tables, tmp_path, title="t")
    tables = make_tables()
    object.__setattr__(tables, "features", tables.features.slice(1))
    with pytest.raises(
        SaeError, match="small, step 0, layer 1, seed 0, feature 0: 6 contexts of features that are not"
    ):
        write_browser(tables, tmp_path, title="t")
    assert not list(tmp_path.iterdir())
