"""A download is what the manifest says, in every layout, and a second call asks for nothing that is here."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease, make_release

from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.study import LAYOUTS
from release_kit.hub.server import LocalHub
from release_kit.release.download.state import locked, read_selection, selection_path
from release_kit.release.verify.run import verify_folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return ``{path: content}`` of everything but local state."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".release_kit" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def contents(hub: LocalHub) -> list[str]:
    """Return the paths of files whose content was asked for."""
    return [record.path.split("/resolve/")[1].split("/", 1)[1] for record in hub.requests if "/resolve/" in record.path]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_files(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, layout: str, fetch: Callable
) -> None:
    report = fetch(publish_by_hand(hub.endpoint, release, layout), tmp_path / "copy")
    got = tree(tmp_path / "copy")
    assert {path: got[path] for path in release.files} == dict(release.files)
    assert set(got) - set(release.files) == {"manifest.json", "placement.json"}
    assert len(report.cells) == 4
    assert verify_folder(tmp_path / "copy").ok
    assert not list((tmp_path / "copy" / ".release_kit").glob("partial"))


def test_equal_content_is_fetched_once_and_empty_files_not_at_all(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    report = fetch(reference, tmp_path / "copy")
    asked = Counter(path.rsplit("/", 1)[-1] for path in contents(hub))
    assert asked["tokenizer.json"] == 1
    assert asked["empty.txt"] == 0
    assert asked["model.safetensors"] == 4
    assert report.outcome.n_copied == 6


def test_a_second_call_asks_only_what_the_tag_means(
    hub: LocalHub, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    first = fetch(reference, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")}
    hub.clear_requests()
    second = fetch(reference, tmp_path / "copy")
    assert [record.path for record in hub.requests] == ["/api/models/lab/tiny/revision/v1.0.0"]
    assert second.outcome.n_present == second.n_files == first.n_files
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")} == before


def test_a_second_call_at_a_commit_asks_nothing(hub: LocalHub, reference: str, tmp_path: Path, fetch: Callable) -> None:
    commit = fetch(reference, tmp_path / "first").release.commit
    pinned = f"{reference.partition('@')[0]}@{commit}"
    fetch(pinned, tmp_path / "copy")
    hub.clear_requests()
    fetch(pinned, tmp_path / "copy")
    assert hub.requests == []


def test_selected_cells_come_and_the_others_are_reported_as_not_downloaded(
    hub: LocalHub, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    report = fetch(reference, tmp_path / "copy", select=("dataset=lima", "seed=0"))
    assert report.cells == ("lima-s0",)
    assert {path.name for path in (tmp_path / "copy" / "cells").iterdir()} == {"lima-s0"}
    verified = verify_folder(tmp_path / "copy")
    assert verified.ok
    assert verified.not_downloaded == ("alpaca-s0", "alpaca-s1", "lima-s1")
    assert "not downloaded" in verified.text()


def test_a_file_lost_from_a_selected_cell_is_missing(reference: str, tmp_path: Path, fetch: Callable) -> None:
    fetch(reference, tmp_path / "copy", select=("dataset=lima",))
    (tmp_path / "copy" / "cells" / "lima-s0" / "config.json").unlink()
    (tmp_path / "copy" / "cells" / "lima-s1").rename(tmp_path / "elsewhere")
    report = verify_folder(tmp_path / "copy")
    codes = Counter(difference.code for difference in report.differences)
    assert codes == {"missing": 8}
    assert report.not_downloaded == ("alpaca-s0", "alpaca-s1")


def test_cells_selected_later_are_added(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    fetch(reference, tmp_path / "copy", select=("dataset=lima",))
    hub.clear_requests()
    report = fetch(reference, tmp_path / "copy", select=("dataset=alpaca", "seed=1"))
    assert report.cells == ("alpaca-s1", "lima-s0", "lima-s1")
    assert contents(hub).count("model.safetensors") == 1
    assert fetch(reference, tmp_path / "copy").cells == ("alpaca-s0", "alpaca-s1", "lima-s0", "lima-s1")
    assert fetch(reference, tmp_path / "copy", select=("seed=0",)).cells == (
        "alpaca-s0", "alpaca-s1", "lima-s0", "lima-s1",
    )  # fmt: skip
    assert verify_folder(tmp_path / "copy").not_downloaded == ()


@pytest.mark.parametrize("term", ["datset=lima", "dataset=limo", "dataset", "seed=7"])
def test_an_unknown_selection_is_refused_before_anything_is_written(
    reference: str, tmp_path: Path, fetch: Callable, term: str
) -> None:
    with pytest.raises(UsageError, match="--select"):
        fetch(reference, tmp_path / "copy", select=(term,))
    assert tree(tmp_path / "copy") == {}


def test_another_version_is_refused_and_with_update_shares_what_did_not_change(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    fetch(reference, tmp_path / "copy")
    newer = make_release(tmp_path / "newer", version="1.1.0", datasets=("lima", "tulu"))
    other = publish_by_hand(hub.endpoint, newer)
    with pytest.raises(UsageError, match=r"holds tiny 1\.0\.0; tiny 1\.1\.0 .* --update"):
        fetch(other, tmp_path / "copy")
    assert verify_folder(tmp_path / "copy").ok
    (tmp_path / "copy" / "cells" / "alpaca-s0" / "README.md").write_text("my notes\n")
    hub.clear_requests()
    report = fetch(other, tmp_path / "copy", update=True)
    assert sorted(set(contents(hub)) - {"manifest.json", "placement.json", "manifest.sigstore.json"}) == sorted(
        {"README.md", "cell.json", "config.json", "model.safetensors", "tensors.json"}
    )
    assert contents(hub).count("model.safetensors") == 2
    assert verify_folder(tmp_path / "copy").ok
    assert not (tmp_path / "copy" / "cells" / "alpaca-s0").exists()
    assert len(report.removed) == 14
    kept = [path for path in (tmp_path / "copy" / ".release_kit" / "quarantine").rglob("*") if path.is_file()]
    assert [path.read_text() for path in kept] == ["my notes\n"]


def test_a_folder_with_other_things_is_refused(reference: str, tmp_path: Path, fetch: Callable) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="holds other things"):
        fetch(reference, tmp_path / "full")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text("")
    with pytest.raises(UsageError, match="is a study"):
        fetch(reference, tmp_path / "study")
    with pytest.raises(UsageError, match="is not a folder"):
        fetch(reference, tmp_path / "full" / "thesis.tex")
    assert tree(tmp_path / "full") == {"thesis.tex": b"precious"}


def test_a_damaged_file_is_replaced_by_the_next_call_and_kept_aside(
    hub: LocalHub, release: TinyRelease, reference: str, tmp_path: Path, fetch: Callable
) -> None:
    fetch(reference, tmp_path / "copy")
    path = "cells/lima-s0/model.safetensors"
    damaged = release.files[path][:-1] + b"?"
    (tmp_path / "copy" / path).write_bytes(damaged)
    report = fetch(reference, tmp_path / "copy")
    assert report.outcome.replaced == (path,)
    assert (tmp_path / "copy" / path).read_bytes() == release.files[path]
    assert (tmp_path / "copy" / ".release_kit" / "quarantine" / "1" / path).read_bytes() == damaged


def test_two_downloads_into_one_folder_do_not_run_at_once(reference: str, tmp_path: Path, fetch: Callable) -> None:
    with locked(tmp_path / "copy"), pytest.raises(ReleaseKitError, match="another release-kit works on this folder"):
        fetch(reference, tmp_path / "copy")
    fetch(reference, tmp_path / "copy")
    assert verify_folder(tmp_path / "copy").ok


def test_the_selection_says_where_the_download_came_from(reference: str, tmp_path: Path, fetch: Callable) -> None:
    report = fetch(reference, tmp_path / "copy", select=("seed=1",))
    selection = read_selection(selection_path(tmp_path / "copy"))
    assert selection is not None
    assert (selection.repo_id, selection.revision, selection.commit) == ("lab/tiny", "v1.0.0", report.release.commit)
    assert selection.cells == ("alpaca-s1", "lima-s1")
    assert selection.complete
    assert type(selection).from_dict(selection.to_dict()) == selection
