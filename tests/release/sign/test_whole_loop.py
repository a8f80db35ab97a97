"""Signed where it was built, verified where it was downloaded: through build, publish and download, on every layout."""

import json
from pathlib import Path

import pytest
from cli_in_process import release_kit

from release_kit.core.files import STATE_FOLDER
from release_kit.core.manifest import MANIFEST_FILE
from release_kit.hub.server import LocalHub
from release_kit.release.sign.release import SIGNATURE_FILE


def value_of(*arguments) -> dict:
    outcome = release_kit(*arguments, "--json")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return json.loads(outcome.stdout)


@pytest.fixture
def signed(make_study, tmp_path: Path) -> Path:
    """Return a built and signed study; the key pairs lie beside it."""
    study = make_study(datasets=("lima",)).folder
    for name in ("keys", "other-keys"):
        value_of("sign", "--new-key", tmp_path / name)
    value_of("build", study)
    value_of("sign", study, "--key", tmp_path / "keys" / "private.pem")
    return study


@pytest.mark.parametrize("layout", ["repos", "branches", "folders"])
def test_signature_travels_with_the_release_and_its_own_audit_is_clean(signed, tmp_path, layout):
    with LocalHub(root=tmp_path / "hub") as hub:
        value_of("publish", signed, "--to", "lab", "--layout", layout, "--endpoint", hub.endpoint)
        value_of("download", f"{hub.endpoint}/lab/tiny-grid@v1.0.0", tmp_path / "copy")
        audit = value_of("audit", "lab", "--endpoint", hub.endpoint)
    assert audit["problems"] == []
    copy = tmp_path / "copy"
    assert (copy / SIGNATURE_FILE).read_bytes() == (signed / "release" / SIGNATURE_FILE).read_bytes()
    assert value_of("verify", copy, "--key", tmp_path / "keys" / "public.pem")["ok"]
    refused = release_kit("verify", copy, "--key", tmp_path / "other-keys" / "public.pem")
    assert refused.returncode == 1
    assert "another key" in refused.stdout + refused.stderr


def test_release_that_was_built_again_is_no_longer_signed(signed, tmp_path):
    study_file = signed / "study.yaml"
    study_file.write_text(study_file.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    value_of("build", signed)
    outcome = release_kit("verify", signed, "--key", tmp_path / "keys" / "public.pem")
    assert outcome.returncode == 1
    assert "Traceback" not in outcome.stderr
    value_of("sign", signed, "--key", tmp_path / "keys" / "private.pem")
    assert value_of("verify", signed, "--key", tmp_path / "keys" / "public.pem")["ok"]


def test_manifest_and_file_changed_together_are_found_by_the_signature_alone(signed, tmp_path):
    with LocalHub(root=tmp_path / "hub") as hub:
        value_of("publish", signed, "--to", "lab", "--endpoint", hub.endpoint)
        value_of("download", f"{hub.endpoint}/lab/tiny-grid@v1.0.0", tmp_path / "copy")
    copy = tmp_path / "copy"
    _forge(copy)
    assert release_kit("verify", copy).returncode == 0
    outcome = release_kit("verify", copy, "--key", tmp_path / "keys" / "public.pem")
    assert outcome.returncode == 1
    assert "signs another manifest" in outcome.stdout + outcome.stderr


def _forge(copy: Path) -> None:
    """Change a config and write the manifest that fits, as someone who wants to deceive would."""
    import hashlib
    import shutil

    from release_kit.core.hashing import git_blob_sha1
    from release_kit.core.manifest import root_digest

    shutil.rmtree(copy / STATE_FOLDER, ignore_errors=True)
    (copy / "placement.json").unlink()
    value = json.loads((copy / MANIFEST_FILE).read_bytes())
    cell = next(cell for cell in value["cells"] if cell["kind"] == "weights")
    entry = next(file for file in cell["files"] if file["path"] == "config.json")
    path = copy / "cells" / cell["name"] / "config.json"
    data = path.read_bytes().replace(b'"hidden_size": 8', b'"hidden_size": 9')
    assert data != path.read_bytes()
    path.write_bytes(data)
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "git_sha1": git_blob_sha1(data), "size_bytes": len(data)}
    groups = [(f"cells/{c['name']}", c["files"]) for c in value["cells"]]
    groups += [(name, value[name]) for name in ("index", "results")]
    files = [(f"{group}/{f['path']}", f["size_bytes"], f["sha256"]) for group, entries in groups for f in entries]
    value["root"] = root_digest(files)
    (copy / MANIFEST_FILE).write_text(json.dumps(value))
