"""A signed statement in one file: in-toto Statement v1 inside a DSSE envelope inside a Sigstore bundle v0.3.

Owns the bytes of the bundle and its strict reader; the statement's predicate is the one of the OpenSSF model-signing
tool, so that this tool reads what is written here and the other way round. Keys are ``sign/keys.py``'s, the meaning
of the signed resources is ``release.py``'s. Format: ``docs/formats/signature.md``.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import IntegrityError, RecordError
from release_kit.release.sign.keys import PrivateKey, PublicKey

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_MOST_BUNDLE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """One signed file (or, in bundles of other tools, one part of a file: ``path:start:end``)."""

    name: str
    digest: str
    algorithm: str = "sha256"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a signature speaks of."""

    name: str
    resources: tuple[Resource, ...]
    serialization: Mapping[str, Any]
    """How files became resources: ``method`` (``files`` or ``shards``), ``hash_type``, ``ignore_paths`` …"""
    release: Mapping[str, Any] = field(default_factory=dict)
    """Of a release's manifest: study, version, root digest; other tools pass over it."""

    @property
    def digest(self) -> str:
        """The statement's subject: sha256 over the raw digests of all resources in their order."""
        return hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in self.resources)).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the canonical JSON of the in-toto statement."""
        resources = [{"name": r.name, "algorithm": r.algorithm, "digest": r.digest} for r in self.resources]
        predicate: dict[str, Any] = {"serialization": dict(self.serialization), "resources": resources}
        if self.release:
            predicate["release"] = dict(self.release)
        subject = {"name": self.name, "digest": {"sha256": self.digest}}
        return canonical.canonical_bytes(
            {"_type": STATEMENT_TYPE, "subject": [subject], "predicateType": PREDICATE_TYPE, "predicate": predicate}
        )


def files_statement(name: str, resources: Iterable[Resource], **extra: Any) -> Statement:
    """Return a statement over whole files, in the order of their path parts.

    Args:
        name: what the files are, for people.
        resources: the files.
        extra: ``release`` (see ``Statement``) and ``ignore_paths``, the paths that no verifier should look at.
    """
    ordered = tuple(sorted(resources, key=lambda resource: resource.name.split("/")))
    serialization: dict[str, Any] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    if ignored := extra.get("ignore_paths"):
        serialization["ignore_paths"] = list(ignored)
    release = extra.get("release", {})
    return Statement(name=name, resources=ordered, serialization=serialization, release=release)


def bundle_bytes(statement: Statement, key: PrivateKey) -> bytes:
    """Return the signed bundle: what goes into a ``.sig`` or ``manifest.sigstore.json`` file."""
    payload = statement.to_bytes()
    signature = key.sign(pre_authentication(payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    material = {"publicKey": {"hint": key.public.fingerprint}, "tlogEntries": []}
    bundle = {"mediaType": BUNDLE_MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return canonical.canonical_bytes(bundle) + b"\n"


def pre_authentication(payload: bytes) -> bytes:
    """Return the bytes that DSSE signs: ``DSSEv1 SP len(type) SP type SP len(payload) SP payload``."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def open_bundle(path: Path, key: PublicKey) -> Statement:
    """Read a bundle and return its statement, if and only if ``key`` signed it.

    Raises:
        IntegrityError: unreadable, malformed, signed by another key, changed after signing, or not consistent.
    """
    where = str(path)
    try:
        bundle = _read_bundle(path)
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(entry["sig"], validate=True) for entry in envelope["signatures"]]
        kinds = (bundle["mediaType"], envelope["payloadType"])
        hint = bundle["verificationMaterial"]["publicKey"].get("hint")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"is not a key-signed Sigstore bundle ({error!r})", where=where) from error
    if kinds != (BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE):
        raise IntegrityError(f"is a bundle of another kind: {kinds[0]}, {kinds[1]}", where=where)
    if hint and hint != key.fingerprint:
        what = f"was signed with another key: expected {key.fingerprint[:16]}…, got {str(hint)[:16]}…"
        raise IntegrityError(what, where=where, next_step="check that the public key is the publisher's")
    if len(signatures) != 1 or not key.check(signatures[0], pre_authentication(payload)):
        step = "do not trust these files; fetch the signature and the manifest again from the publisher"
        raise IntegrityError("the signature does not hold", where=where, next_step=step)
    return parse_statement(payload, where)


def parse_statement(payload: bytes, where: str) -> Statement:
    """Read an in-toto statement with the model-signing predicate.

    Raises:
        IntegrityError: another kind of statement, or a subject digest that does not follow from the resources.
    """
    value = _parsed(payload, where)
    try:
        kinds = (value["_type"], value["predicateType"])
        (subject,) = value["subject"]
        predicate = value["predicate"]
        resources = tuple(_resource(entry) for entry in predicate["resources"])
        statement = Statement(
            name=subject["name"],
            resources=resources,
            serialization=dict(predicate["serialization"]),
            release=dict(predicate.get("release") or {}),
        )
        claimed, found = subject["digest"]["sha256"], statement.digest
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the signed statement is malformed ({error!r})", where=where) from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise IntegrityError(f"the signed statement is of another kind: {kinds[1]}", where=where)
    if claimed != found:
        raise IntegrityError("the signed statement contradicts itself: its digest is not that of its list", where=where)
    return statement


def _resource(entry: Mapping[str, Any]) -> Resource:
    name, digest, algorithm = entry["name"], entry["digest"], entry["algorithm"]
    if not all(isinstance(text, str) for text in (name, digest, algorithm)):
        raise TypeError("a resource is not text")
    return Resource(name=name, digest=digest, algorithm=algorithm)


def _read_bundle(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _MOST_BUNDLE_BYTES:
            raise IntegrityError(f"has {size} bytes, too many for a signature", where=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return _parsed(data, str(path))


def _parsed(data: bytes, where: str) -> Any:
    try:
        return canonical.parse_json(data, where)
    except RecordError as error:
        step = "fetch the signature again from the publisher"
        raise IntegrityError(f"is not a signature: {error.what}", where=where, next_step=step) from error
