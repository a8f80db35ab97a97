"""Every export is accepted by the tool of its own format, and damage of the files is found by that tool."""

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import bagit
import pytest
from download_factory import make_download

from release_kit.core.errors import IntegrityError, StudyError, UsageError
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER, read_manifest
from release_kit.core.results import read_results
from release_kit.release.export.bag import write_bag
from release_kit.release.export.contents import publication_date, read_contents
from release_kit.release.export.croissant import croissant_bytes
from release_kit.release.export.ro_crate import METADATA_FILE, write_crate
from release_kit.release.export.sha256sums import sha256sums

DATE = "2026-01-31"


@pytest.fixture
def download(tmp_path: Path) -> Path:
    make_download(tmp_path / "copy")
    return tmp_path / "copy"


def damage(path: Path) -> None:
    """Change one byte of a file, in place and in all its hard links."""
    with open(path, "r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)[0]
        stream.seek(-1, 2)
        stream.write(bytes([last ^ 1]))


def weights(folder: Path) -> Path:
    return sorted(folder.rglob("*.safetensors"))[0]


def check_sums(folder: Path, data: bytes) -> subprocess.CompletedProcess:
    return subprocess.run(["sha256sum", "-c", "--strict", "-"], input=data, cwd=folder, capture_output=True)


def test_sha256sum_accepts_the_list_of_a_download(download):
    data = sha256sums(read_contents(download))
    outcome = check_sums(download, data)
    assert outcome.returncode == 0, outcome.stderr
    n_files = sum(1 for _ in read_manifest(download).iter_files()) + 1
    assert outcome.stdout.count(b": OK\n") == n_files == len(data.splitlines())
    damage(weights(download))
    outcome = check_sums(download, data)
    assert (outcome.returncode, outcome.stdout.count(b": FAILED")) == (1, 1)


def test_sha256sum_accepts_the_list_of_a_study_where_artifacts_stay_in_place(download):
    study = download.with_name("copy-study")
    shutil.copytree(download, study / RELEASE_FOLDER)
    for path in (study / RELEASE_FOLDER / "cells").rglob("*.safetensors"):
        path.unlink()
    data = sha256sums(read_contents(study))
    assert b"  cells/" in data
    assert check_sums(study, data).returncode == 0


def test_bag_is_valid_and_its_payload_costs_no_space(download, tmp_path):
    report = write_bag(read_contents(download), tmp_path / "bag", date=DATE)
    assert report.n_linked == report.n_files
    bag = bagit.Bag(str(tmp_path / "bag"))
    assert bag.validate()
    assert bag.info["External-Identifier"] == "tiny-grid@1.0.0"
    linked = weights(tmp_path / "bag")
    assert linked.samefile(download / linked.relative_to(tmp_path / "bag" / "data"))
    damage(linked)
    with pytest.raises(bagit.BagValidationError, match="safetensors"):
        bag.validate()


def test_copied_bag_is_independent_of_the_release(download, tmp_path):
    report = write_bag(read_contents(download), tmp_path / "bag", date=DATE, link=False)
    assert report.n_linked == 0
    damage(weights(download))
    assert bagit.Bag(str(tmp_path / "bag")).validate()


def test_same_release_gives_the_same_bag(download, tmp_path):
    for name in ("one", "two"):
        write_bag(read_contents(download), tmp_path / name, date=DATE)
    for path in (tmp_path / "one").glob("*.txt"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_existing_folder_is_never_written_into(download, tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_bag(read_contents(download), tmp_path / "bag", date=DATE)
    assert os.listdir(tmp_path / "bag") == ["mine.txt"]


def test_interrupted_bag_leaves_nothing_behind(download, tmp_path):
    contents = read_contents(download)
    weights(download).unlink()
    with pytest.raises(Exception, match="No such file"):
        write_bag(contents, tmp_path / "bag", date=DATE)
    assert not (tmp_path / "bag").exists()
    assert not list(tmp_path.glob(".rk-tmp-*"))


def test_mlcroissant_loads_and_iterates_every_table_with_its_values(download, tmp_path):
    target = tmp_path / "croissant.json"
    target.write_bytes(croissant_bytes(read_contents(download), target, date=DATE))
    records = _croissant_records(target)
    rows = read_results(download / "results" / "results.parquet")
    assert len(records) == len(rows)
    by_key = {(row.cell_id, row.benchmark): row for row in rows}
    for record in records:
        row = by_key[(_text(record["results/cell_id"]), _text(record["results/benchmark"]))]
        assert record["results/value"] == row.value
        assert record["results/n_shot"] == row.n_shot


def test_mlcroissant_refuses_a_table_that_was_changed(download, tmp_path):
    target = tmp_path / "croissant.json"
    target.write_bytes(croissant_bytes(read_contents(download), target, date=DATE))
    damage(download / "results" / "results.parquet")
    with pytest.raises(Exception, match=r"Download\(results.parquet\)") as caught:
        _croissant_records(target)
    assert "Hash of downloaded file" in str(caught.value.__cause__)


def test_croissant_says_what_the_card_says_and_no_more(download, tmp_path):
    value = json.loads(
        croissant_bytes(read_contents(download), tmp_path / "c.json", date=DATE, base_url="https://h/x/")
    )
    assert value["license"] == "apache-2.0"
    assert value["alternateName"] == "Results of a tiny grid"
    assert value["distribution"][0]["contentUrl"] == "https://h/x/results.parquet"
    (download / "results" / "README.md").write_text("#" * (download / "results" / "README.md").stat().st_size)
    value = json.loads(croissant_bytes(read_contents(download), tmp_path / "c.json", date=DATE))
    assert "license" not in value
    assert "alternateName" not in value


def test_croissant_of_a_release_without_tables_is_refused(tmp_path):
    make_download(tmp_path / "copy", datasets=("lima",), seeds=(0,))
    manifest = json.loads((tmp_path / "copy" / MANIFEST_FILE).read_bytes())
    manifest["results"] = []
    _write_manifest(tmp_path / "copy", manifest)
    with pytest.raises(StudyError, match="no results table"):
        croissant_bytes(read_contents(tmp_path / "copy"), tmp_path / "c.json", date=DATE)


def test_rocrate_reads_the_crate_with_every_file_and_digest(download, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that rocrate imports
        from rocrate.rocrate import ROCrate

    manifest = read_manifest(download)
    write_crate(read_contents(download), tmp_path / "crate", date=DATE)
    crate = ROCrate(str(tmp_path / "crate"))
    assert str(crate.root_dataset["datePublished"]) == DATE
    assert crate.root_dataset["license"] == "apache-2.0"
    assert crate.name == "A tiny grid"
    digests = {entity.id: entity["sha256"] for entity in crate.get_entities() if entity.type == "File"}
    expected = {path: entry.sha256 for path, entry in manifest.iter_files()}
    assert expected.items() <= digests.items()
    assert set(digests) - set(expected) == {MANIFEST_FILE}
    for cell in manifest.cells:
        entity = crate.get(f"cells/{cell.name}/")
        assert {v["name"]: v["value"] for v in entity["variableMeasured"]} == cell.levels
        assert len(entity["hasPart"]) == len(cell.files)
    crate.write(str(tmp_path / "rewritten"))
    assert (tmp_path / "rewritten" / METADATA_FILE).is_file()


def test_missing_and_resized_files_are_all_named_before_anything_is_written(download, tmp_path):
    first, second = sorted(download.rglob("*.safetensors"))[:2]
    first.unlink()
    second.write_bytes(b"short")
    with pytest.raises(IntegrityError, match="2 files") as caught:
        read_contents(download)
    assert first.parent.name in caught.value.what
    assert "got 5" in caught.value.what
    assert "verify" in caught.value.next_step


def test_cells_that_were_not_downloaded_are_left_out_and_named(download, tmp_path):
    name = read_manifest(download).cells[0].name
    shutil.rmtree(download / "cells" / name)
    contents = read_contents(download)
    assert contents.left_out == (name,)
    assert check_sums(download, sha256sums(contents)).returncode == 0
    write_bag(contents, tmp_path / "bag", date=DATE)
    assert bagit.Bag(str(tmp_path / "bag")).validate()


def test_date_is_the_given_one_or_that_of_the_environment(monkeypatch):
    assert publication_date("2026-02-03") == "2026-02-03"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert publication_date(None) == "1970-01-02"
    with pytest.raises(UsageError, match="not a date"):
        publication_date("yesterday")


def test_no_export_imports_a_library_of_its_format():
    code = (
        "import sys, release_kit.release.export.bag, release_kit.release.export.ro_crate, "
        "release_kit.release.export.croissant\n"
        "print([name for name in ('bagit', 'rocrate', 'mlcroissant', 'pyarrow') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def _croissant_records(target: Path) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that mlcroissant imports
        logging.getLogger("absl").setLevel(logging.ERROR)
        import mlcroissant

        dataset = mlcroissant.Dataset(jsonld=str(target))
        assert not dataset.metadata.ctx.issues.errors
        return list(dataset.records("results"))


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _write_manifest(folder: Path, value: dict) -> None:
    from release_kit.core.manifest import root_digest

    files = []
    for cell in value["cells"]:
        files += [(f"cells/{cell['name']}/{f['path']}", f["size_bytes"], f["sha256"]) for f in cell["files"]]
    for group in ("index", "results"):
        files += [(f"{group}/{f['path']}", f["size_bytes"], f["sha256"]) for f in value[group]]
    (folder / MANIFEST_FILE).write_text(json.dumps(value | {"root": root_digest(files)}))
