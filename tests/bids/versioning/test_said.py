"""What get and verify say is true: of contents that never came, of a full disk, of runs of two people exchanged."""

from pathlib import Path

import pytest
from cli_in_process import release_kit
from versioning_factory import AUTHOR, DATE, RUNS, UNNAMED, make_dataset, writable, write

from release_kit.bids.versioning.annex import failed_records
from release_kit.bids.versioning.get import _move_into_place, get_dataset
from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.siblings import publish_dataset
from release_kit.bids.versioning.sources import resolve
from release_kit.bids.versioning.verify import verify_dataset
from release_kit.core.errors import ReleaseKitError, UsageError


def test_content_that_never_came_is_not_called_lost(saved: Path, tmp_path: Path):
    got = tmp_path / "got"
    get_dataset(str(saved), got, subjects=["02"])
    told = {one.path: one.what for one in verify_dataset(got, complete=True).findings}
    assert told[RUNS[0]] == "the content is not here: it was never fetched, or it was dropped"
    place = (got / RUNS[2]).resolve()
    place.parent.chmod(0o755)
    place.unlink()
    told = {one.path: one.what for one in verify_dataset(got).findings}
    assert told == {RUNS[2]: "the content that was here is not there any more"}


def test_a_refused_get_leaves_nothing(saved: Path, tmp_path: Path):
    for options in ({"subjects": ["09"]}, {"levels": ["stories"]}, {"version": "9"}):
        with pytest.raises(UsageError):
            get_dataset(str(saved), tmp_path / "got", **options)
    assert not (tmp_path / "got").exists() and not list(tmp_path.glob(".rk-tmp*"))


def test_a_download_that_came_first_is_told_and_left(saved: Path, tmp_path: Path):
    get_dataset(str(saved), tmp_path / "first")
    write(tmp_path / "second" / "file", b"")
    with pytest.raises(ReleaseKitError, match="another download came here meanwhile"):
        _move_into_place(tmp_path / "second", tmp_path / "first")
    assert resolve(str(tmp_path / "first")).kind == "git" and verify_dataset(tmp_path / "first", complete=True).ok


def test_a_full_disk_is_told_once_and_without_options_of_others(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("COUNT", "1"), ("KEY_0", "annex.diskreserve"), ("VALUE_0", "900000TB")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    ran = release_kit("bids", "get", saved, tmp_path / "got")
    assert ran.returncode == 1
    assert "not enough free space" in ran.stdout and "--force" not in ran.stdout
    assert "6 contents, 0.0 MB; 0 fetched now, 6 not here" in ran.stdout
    record = {"success": False, "file": "a", "error-messages": ["disk full", "disk  full", "  "]}
    assert failed_records([record]) == ["a: disk full"]


def test_a_key_and_a_signature_of_other_bytes_do_not_ask_for_a_key(tmp_path: Path):
    pytest.importorskip("cryptography")
    keys, dataset = tmp_path / "keys", make_dataset(tmp_path / "dataset")
    assert release_kit("sign", "--new-key", keys).returncode == 0
    words = ("--version", "1.0.0", "--author", AUTHOR, "--key", keys / "private.pem")
    assert release_kit("bids", "save", dataset, *words).returncode == 0
    write(dataset / "code/release_kit/manifest.sigstore.json", b"{}")
    ran = release_kit("bids", "verify", dataset, "--key", keys / "public.pem", "--no-validate")
    assert ran.returncode == 1
    assert "  signature does not hold" in ran.stdout and "name the key" not in ran.stdout


def test_runs_of_two_people_exchanged_are_named_although_their_sizes_differ(tmp_path: Path):
    dataset, tree = make_dataset(tmp_path / "dataset"), tmp_path / "tree"
    write(dataset / RUNS[0], b"a longer run" * 500)
    save_version(dataset, version="1.0.0", author=AUTHOR, date=DATE)
    publish_dataset(dataset, "tree", tree, search=UNNAMED)
    first, second = (tree / RUNS[n] for n in (0, 2))
    (tree / "aside").write_bytes(first.read_bytes())
    second.replace(first)
    (tree / "aside").replace(second)
    told = {finding.path: (finding.code, finding.what) for finding in verify_dataset(tree).findings}
    assert told == {
        RUNS[0]: ("swapped", f"holds the bytes of {RUNS[2]}"), RUNS[2]: ("swapped", f"holds the bytes of {RUNS[0]}")
    }  # fmt: skip
    writable(tmp_path)
