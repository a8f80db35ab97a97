"""Both ways with the OpenSSF model-signing tool, as it is installed: it reads our signatures and we read its."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from release_kit.core.errors import IntegrityError
from release_kit.core.manifest import MANIFEST_FILE
from release_kit.release.sign.release import SIGNATURE_FILE, sign_cells, sign_release, verify_model_folder

MODEL_SIGNING = Path(sysconfig.get_path("scripts")) / "model_signing"


def model_signing(*arguments) -> subprocess.CompletedProcess:
    command = [MODEL_SIGNING, *map(str, arguments)]
    # Its telemetry would look for a collector on the network.
    environment = {**os.environ, "OTEL_SDK_DISABLED": "true", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def model(download, manifest) -> Path:
    """Return the folder of one full checkpoint in a download."""
    name = next(cell.name for cell in manifest.cells if cell.kind == "weights")
    return download / "cells" / name


def test_model_signing_verifies_a_cell_signed_here(download, model, ec_keys, tmp_path):
    (signature,) = sign_cells(download, ec_keys.private, tmp_path / "signatures", (model.name,))
    arguments = ("verify", "key", model, "--signature", signature, "--public_key", ec_keys.public_path)
    outcome = model_signing(*arguments)
    assert (outcome.returncode, "Verification succeeded" in outcome.stdout) == (0, True), outcome.stderr
    with open(model / "model.safetensors", "r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    outcome = model_signing(*arguments)
    assert outcome.returncode == 1
    assert "model.safetensors" in outcome.stderr


def test_model_signing_verifies_the_manifest_of_a_whole_release(download, ec_keys):
    sign_release(download, ec_keys.private)
    signature = download / SIGNATURE_FILE
    arguments = ("verify", "key", download, "--signature", signature, "--public_key", ec_keys.public_path)
    outcome = model_signing(*arguments, "--ignore_unsigned_files")
    assert outcome.returncode == 0, outcome.stderr
    (download / MANIFEST_FILE).write_bytes((download / MANIFEST_FILE).read_bytes() + b" ")
    outcome = model_signing(*arguments, "--ignore_unsigned_files")
    assert outcome.returncode == 1


def test_folder_signed_by_model_signing_verifies_here(model, ec_keys, tmp_path):
    signature = tmp_path / "model.sig"
    outcome = model_signing("sign", "key", model, "--signature", signature, "--private_key", ec_keys.private_path)
    assert outcome.returncode == 0, outcome.stderr
    statement = verify_model_folder(model, signature, ec_keys.public_path)
    assert "model.safetensors" in {resource.name for resource in statement.resources}
    (model / "config.json").write_text("{}")
    (model / "extra.txt").write_text("x")
    (model / "tokenizer_config.json").unlink()
    with pytest.raises(IntegrityError, match="3 differences") as caught:
        verify_model_folder(model, signature, ec_keys.public_path)
    assert all(name in caught.value.what for name in ("config.json: expected", "extra.txt: not signed", "tokenizer"))


@pytest.mark.parametrize("algorithm", ["sha256", "blake2", "blake3"])
def test_every_digest_and_shards_of_model_signing_are_read(model, ec_keys, tmp_path, algorithm):
    from model_signing import hashing, signing

    config = hashing.Config().use_shard_serialization(hashing_algorithm=algorithm, shard_size=1000)
    signing.Config().use_elliptic_key_signer(private_key=ec_keys.private_path).set_hashing_config(config).sign(
        model, tmp_path / "model.sig"
    )
    assert verify_model_folder(model, tmp_path / "model.sig", ec_keys.public_path).resources
    with open(model / "model.safetensors", "ab") as stream:
        stream.write(b"tail")
    with pytest.raises(IntegrityError, match="model"):
        verify_model_folder(model, tmp_path / "model.sig", ec_keys.public_path)


def test_snapshot_of_the_hub_cache_with_symlinks_verifies_here(download, model, ec_keys, tmp_path):
    (signature,) = sign_cells(download, ec_keys.private, tmp_path / "signatures", (model.name,))
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    shutil.copytree(model, blobs)
    snapshot.mkdir()
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert verify_model_folder(snapshot, signature, ec_keys.public_path).name == model.name
