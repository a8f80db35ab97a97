"""A clone is proved byte by byte; what is wrong is named by its path, and healed without losing what was there."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from versioning_factory import ANNOTATION, OBJECTS, RUNS, STORY, copied, git, served, writable, write

from release_kit.bids.versioning.get import get_dataset
from release_kit.bids.versioning.paths import MANIFEST_FILE, SIGNATURE_FILE
from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.verify import VerifyReport, verify_dataset
from release_kit.core.errors import IntegrityError, ReleaseKitError, UsageError


@pytest.fixture(scope="module")
def got_once(saved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole download of the saved dataset; never changed."""
    folder = tmp_path_factory.mktemp("got") / "dataset"
    get_dataset(str(saved_once), folder)
    return folder


@pytest.fixture
def got(got_once: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the download whose contents may be damaged."""
    folder = copied(got_once, tmp_path / "got")
    writable(folder)
    yield folder
    writable(tmp_path)


def found(report: VerifyReport) -> set[tuple[str, str]]:
    return {(finding.code, finding.path) for finding in report.findings}


def flip(got: Path) -> None:
    place = (got / RUNS[0]).resolve()
    data = bytearray(place.read_bytes())
    data[1000] ^= 1
    place.write_bytes(data)


def truncate(got: Path) -> None:
    place = (got / RUNS[0]).resolve()
    place.write_bytes(place.read_bytes()[:-1])


def swap_contents(got: Path) -> None:
    first, second = (got / RUNS[0]).resolve(), (got / RUNS[2]).resolve()
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)


def swap_links(got: Path) -> None:
    (got / RUNS[0]).rename(got / "aside")
    (got / RUNS[2]).rename(got / RUNS[0])
    (got / "aside").rename(got / RUNS[2])


DAMAGE: dict[str, tuple[Callable[[Path], object], set[tuple[str, str]]]] = {
    "flip": (flip, {("changed", RUNS[0])}),
    "truncate": (truncate, {("size", RUNS[0])}),
    "content dropped": (lambda got: (got / RUNS[0]).resolve().unlink(), {("content", RUNS[0])}),
    "file dropped": (lambda got: (got / RUNS[0]).unlink(), {("missing", RUNS[0])}),
    "renamed": (
        lambda got: (got / RUNS[1]).rename(got / RUNS[1].replace("run-02", "run-03")),
        {("missing", RUNS[1]), ("extra", RUNS[1].replace("run-02", "run-03"))},
    ),
    "contents swapped": (swap_contents, {("swapped", RUNS[0]), ("swapped", RUNS[2])}),
    "links swapped": (swap_links, {("swapped", RUNS[0]), ("swapped", RUNS[2])}),
    "annotation edited": (lambda got: write(got / ANNOTATION, b"onset\n"), {("changed", ANNOTATION)}),
    "annotation dropped": (lambda got: (got / ANNOTATION).unlink(), {("missing", ANNOTATION)}),
    "file added": (lambda got: write(got / "sub-03" / "x.nii.gz", b"x"), {("extra", "sub-03/x.nii.gz")}),
    "file for a link": (lambda got: write(got / RUNS[0], b"x" * 4000), {("changed", RUNS[0])}),
    "link to elsewhere": (
        lambda got: ((got / RUNS[0]).unlink(), (got / RUNS[0]).symlink_to("/etc/hostname")),
        {("link", RUNS[0])},
    ),
    "manifest edited": (lambda got: write(got / MANIFEST_FILE, b"{}"), {("changed", MANIFEST_FILE)}),
}


def test_whole_clone_is_proved(got: Path):
    report = verify_dataset(got, complete=True)
    assert report.ok and report.whole and report.version == "1.0.0" and report.name == "Two films"
    files = [path for path in got.rglob("*") if path.is_file() and ".git" not in path.relative_to(got).parts]
    assert report.size_bytes == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_healed_and_nothing_is_lost(what: str, got: Path, saved_once: Path):
    damage, expected = DAMAGE[what]
    damage(got)
    assert found(verify_dataset(got)) == expected
    before = {
        path.read_bytes() for path in got.rglob("*") if path.is_file() and ".git" not in path.relative_to(got).parts
    }
    healed = verify_dataset(got, heal_from=[str(saved_once)])
    left = {(code, path) for code, path in expected if code == "extra"}
    assert found(healed) == left and {one.path for one in healed.healed} == {p for c, p in expected if c != "extra"}
    writable(got)
    after = {path.read_bytes() for path in got.rglob("*") if path.is_file()}
    assert before <= after, "what lay there is set aside, not destroyed"


def test_annotation_put_in_the_index_is_named(got: Path):
    write(got / ANNOTATION, b"onset\n")
    git(got, "add", ANNOTATION)
    assert found(verify_dataset(got)) == {("changed", ANNOTATION)}
    write(got / ANNOTATION, git(got, "show", f"HEAD:{ANNOTATION}").encode() + b"\n")
    assert found(verify_dataset(got)) == {("staged", ANNOTATION)}


def test_unlocked_files_are_proved_and_healed(got: Path):
    git(got, "git-annex!", "unlock", RUNS[0])
    assert found(verify_dataset(got)) == {("staged", RUNS[0])}
    git(got, "commit", "-qm", "unlocked")
    assert verify_dataset(got).ok
    write(got / RUNS[0], b"y" * 4000)
    assert found(verify_dataset(got)) == {("changed", RUNS[0])}
    assert verify_dataset(got, heal=True).ok


@pytest.mark.slow
def test_adjusted_branch_is_proved(saved_once: Path, tmp_path: Path):
    got = tmp_path / "got"
    get_dataset(str(saved_once), got)
    git(got, "git-annex!", "drop", "--force", RUNS[1])
    git(got, "git-annex!", "adjust", "--unlock")
    report = verify_dataset(got)
    writable(got)
    assert found(report) == {("content", RUNS[1])} and not (got / RUNS[0]).is_symlink()


def test_damaged_git_object_is_named(got: Path):
    commit = git(got, "rev-parse", "HEAD~1")
    loose = got / ".git" / "objects" / commit[:2] / commit[2:]
    loose.unlink()
    loose.write_bytes(b"no object")
    assert found(verify_dataset(got)) == {("repository", ".git")}


def test_plain_clone_without_content_is_proved_as_what_it_is(saved_once: Path, tmp_path: Path):
    git(tmp_path, "clone", "-q", str(saved_once), "clone")
    report = verify_dataset(tmp_path / "clone")
    assert report.ok and not report.whole and report.n_absent == 6
    assert found(verify_dataset(tmp_path / "clone", complete=True)) == {("content", p) for p in (*RUNS, STORY, OBJECTS)}


def test_keys_of_other_digests_are_proved_too(tmp_path: Path):
    folder = tmp_path / "foreign"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "git-annex!", "init", "x")
    for number, backend in enumerate(("MD5E", "SHA1E", "SHA512", "WORM")):
        write(folder / f"{number}.nii.gz", bytes([number]) * 500)
        git(folder, "git-annex!", "add", "--backend", backend, f"{number}.nii.gz")
    git(folder, "commit", "-qm", "x")
    assert found(verify_dataset(folder)) == {("unchecked", "3.nii.gz")}
    for number in range(3):
        place = (folder / f"{number}.nii.gz").resolve()
        writable(folder)
        place.write_bytes(b"z" * 500)
    assert {path for code, path in found(verify_dataset(folder)) if code == "changed"} == {
        f"{n}.nii.gz" for n in range(3)
    }


def test_signature_covers_the_manifest_and_another_key_is_refused(tmp_path: Path, saved: Path):
    pytest.importorskip("cryptography")
    from release_kit.cli.bids_signature import sign_manifest, signature_check
    from release_kit.release.sign.keys import read_private_key, write_key_pair

    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        write_key_pair(folder)
    write(saved / RUNS[0], b"measured again")
    key = read_private_key(own / "private.pem")
    save_version(saved, version="2.0.0", author="A <a@example.org>", everything=True, date="2026-11-23",
                 sign=lambda data: sign_manifest(data, key, "x"))  # fmt: skip
    report = verify_dataset(saved, check_signature=signature_check(own / "public.pem"))
    assert report.ok and report.signed and report.signature
    wrong = verify_dataset(saved, check_signature=signature_check(other / "public.pem"))
    assert ("signature", SIGNATURE_FILE) in found(wrong)
    git(saved, "rm", "-q", SIGNATURE_FILE)
    git(saved, "commit", "-qm", "no signature")
    assert ("signature", SIGNATURE_FILE) in found(
        verify_dataset(saved, check_signature=signature_check(own / "public.pem"))
    )


def test_a_demanded_signature_is_not_given_by_a_dataset_without_manifest(saved: Path):
    git(saved, "rm", "-q", MANIFEST_FILE)
    git(saved, "commit", "-qm", "no manifest")
    assert verify_dataset(saved).ok
    report = verify_dataset(saved, check_signature=lambda data, place: "whoever")
    assert found(report) == {("signature", SIGNATURE_FILE)} and report.signature is None


def test_content_that_git_annex_has_noted_here_and_that_is_gone_is_a_fault(saved: Path):
    writable(saved)
    (saved / RUNS[0]).resolve().unlink()
    assert found(verify_dataset(saved)) == {("content", RUNS[0])}
    git(saved, "git-annex!", "drop", "--force", RUNS[1])
    assert found(verify_dataset(saved)) == {("content", RUNS[0])}, "what was dropped on purpose is absent, not lost"


def test_links_and_keys_that_the_manifest_does_not_list_are_named(saved: Path):
    (saved / "sub-02" / "stray").symlink_to("../README.md")
    git(saved, "add", "sub-02/stray")
    write(saved / "sub-03" / "x.nii.gz", b"x" * 500)
    git(saved, "git-annex!", "add", "--backend", "MD5E", "sub-03/x.nii.gz")
    git(saved, "commit", "-qm", "more")
    assert found(verify_dataset(saved)) == {("label", "sub-02/stray"), ("label", "sub-03/x.nii.gz")}


def test_a_folder_that_links_out_of_the_dataset_is_named_and_healing_leaves_what_it_leads_to(
    got: Path, saved_once: Path
):
    func = got / "sub-01" / "func"
    beside = got.with_name(f"{got.name}-aside")
    func.rename(beside)
    func.symlink_to(beside)
    report = verify_dataset(got)
    assert ("link", RUNS[0]) in found(report)
    before = sorted(path.name for path in beside.iterdir())
    assert verify_dataset(got, heal_from=[str(saved_once)]).ok
    assert sorted(path.name for path in beside.iterdir()) == before and not func.is_symlink()


def test_bytes_of_a_source_that_are_others_are_not_taken_and_not_called_healed(got: Path, tmp_path: Path):
    """The source holds the path in git, not in its annex."""
    other = tmp_path / "other"
    write(other / RUNS[0], b"something else")
    git(tmp_path, "init", "-q", "other")
    git(other, "add", ".")
    git(other, "commit", "-qm", "x")
    flip(got)
    report = verify_dataset(got, heal_from=[str(other)])
    assert found(report) == {("content", RUNS[0])} and not report.healed


@pytest.mark.parametrize("kind", ["tree", "directory", "http", pytest.param("ria", marks=pytest.mark.slow)])
def test_damage_is_healed_from_every_kind_of_source(kind: str, got: Path, siblings_once: dict[str, Path]):
    flip(got)
    if kind == "http":
        with served(siblings_once["web"]) as address:
            report = verify_dataset(got, heal_from=[address])
    else:
        ref = f"ria+file://{siblings_once['ria']}#~films" if kind == "ria" else str(siblings_once[kind])
        report = verify_dataset(got, heal_from=[ref])
    assert report.ok and [one.path for one in report.healed] == [RUNS[0]]


def test_plain_tree_is_healed_and_the_damaged_file_set_aside(siblings: dict[str, Path], saved_once: Path):
    tree = siblings["tree"]
    writable(tree)
    write(tree / RUNS[0], b"damaged")
    (tree / ANNOTATION).unlink()
    assert found(verify_dataset(tree)) == {("size", RUNS[0]), ("missing", ANNOTATION)}
    with pytest.raises(UsageError, match="--heal-from"):
        verify_dataset(tree, heal=True)
    report = verify_dataset(tree, heal_from=[str(saved_once)])
    assert report.ok and len(report.healed) == 2
    assert (tree / ".release_kit" / "set-aside" / RUNS[0]).read_bytes() == b"damaged"


def test_second_source_is_asked_when_the_first_is_damaged_too(got: Path, siblings: dict[str, Path], saved_once: Path):
    flip(got)
    writable(siblings["tree"])
    write(siblings["tree"] / RUNS[0], b"damaged as well")
    bad = str(siblings["tree"])
    report = verify_dataset(got, heal_from=[bad])
    assert found(report) == {("content", RUNS[0])} and not report.healed
    report = verify_dataset(got, heal_from=[bad, str(saved_once)])
    assert report.ok and report.healed[0].source == str(saved_once)


def test_download_refuses_a_damaged_content_and_a_later_get_heals(saved: Path, tmp_path: Path):
    writable(saved)
    good = (saved / RUNS[0]).read_bytes()
    flip(saved)
    report = get_dataset(str(saved), tmp_path / "got")
    assert not report.ok and report.failed[0].startswith(RUNS[0])
    assert found(verify_dataset(tmp_path / "got")) == {("content", RUNS[0])}
    (saved / RUNS[0]).resolve().write_bytes(good)
    assert get_dataset(str(saved), tmp_path / "got").ok and verify_dataset(tmp_path / "got").ok


def test_every_byte_is_read_once(got: Path):
    opened: dict[str, int] = {}
    verify_dataset(
        got, on_event=lambda e: opened.update({e["path"]: e["size_bytes"]}) if e["event"] == "read" else None
    )
    assert opened[RUNS[0]] == 4000 and sum(opened.values()) == verify_dataset(got).size_bytes


def test_folder_that_is_no_dataset_is_refused(tmp_path: Path):
    with pytest.raises(ReleaseKitError, match="neither a repository nor a plain tree"):
        verify_dataset(tmp_path)
    write(tmp_path / MANIFEST_FILE, b"no json")
    assert found(verify_dataset(tmp_path)) == {("manifest", MANIFEST_FILE)}


@pytest.mark.parametrize("path", ["../outside", ".git/config", "sub-01/.GIT/config", ".release_kit/get.json"])
def test_manifest_that_leaves_the_dataset_is_refused(path: str, tmp_path: Path):
    from release_kit.bids.versioning.manifest import DatasetFile, DatasetManifest

    file = DatasetFile(path=path, size_bytes=1, sha256=hashlib.sha256(b"x").hexdigest())
    data = DatasetManifest(name="x", dataset_id="y", version="1", files=(file,)).to_bytes()
    write(tmp_path / "tree" / MANIFEST_FILE, data)
    with pytest.raises(ReleaseKitError, match="do not trust this source"):
        get_dataset(str(tmp_path / "tree"), tmp_path / "got")
    assert not os.path.exists(tmp_path / "outside") and not os.path.exists(tmp_path / "got")
    with pytest.raises((ReleaseKitError, IntegrityError)):
        verify_dataset(tmp_path / "tree")
