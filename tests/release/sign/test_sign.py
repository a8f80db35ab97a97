"""What a release's signature promises: it holds for exactly the signed manifest and one key, and for nothing else."""

import base64
import hashlib
import json
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release_kit.core.errors import IntegrityError, ReleaseKitError, UsageError
from release_kit.core.manifest import MANIFEST_FILE, RELEASE_FOLDER
from release_kit.release.sign.bundle import pre_authentication
from release_kit.release.sign.keys import read_private_key, write_key_pair
from release_kit.release.sign.release import SIGNATURE_FILE, sign_cells, sign_release, verify_signature


def verify(download: Path, keys):
    return verify_signature((download / MANIFEST_FILE).read_bytes(), download / SIGNATURE_FILE, keys.public_path)


def test_signature_holds_for_the_signed_manifest(download, manifest, keys):
    report = sign_release(download, keys.private)
    info = verify(download, keys)
    assert info == report.info
    assert (info.study, info.version, info.root) == (manifest.study, manifest.version, manifest.root)
    assert info.manifest_sha256 == hashlib.sha256((download / MANIFEST_FILE).read_bytes()).hexdigest()


def test_signing_again_writes_nothing(download, keys):
    assert sign_release(download, keys.private).written
    before = (download / SIGNATURE_FILE).read_bytes()
    assert not sign_release(download, keys.private).written
    assert (download / SIGNATURE_FILE).read_bytes() == before


def test_signature_of_another_key_is_refused(download, keys, tmp_path):
    sign_release(download, keys.private)
    write_key_pair(tmp_path / "other", keys.private.public.algorithm)
    with pytest.raises(IntegrityError, match="another key"):
        verify_signature(
            (download / MANIFEST_FILE).read_bytes(), download / SIGNATURE_FILE, tmp_path / "other" / "public.pem"
        )


def test_forged_key_hint_does_not_make_another_key_good(download, keys, tmp_path):
    sign_release(download, keys.private)
    public = write_key_pair(tmp_path / "other", keys.private.public.algorithm)
    bundle = json.loads((download / SIGNATURE_FILE).read_bytes())
    bundle["verificationMaterial"]["publicKey"]["hint"] = public.fingerprint
    (download / SIGNATURE_FILE).write_text(json.dumps(bundle))
    with pytest.raises(IntegrityError, match="does not hold"):
        verify_signature(
            (download / MANIFEST_FILE).read_bytes(), download / SIGNATURE_FILE, tmp_path / "other" / "public.pem"
        )


def test_manifest_built_after_signing_is_refused(download, manifest, keys):
    sign_release(download, keys.private)
    changed = json.loads((download / MANIFEST_FILE).read_bytes())
    changed["version"] = "1.0.1"
    (download / MANIFEST_FILE).write_text(json.dumps(changed))
    with pytest.raises(IntegrityError, match="signs another manifest"):
        verify(download, keys)


def test_same_content_in_other_bytes_is_refused(download, keys):
    sign_release(download, keys.private)
    value = json.loads((download / MANIFEST_FILE).read_bytes())
    (download / MANIFEST_FILE).write_text(json.dumps(value, indent=2))
    with pytest.raises(IntegrityError, match="signs another manifest"):
        verify(download, keys)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_payload_or_signature_is_accepted(download, ec_keys, where, bit):
    sign_release(download, ec_keys.private)
    path = download / SIGNATURE_FILE
    bundle = json.loads(path.read_bytes())
    envelope = bundle["dsseEnvelope"]
    raw = bytearray(base64.b64decode(envelope["payload"]) + base64.b64decode(envelope["signatures"][0]["sig"]))
    n_payload = len(base64.b64decode(envelope["payload"]))
    raw[int(where * len(raw))] ^= 1 << bit
    envelope["payload"] = base64.b64encode(raw[:n_payload]).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(raw[n_payload:]).decode()
    path.write_text(json.dumps(bundle))
    with pytest.raises(IntegrityError, match="does not hold"):
        verify(download, ec_keys)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON"),
        (b"[]", "bundle"),
        (b"{}", "bundle"),
        (b'{"mediaType": "x", "dsseEnvelope": {"payload": "!", "signatures": []}}', "bundle"),
        (b"\xff\xfe", "JSON"),
    ],
)
def test_broken_signature_file_is_refused_with_its_name(download, ec_keys, content, says):
    (download / SIGNATURE_FILE).write_bytes(content)
    with pytest.raises(IntegrityError, match=says) as caught:
        verify(download, ec_keys)
    assert caught.value.where.endswith(SIGNATURE_FILE)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bundle_of_any_shape_is_refused_without_a_traceback(download, ec_keys, data):
    sign_release(download, ec_keys.private)
    bundle = json.loads((download / SIGNATURE_FILE).read_bytes())
    places = [(), *_places(bundle)]
    place = data.draw(st.sampled_from(places))
    odd = data.draw(st.sampled_from([None, 0, "", "é", "AAAA", [], {}, [[]], [None], {"sig": 1}, 10**400]))
    (download / SIGNATURE_FILE).write_text(json.dumps(_replaced(bundle, place, odd)), encoding="utf-8")
    no_hint = (place[-1:] == ("hint",) and not odd) or (place[-1:] == ("publicKey",) and isinstance(odd, dict))
    if no_hint or place[-1:] in (("keyid",), ("tlogEntries",)):  # nothing of this is signed or needed
        assert verify(download, ec_keys).study == "tiny-grid"
        return
    with pytest.raises(IntegrityError):
        verify(download, ec_keys)


def _places(value, place=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield (*place, key)
        yield from _places(child, (*place, key))


def _replaced(value, place, odd):
    if not place:
        return odd
    head, *rest = place
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[head] = _replaced(value[head], rest, odd)
    return copy


def test_missing_signature_says_where(download, ec_keys):
    with pytest.raises(IntegrityError, match="No such file") as caught:
        verify(download, ec_keys)
    assert caught.value.where.endswith(SIGNATURE_FILE)


def test_openssl_agrees_with_the_signature(download, ec_keys, tmp_path):
    sign_release(download, ec_keys.private)
    envelope = json.loads((download / SIGNATURE_FILE).read_bytes())["dsseEnvelope"]
    (tmp_path / "message").write_bytes(pre_authentication(base64.b64decode(envelope["payload"])))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "dgst", "-sha256", "-verify", ec_keys.public_path, "-signature", tmp_path / "sig"]
    outcome = subprocess.run([*command, tmp_path / "message"], capture_output=True, text=True)
    assert outcome.stdout.strip() == "Verified OK", outcome.stderr


def test_signing_a_built_study_puts_the_signature_beside_its_manifest(download, keys, tmp_path):
    study = download.with_name("copy-study")
    (study / RELEASE_FOLDER).mkdir()
    (study / RELEASE_FOLDER / MANIFEST_FILE).write_bytes((download / MANIFEST_FILE).read_bytes())
    report = sign_release(study, keys.private)
    assert report.signature == study / RELEASE_FOLDER / SIGNATURE_FILE


def test_private_key_is_readable_by_its_owner_only_and_never_overwritten(tmp_path):
    write_key_pair(tmp_path, "ec-p256")
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "private.pem").read_bytes()
    with pytest.raises(UsageError, match="already there"):
        write_key_pair(tmp_path, "ed25519")
    assert (tmp_path / "private.pem").read_bytes() == before


def test_a_key_that_could_not_be_written_leaves_no_part_of_it(tmp_path):
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(ReleaseKitError, match="cannot be written"):
            write_key_pair(tmp_path, "ec-p256")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    write_key_pair(tmp_path, "ec-p256")


def test_encrypted_key_needs_its_passphrase(tmp_path):
    write_key_pair(tmp_path, "ed25519", "correct horse")
    with pytest.raises(ReleaseKitError, match="is encrypted"):
        read_private_key(tmp_path / "private.pem")
    with pytest.raises(ReleaseKitError, match="passphrase is wrong"):
        read_private_key(tmp_path / "private.pem", lambda: "battery staple")
    assert read_private_key(tmp_path / "private.pem", lambda: "correct horse").public.algorithm == "ed25519"


def test_private_key_given_as_public_key_is_refused(download, ec_keys):
    sign_release(download, ec_keys.private)
    with pytest.raises(ReleaseKitError, match="is a private key"):
        verify_signature((download / MANIFEST_FILE).read_bytes(), download / SIGNATURE_FILE, ec_keys.private_path)


def test_rsa_key_is_refused_with_the_kinds_in_use(tmp_path):
    subprocess.run(["openssl", "genrsa", "-out", tmp_path / "rsa.pem", "2048"], check=True, capture_output=True)
    with pytest.raises(ReleaseKitError, match="ed25519"):
        read_private_key(tmp_path / "rsa.pem")


def test_single_cells_are_refused_for_ed25519(download, tmp_path):
    write_key_pair(tmp_path / "keys", "ed25519")
    with pytest.raises(UsageError, match="EC key"):
        sign_cells(download, read_private_key(tmp_path / "keys" / "private.pem"), tmp_path / "signatures")


def test_unknown_cell_names_the_nearest(download, manifest, ec_keys, tmp_path):
    name = manifest.cells[0].name
    with pytest.raises(UsageError, match="did you mean"):
        sign_cells(download, ec_keys.private, tmp_path / "signatures", (name + "x",))
