"""Each sibling gives the dataset back, whole or in part, and whatever is done to it is caught on the way or after."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from versioning_factory import (
    ANNOTATION,
    OBJECTS,
    RUNS,
    STORY,
    UNNAMED,
    content_of,
    copied,
    git,
    served,
    writable,
    write,
)

from release_kit.bids.versioning.get import get_dataset
from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.siblings import publish_dataset
from release_kit.bids.versioning.sources import object_places, resolve
from release_kit.bids.versioning.tracked import parse_key
from release_kit.bids.versioning.verify import verify_dataset, verify_reference
from release_kit.core.errors import ReleaseKitError, UsageError

QUICK = ("tree", "http-tree", "directory")
SLOW = ("web", "http", "ria", "http-ria")
ALL = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]


@contextmanager
def reference(kind: str, siblings: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield (what get takes, folder of the sibling) of a kind, served over http where it says so."""
    own = kind.removeprefix("http-") if kind != "http" else "web"
    folder = siblings[own]
    if not kind.startswith("http"):
        yield f"ria+file://{folder}#~films" if kind == "ria" else str(folder), folder
        return
    with served(folder) as address:
        yield f"ria+{address}#~films" if own == "ria" else address, folder


@pytest.mark.parametrize("kind", ALL)
def test_sibling_gives_the_whole_version_back(kind: str, siblings: dict[str, Path], saved_once: Path, tmp_path: Path):
    with reference(kind, siblings) as (ref, _):
        report = get_dataset(ref, tmp_path / "got")
    assert report.ok and report.version == "1.0.0" and report.n_wanted == report.n_files
    proof = verify_dataset(tmp_path / "got", complete=True)
    assert proof.ok, proof.findings
    assert proof.whole and proof.root == verify_dataset(saved_once).root


@pytest.mark.parametrize("kind", ["http-tree", "directory", pytest.param("ria", marks=pytest.mark.slow)])
def test_one_subject_or_level_is_got_and_proved_as_what_it_is(kind: str, siblings: dict[str, Path], tmp_path: Path):
    got = tmp_path / "got"
    with reference(kind, siblings) as (ref, _):
        get_dataset(ref, got, subjects=["02"], levels=["story"])
        here = {path for path in (*RUNS, STORY, OBJECTS) if (got / path).is_file()}
        assert here == {RUNS[2], RUNS[3], STORY}
        proof = verify_dataset(got)
        assert proof.ok and not proof.whole and proof.parts == ("sub-02", "level story")
        assert not verify_dataset(got, complete=True).ok
        get_dataset(ref, got, subjects=["01"])
    assert (got / RUNS[0]).is_file() and verify_dataset(got).ok


def test_unknown_subject_level_version_or_place_is_refused(siblings: dict[str, Path], tmp_path: Path):
    tree = str(siblings["tree"])
    with pytest.raises(UsageError, match="no subject '3'"):
        get_dataset(tree, tmp_path / "a", subjects=["3"])
    with pytest.raises(UsageError, match=r"no level 'stories'; did you mean 'story'\?"):
        get_dataset(tree, tmp_path / "b", levels=["stories"])
    with pytest.raises(UsageError, match=r"no version '2\.0\.0'; versions: 1\.0\.0"):
        get_dataset(tree, tmp_path / "c", version="2.0.0")
    write(tmp_path / "d" / "mine.txt", b"mine")
    with pytest.raises(ReleaseKitError, match="is not empty"):
        get_dataset(tree, tmp_path / "d")
    with pytest.raises(UsageError, match="no such folder"):
        get_dataset(str(tmp_path / "nowhere"), tmp_path / "e")
    with pytest.raises(ReleaseKitError, match="neither a repository nor a plain tree"):
        get_dataset(str(tmp_path / "d"), tmp_path / "e")
    with pytest.raises(UsageError, match="names no dataset of a store"):
        get_dataset("ria+file:///store", tmp_path / "e")
    assert not any((tmp_path / name).exists() for name in "abce")


def test_a_second_get_of_a_plain_tree_sets_aside_what_somebody_has_edited(siblings: dict[str, Path], tmp_path: Path):
    got = tmp_path / "got"
    get_dataset(str(siblings["tree"]), got)
    write(got / ANNOTATION, b"my own words\n")
    assert get_dataset(str(siblings["tree"]), got).ok
    assert (got / ".release_kit" / "set-aside" / ANNOTATION).read_bytes() == b"my own words\n"
    assert (got / ANNOTATION).read_bytes() == (siblings["tree"] / ANNOTATION).read_bytes()


def flip(content: Path, other: Path) -> None:
    data = bytearray(content.read_bytes())
    data[len(data) // 2] ^= 1
    content.write_bytes(data)


def truncate(content: Path, other: Path) -> None:
    content.write_bytes(content.read_bytes()[:-7])


def drop(content: Path, other: Path) -> None:
    content.unlink()


def rename(content: Path, other: Path) -> None:
    content.rename(content.with_name(content.name.replace("sub-01", "sub-03") + "x"))


def swap(content: Path, other: Path) -> None:
    first, second = content.read_bytes(), other.read_bytes()
    content.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize("damage", [flip, truncate, drop, rename, swap], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "kind", ["tree", *(pytest.param(k, marks=pytest.mark.slow) for k in ("http-tree", "directory", "http", "ria"))]
)
def test_damage_to_a_recording_is_caught(
    kind: str, damage: Callable[[Path, Path], None], siblings: dict[str, Path], saved_once: Path
):
    with reference(kind, siblings) as (ref, folder):
        writable(folder)
        damage(*(content_of(folder, saved_once, path) for path in (RUNS[0], RUNS[2])))
        report = verify_reference(ref)
    named = {finding.path for finding in report.findings}
    assert not report.ok and named == {RUNS[0], *([RUNS[2]] if damage is swap else [])}


def edit_history(bare: Path, folder: Path, swap_runs: bool = False) -> None:
    """Commit other content to a sibling's history, with good git objects and good annex keys."""
    git(folder.parent, "clone", "-q", str(bare), str(folder))
    if swap_runs:
        targets = [os.readlink(folder / path) for path in (RUNS[0], RUNS[2])]
        for path, target in zip((RUNS[2], RUNS[0]), targets, strict=True):
            (folder / path).unlink()
            (folder / path).symlink_to(target)
    else:
        write(folder / ANNOTATION, b"onset\tduration\ttext\n0\t4\tA window opens.\n")
    git(folder, "commit", "-qam", "A small correction")
    git(folder, "push", "-q", "origin", "main")
    git(bare, "update-server-info")


@pytest.mark.parametrize("swap_runs", [False, True], ids=["annotation", "swapped"])
@pytest.mark.parametrize("kind", ["directory", *(pytest.param(k, marks=pytest.mark.slow) for k in ("http", "ria"))])
def test_edit_that_git_and_the_annex_find_good_is_caught_by_the_manifest(
    kind: str, swap_runs: bool, siblings: dict[str, Path], tmp_path: Path
):
    with reference(kind, siblings) as (ref, folder):
        edit_history(Path(resolve(str(folder) if kind == "http" else ref).git_url), tmp_path / "edit", swap_runs)
        report = verify_reference(ref)
    found = {finding.path: finding for finding in report.findings}
    assert not report.ok
    if swap_runs:
        assert found[RUNS[0]].what == f"the commit holds the bytes of {RUNS[2]} under this name"
    else:
        assert found[ANNOTATION].code == "label"


def test_edited_annotation_of_a_plain_tree_is_caught(siblings: dict[str, Path]):
    writable(siblings["tree"])
    write(siblings["tree"] / ANNOTATION, (siblings["tree"] / ANNOTATION).read_bytes().replace(b"door", b"doom"))
    with served(siblings["tree"]) as address:
        report = verify_reference(address)
    assert [finding.path for finding in report.findings] == [ANNOTATION]
    here = verify_dataset(siblings["tree"])
    assert [(finding.code, finding.path) for finding in here.findings] == [("changed", ANNOTATION)]


def test_interrupted_download_of_a_tree_continues_and_refuses_short_answers(siblings: dict[str, Path], tmp_path: Path):
    folder, got = siblings["tree"], tmp_path / "got"
    writable(folder)
    good = (folder / RUNS[1]).read_bytes()
    write(folder / RUNS[1], good[:100])
    with served(folder) as address:
        first = get_dataset(address, got)
        assert not first.ok and first.failed[0].startswith(RUNS[1]) and not (got / RUNS[1]).exists()
        write(folder / RUNS[1], good)
        second = get_dataset(address, got)
    assert second.ok and second.n_fetched == 1 and verify_dataset(got).ok


@pytest.mark.slow
def test_publishing_again_brings_the_next_version(saved: Path, siblings: dict[str, Path], tmp_path: Path):
    places = {kind: tmp_path / "new" / kind for kind in ("directory", "tree", "web")}
    for kind, place in places.items():
        publish_dataset(saved, kind, place, search=UNNAMED)
    write(saved / RUNS[0], b"measured again")
    with pytest.raises(ReleaseKitError, match="1 unsaved change"):
        publish_dataset(saved, "tree", places["tree"], search=UNNAMED)
    save_version(saved, version="2.0.0", author="A <a@example.org>", everything=True, date="2026-11-23")
    for kind, place in places.items():
        report = publish_dataset(saved, kind, place, search=UNNAMED)
        assert report.version == "2.0.0"
        proof = verify_reference(report.ref)
        assert proof.ok and proof.version == "2.0.0", proof.findings
    got = get_dataset(str(places["directory"]), tmp_path / "old", version="1.0.0")
    assert got.ok and len((tmp_path / "old" / RUNS[0]).read_bytes()) == 4000
    assert verify_dataset(tmp_path / "old").version == "1.0.0"


def test_an_older_download_gets_a_version_that_came_after_it(saved: Path, tmp_path: Path):
    got, there = tmp_path / "got", tmp_path / "there"
    publish_dataset(saved, "directory", there, search=UNNAMED)
    get_dataset(str(there), got, levels=["story"])
    write(saved / RUNS[0], b"measured again")
    save_version(saved, version="2.0.0", author="A <a@example.org>", everything=True, date="2026-11-23")
    publish_dataset(saved, "directory", there, search=UNNAMED)
    assert get_dataset(str(there), got).version == "1.0.0", "nobody asked for another"
    assert get_dataset(str(there), got, version="2.0.0").version == "2.0.0"
    assert (got / RUNS[0]).read_bytes() == b"measured again" and verify_dataset(got).ok
    with pytest.raises(UsageError, match=r"no version '3\.0\.0'; versions: 1\.0\.0, 2\.0\.0"):
        get_dataset(str(there), got, version="3.0.0")


def test_proof_of_a_reference_says_where_it_downloads_and_asks_for_room_first(
    siblings_once: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    events: list[dict] = []
    tree, place = str(siblings_once["tree"]), tmp_path / "scratch"
    assert verify_reference(tree, scratch=place, on_event=events.append).ok
    told = [event for event in events if event["event"] == "download"]
    assert [event["folder"] for event in told] == [str(place)] and told[0]["size_bytes"] > 16000
    assert os.listdir(place) == []
    free = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda where: free._replace(free=1000))
    with pytest.raises(ReleaseKitError, match=rf"^{place}: the download takes 0\.0 MB.* --dir .*TMPDIR"):
        verify_reference(tree, scratch=place)
    assert os.listdir(place) == []


def test_place_that_holds_something_else_is_not_published_to(saved: Path, tmp_path: Path):
    write(tmp_path / "full" / "mine.txt", b"mine")
    for kind in ("tree", "web"):
        with pytest.raises(ReleaseKitError, match="is not empty"):
            publish_dataset(saved, kind, tmp_path / "full", search=UNNAMED)
    publish_dataset(saved, "tree", tmp_path / "place", search=UNNAMED)
    with pytest.raises(ReleaseKitError, match=r"the sibling 'tree' lies at .*--name tree2"):
        publish_dataset(saved, "tree", tmp_path / "other")
    with pytest.raises(UsageError, match="inside the dataset"):
        publish_dataset(saved, "tree", saved / "copy")
    with pytest.raises(UsageError, match="no kind"):
        publish_dataset(saved, "cloud", tmp_path / "x")
    with pytest.raises(ReleaseKitError, match="save it first"):
        publish_dataset(tmp_path / "full", "tree", tmp_path / "y")
    assert os.listdir(tmp_path / "full") == ["mine.txt"] and not (tmp_path / "other").exists()


def test_plain_git_annex_can_use_the_remote_of_a_directory_clone(siblings: dict[str, Path], tmp_path: Path):
    """git-annex asks whether an enabled remote is the right one before it lets it be used; ``get`` has answered."""
    got = tmp_path / "got"
    get_dataset(str(siblings["directory"]), got, levels=["story"])
    git(got, "git-annex!", "get", RUNS[0])
    assert (got / RUNS[0]).is_file()
    git(got, "git-annex!", "fsck", RUNS[0])


@pytest.mark.slow
def test_plain_datalad_can_clone_get_and_fsck_every_sibling(siblings: dict[str, Path], tmp_path: Path):
    for ref in (f"ria+file://{siblings['ria']}#~films", str(siblings["web"])):
        got = tmp_path / f"got-{len(ref)}"
        git(tmp_path, "datalad!", "clone", ref, str(got))
        git(got, "datalad!", "get", ".")
        git(got, "git-annex!", "fsck")
        assert verify_dataset(got, complete=True).ok


def test_local_addresses_are_allowed_only_where_one_was_named():
    from release_kit.bids.versioning.sources import Reference

    def settings(base: str) -> dict[str, str]:
        return Reference(text=base, kind="git", base=base).settings

    assert settings("http://127.0.0.1:8000/x") == {"annex.security.allowed-ip-addresses": "127.0.0.1"}
    assert settings("http://[::1]:8000/x") == {"annex.security.allowed-ip-addresses": "::1"}
    assert settings("https://data.example.org/x") == {} == settings("/folder")


def test_places_of_contents_are_those_of_git_annex(saved_once: Path):
    for number in range(8):
        text = f"SHA256E-s{number}--{number:064x}.nii.gz"
        told = git(saved_once, "git-annex!", "examinekey", "--format=${hashdirmixed} ${hashdirlower}", text).split()
        assert [place.split("SHA")[0] for place in object_places(parse_key(text))[-2:]] == told


def test_leaving_a_clone_out_of_the_way_when_it_fails(siblings: dict[str, Path], tmp_path: Path):
    shutil.rmtree(copied(siblings["directory"], tmp_path / "broken") / "dataset.git" / "refs")
    with pytest.raises(ReleaseKitError):
        get_dataset(str(tmp_path / "broken"), tmp_path / "got")
    assert not (tmp_path / "got").exists() and not list(tmp_path.glob(".rk-tmp*"))
