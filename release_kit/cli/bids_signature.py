"""Signatures over the manifest of a dataset, made and checked with the keys of ``release-kit sign``.

Composes the two rooms that do not know each other: the manifest is ``bids``', keys and bundles are ``release``'.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from release_kit.core.errors import IntegrityError

NAME = "manifest.json"


def sign_manifest(data: bytes, key: Any, where: str) -> bytes:
    """Return the bundle that says: this is the manifest of that version of that dataset.

    Args:
        data: bytes of the manifest.
        key: a private key of ``release/sign/keys.py``.
        where: the dataset, for messages.
    """
    from release_kit.release.sign.bundle import bundle_bytes

    return bundle_bytes(_statement(data, where), key)


def signature_check(public_key: Path) -> Callable[[bytes, Path], str]:
    """Return what checks a manifest's signature against a public key and names the key.

    The returned function raises ``IntegrityError`` when there is no signature, or it is of another key or manifest.
    """

    def check(data: bytes, signature: Path) -> str:
        from release_kit.release.sign.bundle import open_bundle
        from release_kit.release.sign.keys import read_public_key

        key = read_public_key(public_key)
        signed, expected = open_bundle(signature, key), _statement(data, str(signature.parent))
        if signed.resources != expected.resources or dict(signed.release) != dict(expected.release):
            raise IntegrityError("signs another manifest", where=str(signature), next_step="fetch the dataset again")
        return f"{key.algorithm} sha256:{key.fingerprint}"

    return check


def _statement(data: bytes, where: str) -> Any:
    from release_kit.bids.versioning.manifest import DatasetManifest
    from release_kit.release.sign.bundle import Resource, files_statement

    manifest = DatasetManifest.from_bytes(data, where)
    resource = Resource(name=NAME, digest=hashlib.sha256(data).hexdigest())
    release = {"study": manifest.name, "version": manifest.version, "root": manifest.root}
    return files_statement(f"{manifest.name}@{manifest.version}", [resource], release=release)
