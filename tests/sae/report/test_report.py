"""The report needs nothing from outside, names the rows of its numbers, and is the same twice."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sae.report.table_factory import LAYERS, SIZES, STEPS, record_tables, write_tables

from release_kit.cli.sae_report import report_command
from release_kit.sae.errors import SaeError
from release_kit.sae.report.markdown import put_claims
from release_kit.sae.report.report import WrittenReport, write_report
from release_kit.sae.spec.read import read_study


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_report(read_study(write_tables(tmp_path_factory.mktemp("study"))))


def test_the_page_asks_nothing_of_any_other_place(written: WrittenReport):
    text = written.path.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text) and "<script" not in text
    assert 'href="browser/index.html"' in text and (written.path.parent / "browser/index.html").is_file()


def test_every_number_of_the_page_names_a_row_that_is_there(written: WrittenReport):
    text = written.path.read_text(encoding="utf-8")
    places = re.findall(r'data-source="([^"#]+)#([\d,]+)"', text)
    folder = written.path.parent.parent
    rows = {name: pq.read_metadata(folder / name).num_rows for name, _ in places}
    assert set(rows) == {"tables/claims.parquet", "tables/claim_comparisons.parquet", "tables/nulls.parquet"}
    assert all(int(row) < rows[name] for name, numbers in places for row in numbers.split(","))


def test_a_share_on_the_page_is_the_mean_of_its_rows(written: WrittenReport):
    text = written.path.read_text(encoding="utf-8")
    table = pq.read_table(written.path.parent.parent / "tables/nulls.parquet").to_pylist()
    lines = re.findall(r'data-source="tables/nulls.parquet#([\d,]+)" title="[^"]*">([\d.]+)<', text)
    shares = [(numbers, value) for numbers, value in lines if "." in value]
    assert len(shares) == len(SIZES) * len(LAYERS) * 2 * 5
    for numbers, value in shares:
        rows = [table[int(number)] for number in numbers.split(",")]
        means = [sum(row[key] for row in rows) / len(rows) for key in ("share", "null_share")]
        assert any(abs(mean - float(value)) < 6e-4 for mean in means)


def test_titles_say_seeds_and_interval_and_every_picture_stands_on_the_page(written: WrittenReport):
    names = {picture.name for picture in written.pictures}
    assert {"share-small", "share-large", "share-maps", "quality", "stability", "claims-shares"} <= names
    for picture in written.pictures:
        assert "seed" in picture.title, picture.name
        assert picture.svg.startswith(b"<svg ") and picture.png.startswith(b"\x89PNG")
    assert written.path.read_text(encoding="utf-8").count("<figure>") == len(names)
    assert f"step {STEPS[1]}" in " ".join(picture.title for picture in written.pictures)


def test_the_same_tables_give_the_same_bytes_and_nothing_of_an_older_report_stays(
    written: WrittenReport, tmp_path: Path
):
    folder = write_tables(tmp_path)
    old = [folder / "report/figures/old.png", folder / "report/browser/data/old.js"]
    for path in old:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"old")
    write_report(read_study(folder))
    assert not any(path.exists() for path in old)
    other = written.path.parent
    files = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    again = folder / "report"
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (other / name).read_bytes() == (again / name).read_bytes(), name


def test_the_command_writes_all_and_puts_the_table_into_a_document(tmp_path: Path):
    folder, document = write_tables(tmp_path / "study"), tmp_path / "claims.md"
    document.write_text("before\n<!-- claims -->\nOUTDATED\n<!-- /claims -->\nafter\n", encoding="utf-8")
    ran = CliRunner().invoke(report_command, [str(folder), "--markdown", str(document), "--json"])
    assert ran.exit_code == 0, ran.output
    value = json.loads(ran.stdout)
    assert value["ok"] and Path(value["report"]).is_file() and Path(value["browser"]).is_file()
    lines = document.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert sum(line.startswith("| `") for line in lines) == len(value["claims"])
    assert any("| reproduced |" in line for line in lines)


def test_a_study_without_interventions_contexts_or_further_seeds_has_a_report(tmp_path: Path):
    folder = write_tables(tmp_path, seeds=(0,))
    for name in ("effects", "contexts", "links"):
        (folder / "tables" / f"{name}.parquet").unlink()
    found = write_report(read_study(record_tables(folder)))
    assert found.browser is None and "browser" not in found.path.read_text(encoding="utf-8").split("<nav>")[1][:600]
    assert {claim.verdict for claim in found.claims} == {"cannot be told"}
    assert "1 seed, no interval" in " ".join(picture.title for picture in found.pictures)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("k: 4", "k: 3", "sae.k 4 → 3"), ("seeds: [0, 1, 2]", "seeds: [0, 1]", "seeds [0, 1, 2] → [0, 1]")],
)
def test_tables_of_another_declaration_are_no_tables_of_this_study(tmp_path: Path, old: str, new: str, said: str):
    file = write_tables(tmp_path) / "sae.yaml"
    write_report(read_study(tmp_path))
    before = (tmp_path / "report/index.html").read_bytes()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(SaeError, match=re.escape(said)):
        write_report(read_study(tmp_path))
    assert (tmp_path / "report/index.html").read_bytes() == before


def test_a_damaged_table_is_named_and_a_licence_or_a_name_changes_nothing(tmp_path: Path):
    file = write_tables(tmp_path) / "sae.yaml"
    text = file.read_text().replace("name: made-up", "name: other")
    file.write_text(text.replace("n_held_out: 50", "n_held_out: 50, licence: cc0-1.0"))
    write_report(read_study(tmp_path))
    table = tmp_path / "tables/nulls.parquet"
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    with pytest.raises(SaeError, match=r"not what tables\.json says: tables/nulls\.parquet"):
        write_report(read_study(tmp_path))
    (tmp_path / "tables/tables.json").unlink()
    with pytest.raises(SaeError, match="missing, or no record of tables"):
        write_report(read_study(tmp_path))


def test_markup_in_names_stays_text(tmp_path: Path):
    folder = write_tables(tmp_path)
    file = folder / "sae.yaml"
    file.write_text(file.read_text().replace("whose shares are known", "of <script>alert(1)</script>"))
    text = write_report(read_study(folder)).path.read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text


def test_the_document_shows_every_share_beside_its_nulls(written: WrittenReport, tmp_path: Path):
    document = tmp_path / "claims.md"
    document.write_text("# Claims\n<!-- claims -->\nOUTDATED\n<!-- /claims -->\nafter\n")
    put_claims(document, written.claims, written.curves)
    text = document.read_text(encoding="utf-8")
    assert "OUTDATED" not in text and text.endswith("<!-- /claims -->\nafter\n")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| small | ", "| large | "))]
    assert len(rows) == len(SIZES) * len(STEPS) * 2
    (row,) = [row for row in rows if row[:3] == ["| large", "count", "64"]]
    saes = pq.read_table(written.path.parents[1] / "tables/saes.parquet").to_pylist()
    place = ("large", 64, "bilingual_count")
    shares = [one["value"] for one in saes if (one["size"], one["step"], one["metric"]) == place]
    assert row[3].startswith(f"{sum(shares) / len(shares):.3f} [") and row[5].startswith("0.97") and row[-1] == "3 |"


def test_a_document_without_markers_is_named(tmp_path: Path):
    document = tmp_path / "claims.md"
    document.write_text("no place")
    with pytest.raises(SaeError, match="no <!-- claims -->"):
        put_claims(document, [])
