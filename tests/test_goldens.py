"""Files of every version of the formats are read for ever, and written again they have the same bytes."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden_keys import golden_key

from release_kit.core import canonical
from release_kit.core.cell import Cell
from release_kit.core.errors import RecordError
from release_kit.core.grid import cell_id_of, iter_levels
from release_kit.core.hashing import TensorDigest, hash_file, tensors_digest
from release_kit.core.manifest import Manifest, read_manifest
from release_kit.core.placement import Placement
from release_kit.core.study import parse_study
from release_kit.core.tensors_file import parse_tensors, tensors_bytes
from release_kit.release.sign.bundle import bundle_bytes
from release_kit.release.sign.release import manifest_statement, verify_model_folder, verify_signature

GOLDENS = Path(__file__).parent / "goldens"
DOCS = Path(__file__).parents[1] / "docs" / "formats"
RELEASE = GOLDENS / "release-v1"


def read(name: str) -> bytes:
    return (GOLDENS / name).read_bytes()


def test_manifest_of_version_1_is_read_and_written_back():
    manifest = Manifest.from_dict(canonical.parse_json(read("manifest-v1.json"), "manifest-v1.json"))
    assert manifest.to_bytes() == read("manifest-v1.json")
    assert [cell.kind for cell in manifest.cells] == ["weights", "adapter", "results-only"]
    assert manifest.cells[0].levels["learning_rate"] == 0.0001
    assert manifest.cells[0].files[2].git_sha1 is None
    assert manifest.root == "0bdb72aaf6811c931236a8edfb9bd192f97af287fd85846e41516cbca7058189"


def test_placement_of_version_1_is_read_and_written_back():
    placement = Placement.from_dict(canonical.parse_json(read("placement-v1.json"), "placement-v1.json"))
    assert placement.to_bytes() == read("placement-v1.json")
    assert placement.manifest_sha256 == hashlib.sha256(read("manifest-v1.json")).hexdigest()
    assert placement.cells["in-a-folder"].prefix == "cells/in-a-folder/"


def test_tensors_of_version_1_are_read_and_written_back():
    files = parse_tensors(read("tensors-v1.json"), "tensors-v1.json")
    again = {
        path: tuple(
            TensorDigest(name=name, dtype=dtype, shape=shape, blake3=digest, n_bytes=0)
            for name, (dtype, shape, digest) in tensors.items()
        )
        for path, tensors in files.items()
    }
    assert tensors_bytes(again) == read("tensors-v1.json")
    assert files["model.safetensors"]["a.scale"] == ("F32", (), "6" * 64)


def test_cell_of_version_1_is_read_and_written_back():
    cell = Cell.from_dict(canonical.parse_json(read("cell-v1.json"), "cell-v1.json"))
    assert canonical.document_bytes(cell.to_dict()) == read("cell-v1.json")
    assert (cell.cell_id, cell.artifact_path) == (cell_id_of(cell.config), "runs/lima/checkpoint-30")


def test_study_of_version_1_declares_the_same_cells():
    study = parse_study(read("study-v1.yaml").decode(), folder=Path("study"))
    cells = list(iter_levels(study))
    assert len(cells) == 25
    config = {"levels": cells[0], "settings": study.settings, "study": study.name}
    assert cell_id_of(config) == json.loads(read("cell-v1.json"))["cell_id"]
    assert study.benchmarks["arc_easy"]["acc"].high == 1
    assert study.layout == "branches"


@pytest.mark.parametrize("algorithm", ["ec-p256", "ed25519"])
def test_signatures_of_version_1_hold_and_are_written_again_alike(algorithm):
    data = read("manifest-v1.json")
    signature = GOLDENS / f"manifest-v1.{algorithm}.sigstore.json"
    info = verify_signature(data, signature, GOLDENS / "keys" / f"{algorithm}.pem")
    assert (info.study, info.algorithm) == ("golden-study", algorithm)
    manifest = Manifest.from_dict(canonical.parse_json(data, "manifest"))
    assert bundle_bytes(manifest_statement(data, manifest), golden_key(algorithm)) == signature.read_bytes()


def test_signature_of_the_model_signing_tool_holds():
    folder = RELEASE / "cells" / "tiny-llama-lima-full-0"
    statement = verify_model_folder(folder, GOLDENS / "model-signing-1.1.1.sig", GOLDENS / "keys" / "ec-p256.pem")
    assert statement.name == folder.name


def test_every_digest_of_the_golden_release_is_true():
    manifest = read_manifest(RELEASE)
    assert manifest.to_bytes() == (RELEASE / "manifest.json").read_bytes()
    for path, entry in manifest.iter_files():
        digest = hash_file(RELEASE / path)
        assert (digest.size_bytes, digest.sha256, digest.git_sha1) == (entry.size_bytes, entry.sha256, entry.git_sha1)
        if entry.tensors is not None:
            assert (len(digest.tensors), tensors_digest(digest.tensors)) == (
                entry.tensors.n_tensors,
                entry.tensors.digest,
            )


@pytest.mark.parametrize("name", ["manifest-v1.json", "placement-v1.json", "tensors-v1.json", "cell-v1.json"])
def test_unknown_version_and_unknown_key_are_refused(name):
    readers = {"manifest": Manifest.from_dict, "placement": Placement.from_dict, "cell": Cell.from_dict}
    read_value = readers.get(name.split("-")[0], lambda v, w: parse_tensors(canonical.canonical_bytes(v), w))
    value = json.loads(read(name))
    with pytest.raises(RecordError, match="schema_version"):
        read_value({**value, "schema_version": 2}, name)
    with pytest.raises(RecordError, match="extra"):
        read_value({**value, "extra": 1}, name)


def test_script_in_the_manifest_page_verifies_and_refuses(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", (DOCS / "manifest.md").read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(RELEASE, tmp_path / "copy")

    def run() -> subprocess.CompletedProcess:
        command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "copy")]
        return subprocess.run(command, capture_output=True, text=True)

    outcome = run()
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert read_manifest(RELEASE).root in outcome.stdout
    weights = next((tmp_path / "copy").rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (tmp_path / "copy" / "index" / "README.md").unlink()
    outcome = run()
    assert outcome.returncode == 1
    assert "model.safetensors: changed" in outcome.stdout
    assert "index/README.md: missing" in outcome.stdout


@pytest.mark.parametrize(
    ("page", "golden"),
    [("manifest.md", "manifest-v1.json"), ("tensors.md", "tensors-v1.json")],
)
def test_every_key_of_a_format_stands_on_its_page(page, golden):
    text = (DOCS / page).read_text(encoding="utf-8")
    value = json.loads(read(golden))
    keys = set(value)
    for group in ("cells", "index", "results"):
        entries = value.get(group) or []
        entries = list(entries.values()) if isinstance(entries, dict) and golden.startswith("placement") else entries
        for entry in entries if isinstance(entries, list) else []:
            keys |= set(entry)
            for file in entry.get("files", []):
                keys |= set(file) | set(file.get("tensors") or {})
    assert {key for key in keys if f"`{key}`" not in text} == set()
