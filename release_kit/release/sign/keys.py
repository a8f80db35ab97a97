"""Key files for signatures: EC P-256 (P-384, P-521) and Ed25519 in PEM, made, read and used.

Owns everything that touches the package ``cryptography`` (extra ``sign``). What is signed is ``release.py``'s matter.
A passphrase comes from the caller, never from the command line.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import IntegrityError, MissingExtraError, ReleaseKitError, UsageError
from release_kit.core.files import write_error

ALGORITHMS = ("ec-p256", "ed25519")
PRIVATE_KEY_FILE = "private.pem"
PUBLIC_KEY_FILE = "public.pem"
_CURVE_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MOST_KEY_BYTES = 1 << 16

PassphraseSource = Callable[[], str | None]
"""Asked once, and only when the key is encrypted; None means that there is no passphrase to be had."""


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A public key that can check signatures."""

    algorithm: str
    """``ec-p256``, ``ec-p384``, ``ec-p521`` or ``ed25519``."""
    fingerprint: str
    """sha256 (64 hex digits) of the key's PEM text as OpenSSL writes it; what signature bundles carry as ``hint``."""
    key: Any

    def check(self, signature: bytes, message: bytes) -> bool:
        """Return whether ``signature`` was made over ``message`` with the private half of this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            if self.algorithm == "ed25519":
                self.key.verify(signature, message)
            else:
                self.key.verify(signature, message, _ecdsa(self.key))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A private key with its public half."""

    public: PublicKey
    key: Any

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``; the same bytes each time where OpenSSL can (RFC 6979, RFC 8032)."""
        if self.public.algorithm == "ed25519":
            return self.key.sign(message)
        return self.key.sign(message, _ecdsa(self.key.public_key(), deterministic=True))


def write_key_pair(folder: Path, algorithm: str = "ec-p256", passphrase: str | None = None) -> PublicKey:
    """Make a new key pair: ``private.pem`` (readable by its owner only) and ``public.pem``.

    Args:
        folder: where the two files go; made when missing.
        algorithm: ``ec-p256`` (other tools read its signatures) or ``ed25519``.
        passphrase: encrypts the private key; None or empty leaves it unencrypted.

    Raises:
        UsageError: unknown algorithm, or a key is already there (keys are never overwritten).
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if algorithm not in ALGORITHMS:
        raise UsageError(f"no key algorithm {algorithm!r}", next_step=f"use one of {', '.join(ALGORITHMS)}")
    key = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    how = serialization.NoEncryption()
    if passphrase:
        how = serialization.BestAvailableEncryption(passphrase.encode())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    for name in (PRIVATE_KEY_FILE, PUBLIC_KEY_FILE):
        if (folder / name).exists():
            raise UsageError("a key is already there", where=str(folder / name), next_step="name another folder")
    _write_new(folder / PRIVATE_KEY_FILE, private, 0o600)
    _write_new(folder / PUBLIC_KEY_FILE, _public_pem(key.public_key()), 0o644)
    return _public(key.public_key(), str(folder))


def read_private_key(path: Path, passphrase: PassphraseSource = lambda: None) -> PrivateKey:
    """Read a private key in PEM.

    Raises:
        ReleaseKitError: unreadable, not a key, a wrong or missing passphrase, or a kind of key not in use here.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = _read(path)
    secret = None
    if b"ENCRYPTED" in data:
        text = passphrase()
        if not text:
            step = "set RELEASE_KIT_KEY_PASSPHRASE, or run in a terminal to be asked"
            raise ReleaseKitError("the private key is encrypted", where=str(path), next_step=step)
        secret = text.encode()
    try:
        key = serialization.load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "the passphrase is wrong" if secret else "is not a private key in PEM"
        raise ReleaseKitError(what, where=str(path), next_step="release-kit sign --new-key DIR makes one") from error
    return PrivateKey(key=key, public=_public(key.public_key(), str(path)))


def read_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM.

    Raises:
        ReleaseKitError: unreadable, not a public key, or a kind of key not in use here.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    data = _read(path)
    if b"PRIVATE KEY" in data:
        step = "give the public key; keep the private one to yourself"
        raise ReleaseKitError("is a private key", where=str(path), next_step=step)
    try:
        return _public(serialization.load_pem_public_key(data), str(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ReleaseKitError("is not a public key in PEM", where=str(path)) from error


def _public(key: Any, where: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "ed25519"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_HASHES:
        algorithm = f"ec-p{key.curve.key_size}"
    else:
        step = f"use a key of the kind {' or '.join(ALGORITHMS)}"
        raise ReleaseKitError("is of a kind that release signatures do not use", where=where, next_step=step)
    return PublicKey(algorithm=algorithm, fingerprint=hashlib.sha256(_public_pem(key)).hexdigest(), key=key)


def _public_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ecdsa(public_key: Any, deterministic: bool = False) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    digest = getattr(hashes, _CURVE_HASHES[public_key.curve.name])()
    try:
        return ec.ECDSA(digest, deterministic_signing=deterministic)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return ec.ECDSA(digest)


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise MissingExtraError("cryptography", "sign") from None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MOST_KEY_BYTES + 1)
    except OSError as error:
        raise ReleaseKitError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if len(data) > _MOST_KEY_BYTES:
        raise IntegrityError("is too large to be a key", where=str(path))
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a key file that did not exist, with ``mode`` from its first byte on; a failure leaves no part of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise write_error(path, error) from error
