"""Signatures of releases: one for the whole release (over its manifest), and one for a single cell on request.

Owns what is signed and what a good signature proves. The release's signature covers ``manifest.json``; the manifest
covers every file. A cell's signature lists the cell's files themselves, so that the OpenSSF model-signing tool checks
one model directory without release_kit. Nothing here reads weights (but ``verify_model_folder``) or uses the network.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import IntegrityError, UsageError
from release_kit.core.files import inside, iter_files, write_atomic
from release_kit.core.hashing import map_ordered
from release_kit.core.manifest import MANIFEST_FILE, CellEntry, Manifest
from release_kit.core.records import nearest
from release_kit.release.sign.bundle import Resource, Statement, bundle_bytes, files_statement, open_bundle
from release_kit.release.sign.keys import PrivateKey, read_public_key
from release_kit.release.tree import open_tree

SIGNATURE_FILE = "manifest.sigstore.json"
"""Lies beside ``manifest.json``; never listed in the manifest that it signs."""

GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")
"""What the model-signing tool never looks at in a model directory."""

_SIGNED_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SignatureInfo:
    """What a signature that holds says."""

    study: str
    version: str
    root: str
    """Root digest of the signed manifest."""
    manifest_sha256: str
    algorithm: str
    fingerprint: str
    """sha256 of the public key's PEM text."""


@dataclass(frozen=True, kw_only=True)
class SignReport:
    """What ``sign_release`` wrote."""

    signature: Path
    written: bool
    info: SignatureInfo
    cells: tuple[Path, ...] = ()


def sign_release(path: Path, key: PrivateKey) -> SignReport:
    """Sign the manifest of a built study or of a download; writes ``manifest.sigstore.json`` beside it.

    Raises:
        ReleaseKitError: there is no manifest, or it is not valid.
    """
    tree = open_tree(path)
    data = tree.manifest_path.read_bytes()
    manifest = Manifest.from_dict(canonical.parse_json(data, str(tree.manifest_path)), str(tree.manifest_path))
    target = tree.manifest_path.with_name(SIGNATURE_FILE)
    written = write_atomic(target, bundle_bytes(manifest_statement(data, manifest), key))
    return SignReport(signature=target, written=written, info=_info(manifest, data, key.public))


def sign_cells(path: Path, key: PrivateKey, folder: Path, names: tuple[str, ...] = ()) -> list[Path]:
    """Write ``<folder>/<cell name>.sig`` for every cell (or for ``names``), as the model-signing tool reads it.

    The digests are those of the manifest: nothing is hashed. A signature holds for the cell's folder as it lies in
    a download (``cells/<name>/``) or in a clone of its repo.

    Raises:
        UsageError: a name that is no cell, or an Ed25519 key (the model-signing tool reads EC keys only).
    """
    tree = open_tree(path)
    if key.public.algorithm == "ed25519":
        step = "make an EC key: release-kit sign --new-key DIR"
        raise UsageError("signatures of single cells need an EC key; model-signing reads no other", next_step=step)
    cells = {cell.name: cell for cell in tree.manifest.cells}
    if unknown := [name for name in names if name not in cells]:
        raise UsageError(f"no cell {unknown[0]!r}{nearest(unknown[0], list(cells))}", where="--cell")
    paths = []
    for name in names or tuple(cells):
        target = inside(folder, f"{name}.sig") if folder.is_dir() else folder / f"{name}.sig"
        write_atomic(target, bundle_bytes(cell_statement(cells[name]), key), durable=False)
        paths.append(target)
    return paths


def manifest_statement(manifest_bytes: bytes, manifest: Manifest) -> Statement:
    """Return what a release's signature says: the manifest's digest, the study, its version, its root digest."""
    resource = Resource(name=MANIFEST_FILE, digest=hashlib.sha256(manifest_bytes).hexdigest())
    release = {"study": manifest.study, "version": manifest.version, "root": manifest.root}
    return files_statement(f"{manifest.study}@{manifest.version}", [resource], release=release)


def cell_statement(cell: CellEntry) -> Statement:
    """Return what a cell's signature says: each of its files with its sha256."""
    kept = [entry for entry in cell.files if entry.path.split("/")[0] not in GIT_PATHS]
    resources = [Resource(name=entry.path, digest=entry.sha256) for entry in kept]
    return files_statement(cell.name, resources, ignore_paths=GIT_PATHS)


def verify_signature(manifest_bytes: bytes, signature_path: Path, public_key_path: Path) -> SignatureInfo:
    """Check that the release's signature was made over exactly these manifest bytes by the owner of the key.

    Args:
        manifest_bytes: the content of ``manifest.json`` as it lies there.
        signature_path: ``manifest.sigstore.json``.
        public_key_path: the publisher's public key in PEM, received on another way than the release.

    Raises:
        IntegrityError: no signature there, another key, or the manifest is not the one that was signed.
        ReleaseKitError: the key file cannot be used.
    """
    key = read_public_key(public_key_path)
    statement = open_bundle(signature_path, key)
    manifest = Manifest.from_dict(canonical.parse_json(manifest_bytes, MANIFEST_FILE), MANIFEST_FILE)
    expected = manifest_statement(manifest_bytes, manifest)
    if statement.resources != expected.resources or dict(statement.release) != dict(expected.release):
        signed = statement.resources[0].digest[:16] if len(statement.resources) == 1 else f"{statement.name!r}"
        raise IntegrityError(
            f"signs another manifest: signed {signed}…, this one is {expected.resources[0].digest[:16]}…",
            where=str(signature_path),
            next_step="fetch manifest.json and its signature again; after a new build, sign again",
        )
    return _info(manifest, manifest_bytes, key)


def verify_model_folder(folder: Path, signature_path: Path, public_key_path: Path) -> Statement:
    """Check one model directory against a signature made by ``sign_cells`` or by the model-signing tool.

    Files are read and hashed; every difference (missing, extra, changed) is named at once. Symbolic links to files
    are followed, as in the Hub's cache.

    Raises:
        IntegrityError: the signature does not hold, or the folder is not what was signed.
    """
    statement = open_bundle(signature_path, read_public_key(public_key_path))
    ignored = [*statement.serialization.get("ignore_paths", ()), *GIT_PATHS]
    resources = [_located(folder, resource, statement) for resource in statement.resources]
    problems = [text for text in map_ordered(_compare, resources) if text]
    problems += _longer_than_signed(resources)
    signed = {path for path, *_ in resources}
    for relative, _ in iter_files(folder):
        path = folder / relative
        skipped = any(relative == name or relative.startswith(f"{name}/") for name in ignored)
        if path not in signed and not skipped and path.resolve() != signature_path.resolve():
            problems.append(f"{relative}: not signed")
    if problems:
        shown = "; ".join(sorted(problems)[:20]) + ("; …" if len(problems) > 20 else "")
        raise IntegrityError(f"{len(problems)} differences from what was signed: {shown}", where=str(folder))
    return statement


def _located(folder: Path, resource: Resource, statement: Statement) -> tuple[Path, Resource, int, int | None]:
    """Return the file of a resource and the range of bytes that its digest covers."""
    method = statement.serialization.get("method")
    if method == "files":
        return inside(folder, resource.name), resource, 0, None
    parts = resource.name.rsplit(":", 2)
    if method != "shards" or len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise IntegrityError(f"lists files in an unknown way ({method!r}, {resource.name!r})", where=statement.name)
    return inside(folder, parts[0]), resource, int(parts[1]), int(parts[2])


def _longer_than_signed(resources: list[tuple[Path, Resource, int, int | None]]) -> list[str]:
    """Name the files that go on after the last part that was signed."""
    ends: dict[Path, int] = {}
    for path, _, _, end in resources:
        if end is not None:
            ends[path] = max(ends.get(path, 0), end)
    return [
        f"{path.name}: longer than signed" for path, end in ends.items() if path.is_file() and path.stat().st_size > end
    ]


def _compare(item: tuple[Path, Resource, int, int | None]) -> str | None:
    path, resource, start, end = item
    try:
        hasher = _hasher(resource.algorithm)
        for block in _blocks(path, start, end):
            hasher.update(block)
    except OSError as error:
        return f"{resource.name}: {error.strerror}"
    found = hasher.hexdigest()
    return None if found == resource.digest else f"{resource.name}: expected {resource.digest[:12]}…, got {found[:12]}…"


def _hasher(algorithm: str):
    algorithm = algorithm.partition("-sharded-")[0]
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3()
    if algorithm not in ("sha256", "blake2b"):
        raise IntegrityError(f"uses the digest {algorithm!r}, which is not known here")
    return hashlib.new(algorithm)


def _blocks(path: Path, start: int, end: int | None) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        stream.seek(start)
        left = -1 if end is None else end - start
        while left and (block := stream.read(min(_SIGNED_BLOCK_BYTES, left) if left > 0 else _SIGNED_BLOCK_BYTES)):
            left -= len(block) if left > 0 else 0
            yield block


def _info(manifest: Manifest, data: bytes, key) -> SignatureInfo:
    return SignatureInfo(
        study=manifest.study,
        version=manifest.version,
        root=manifest.root,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        algorithm=key.algorithm,
        fingerprint=key.fingerprint,
    )
