"""What the commands of a release do with a dataset: exports keep its paths, an audit asks of it what datasets have."""

import json
import subprocess
from pathlib import Path

import pytest
from bids_hub import NAMES, OWN, REFERENCE, build, contents, download, publish
from cli_in_process import release_kit
from versioning_factory import AUTHOR, DATE, writable

from release_kit.bids.release_study import write_release_study
from release_kit.bids.versioning.save import save_version
from release_kit.hub.server import LocalHub

BOLD = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.fixture
def copy(study: Path, hub: LocalHub, tmp_path: Path) -> Path:
    """A download of the published dataset."""
    publish(study, hub)
    download(hub, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("of", ["copy", "study"])
def test_a_bag_and_a_crate_hold_the_dataset_at_its_own_paths(of: str, copy: Path, study: Path, tmp_path: Path):
    bagit = pytest.importorskip("bagit")
    source = {"copy": copy, "study": study}[of]
    expected = {path: sha for path, sha in contents(copy).items() if path != ".release/placement.json"}
    assert release_kit("export", "bagit", source, "-o", tmp_path / "bag").returncode == 0
    assert contents(tmp_path / "bag" / "data") == expected
    assert bagit.Bag(str(tmp_path / "bag")).is_valid()
    assert release_kit("export", "ro-crate", source, "-o", tmp_path / "crate").returncode == 0
    crate = contents(tmp_path / "crate")
    assert crate.pop("ro-crate-metadata.json") and crate == expected
    graph = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_bytes())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert entities[BOLD]["sha256"] == expected[BOLD]
    part = next(one for one in graph if one["@type"] == "Dataset" and one["@id"].startswith("#part-sub-01"))
    assert {"@id": BOLD} in part["hasPart"] and all(one["@id"] in entities for one in part["hasPart"])


def test_the_list_of_digests_is_checked_by_sha256sum(copy: Path, tmp_path: Path):
    assert release_kit("export", "sha256sums", copy, "-o", tmp_path / "list").returncode == 0
    ran = subprocess.run(["sha256sum", "--quiet", "-c", tmp_path / "list"], cwd=copy, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_croissant_is_refused_by_name(copy: Path, tmp_path: Path):
    ran = release_kit("export", "croissant", copy, "-o", tmp_path / "c.json")
    assert ran.returncode == 1 and "the release is a dataset and holds no results table" in ran.stderr


def test_an_audit_asks_no_base_model_of_a_dataset(copy: Path, hub: LocalHub):
    ran = release_kit("audit", f"datasets/{REFERENCE}", "--endpoint", hub.endpoint, "--json")
    value = json.loads(ran.stdout)
    assert ran.returncode == 0 and value["problems"] == []
    ran = release_kit("audit", "lab", "--endpoint", hub.endpoint)
    assert ran.returncode == 1 and "datasets/namespace/name" in ran.stderr


@pytest.mark.parametrize("where", ["copy", "study", "hub"])
def test_a_sample_reads_some_files_and_finds_damage_among_them(where: str, copy: Path, study: Path, hub: LocalHub):
    target = {"copy": (copy,), "study": (study,), "hub": ("--remote", REFERENCE, "--endpoint", hub.endpoint)}[where]
    ran = release_kit("verify", *target, "--sample", "3")
    assert ran.returncode == 0 and "sampled: 3 files" in ran.stdout, ran.stderr
    if where == "copy":
        for path in copy.rglob("*.nii.gz"):
            data = path.read_bytes()
            path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
        ran = release_kit("verify", copy, "--sample", "1000")
        assert ran.returncode == 1 and BOLD in ran.stdout


def test_bids_verify_of_a_download_names_the_page_and_what_the_release_added(
    dataset: Path, hub: LocalHub, tmp_path: Path
):
    save_version(dataset, version="1.0.0", author=AUTHOR, date=DATE)
    write_release_study(dataset, tmp_path / "study", search=NAMES)
    build(tmp_path / "study")
    publish(tmp_path / "study", hub)
    download(hub, tmp_path / "copy")
    ran = release_kit("bids", "verify", tmp_path / "copy", "--no-validate", "--json")
    found = [(one["code"], one["path"]) for one in json.loads(ran.stdout)["findings"]]
    assert (ran.returncode, found) == (1, [*(("extra", path) for path in OWN), ("size", "README.md")])
    writable(tmp_path)
