"""The key pairs that signed the goldens, made from a text that everyone can read: they protect nothing.

Deriving them keeps private keys out of the repository, and signing again gives the same bytes (RFC 6979, RFC 8032).
"""

import hashlib

from release_kit.release.sign.keys import PrivateKey, PublicKey

_SECRET = hashlib.sha256(b"release_kit goldens").digest()


def golden_key(algorithm: str) -> PrivateKey:
    """Return the golden private key of ``ec-p256`` or ``ed25519``."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(_SECRET)
    else:
        key = ec.derive_private_key(int.from_bytes(_SECRET[:31], "big"), ec.SECP256R1())
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.sha256(pem).hexdigest()
    return PrivateKey(key=key, public=PublicKey(algorithm=algorithm, fingerprint=fingerprint, key=key.public_key()))
