"""Repair of folders, caches and studies: only what is bad is fetched, and nothing is lost."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_by_hand import publish_by_hand
from release_factory import TinyRelease, make_release

from release_kit.core.digest_cache import DigestCache
from release_kit.core.errors import UsageError
from release_kit.core.study import LAYOUTS
from release_kit.hub.client import HubClient
from release_kit.hub.reference import parse_reference
from release_kit.hub.server import Fault, LocalHub
from release_kit.release.download.release import DownloadOptions, download_release
from release_kit.release.download.source import RemoteRelease, open_remote
from release_kit.release.verify.remote import verify_remote
from release_kit.release.verify.repair import needs_hub, recorded_source, reference_of, repair, repair_manifest
from release_kit.release.verify.run import Inspection, VerifyOptions, inspect, verify_folder

WEIGHTS = "cells/lima-s0/model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as running:
        yield running


def codes(report) -> list[tuple[str, str]]:
    return [(difference.code, difference.where) for difference in report.differences]


def remote(reference: str, **options):
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client:
        return verify_remote(client, open_remote(client, parsed), **options)


def download(reference: str, folder: Path, **options) -> Path:
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client:
        return download_release(client, parsed, folder, DownloadOptions(**options)).folder


def look(folder: Path, **options) -> Inspection:
    return inspect(folder, VerifyOptions(**options))


def mend(inspection: Inspection, reference: str | None):
    if reference is None:
        return repair(inspection)
    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client:
        release: RemoteRelease = open_remote(client, parsed)
        return repair(inspection, release, client)


def damage(folder: Path) -> None:
    """One of each kind."""
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (folder / "cells/lima-s1/config.json").unlink()
    (folder / "cells/alpaca-s0/cell.json").rename(folder / "cells/alpaca-s0/cell.json.old")
    one, two = (folder / f"cells/{name}/README.md" for name in ("alpaca-s0", "alpaca-s1"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    (folder / "index" / "stray.txt").write_text("not of the release")


def test_repair_fetches_only_what_is_bad_and_keeps_the_old_files(
    hub: LocalHub, release: TinyRelease, tmp_path: Path
) -> None:
    reference = publish_by_hand(hub.endpoint, release)
    copy = download(reference, tmp_path / "copy")
    damage(copy)
    damaged = (copy / WEIGHTS).read_bytes()
    inspection = look(copy)
    assert needs_hub(inspection)
    hub.clear_requests()
    report = mend(inspection, reference)
    asked = [r.path.rsplit("/", 1)[-1] for r in hub.requests if "/resolve/" in r.path]
    assert sorted(asked) == [
        "config.json", "manifest.json", "manifest.sigstore.json", "model.safetensors", "placement.json",
    ]  # fmt: skip
    assert (report.outcome.n_fetched, report.outcome.n_copied) == (2, 3)
    assert report.put_aside == ("cells/alpaca-s0/cell.json.old", "index/stray.txt")
    assert (report.quarantine / WEIGHTS).read_bytes() == damaged
    assert (report.quarantine / "extra" / "index" / "stray.txt").read_text() == "not of the release"
    assert verify_folder(copy).ok


def test_what_is_on_this_disk_needs_no_hub(copy: Path) -> None:
    one, two = copy / WEIGHTS, copy / "cells/lima-s1/model.safetensors"
    one.rename(copy / "held")
    two.rename(one)
    (copy / "held").rename(two)
    (copy / "cells/lima-s0/config.json").rename(copy / "config.json")
    inspection = look(copy)
    assert not needs_hub(inspection)
    report = mend(inspection, None)
    assert (report.outcome.n_fetched, report.outcome.n_copied) == (0, 3)
    assert verify_folder(copy).ok


def test_a_repair_without_a_source_names_the_option(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    with pytest.raises(UsageError, match="--repair --from"):
        mend(look(copy), None)


def test_a_repair_from_another_release_is_refused(hub: LocalHub, copy: Path, tmp_path: Path) -> None:
    reference = publish_by_hand(hub.endpoint, make_release(tmp_path / "other", version="2.0.0"))
    (copy / WEIGHTS).unlink()
    with pytest.raises(UsageError, match=r"is tiny 2\.0\.0"):
        mend(look(copy), reference)
    assert not (copy / WEIGHTS).exists()


def test_a_repair_that_gets_wrong_bytes_changes_nothing(hub: LocalHub, release: TinyRelease, tmp_path: Path) -> None:
    reference = publish_by_hand(hub.endpoint, release)
    copy = download(reference, tmp_path / "copy")
    damaged = (copy / WEIGHTS).read_bytes()[:-1] + b"?"
    (copy / WEIGHTS).write_bytes(damaged)
    hub.set_faults([Fault(kind="corrupt-body", path=r"model\.safetensors")])
    with pytest.raises(Exception, match="the Hub sends wrong content"):
        mend(look(copy), reference)
    assert (copy / WEIGHTS).read_bytes() == damaged
    hub.clear_faults()
    mend(look(copy), reference)
    assert verify_folder(copy).ok


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_cache_is_repaired_through_its_links(
    hub: LocalHub, release: TinyRelease, tmp_path: Path, layout: str
) -> None:
    reference = publish_by_hand(hub.endpoint, release, layout)
    snapshot = download(reference, tmp_path / "cache", into_cache=True)
    scope = look(snapshot).opened.scope
    weights, config, card = (
        scope.locate(f"cells/lima-s0/{name}") for name in ("model.safetensors", "config.json", "README.md")
    )
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    config.unlink()
    config.symlink_to(card.resolve())
    card.unlink()
    found = {where.rsplit("/", 1)[-1]: code for code, where in codes(verify_folder(snapshot))}
    assert found == {"model.safetensors": "changed", "config.json": "mislabelled", "README.md": "missing"}
    mend(look(snapshot), reference)
    assert verify_folder(snapshot).ok
    assert weights.is_symlink() and config.is_symlink() and card.is_symlink()
    assert weights.resolve() == blob


def test_a_damaged_manifest_is_fetched_again_when_it_is_the_same(
    hub: LocalHub, release: TinyRelease, tmp_path: Path
) -> None:
    copy = download(publish_by_hand(hub.endpoint, release), tmp_path / "copy")
    (copy / "manifest.json").write_bytes(b"{")
    (copy / "placement.json").unlink()
    selection = recorded_source(copy)
    assert selection is not None
    with HubClient(reference_of(selection).endpoint) as client:
        assert repair_manifest(copy, client, selection)
        assert not repair_manifest(copy, client, selection)
    assert verify_folder(copy).ok


def test_an_interrupted_repair_is_finished_by_the_next(hub: LocalHub, release: TinyRelease, tmp_path: Path) -> None:
    reference = publish_by_hand(hub.endpoint, release)
    copy = download(reference, tmp_path / "copy")
    for path in copy.glob("cells/*/model.safetensors"):
        path.write_bytes(b"damaged")
    hub.set_faults(
        [Fault(kind="delete-file", path=r"lima-s0/resolve/\w+/model\.safetensors", place="content", nth=(1,))]
    )
    with pytest.raises(Exception, match="lima-s0"):
        mend(look(copy), reference)
    assert codes(verify_folder(copy)) == [("changed", WEIGHTS)]
    with DigestCache(None) as cache:
        assert not verify_folder(copy, cache=cache).ok


def test_folder_of_a_study_is_repaired_with_a_named_source(hub: LocalHub, tmp_path: Path, make_study: Callable) -> None:
    from release_kit.release.build import build_release
    from release_kit.release.publish.run import PublishOptions, publish_release
    from release_kit.release.tree import open_tree

    study = make_study(datasets=("lima",), seeds=(0,))
    build_release(study)
    with HubClient(hub.endpoint) as client:
        publish_release(open_tree(study.folder), client, PublishOptions(namespace="lab", layout="repos"))
    [weights] = sorted(study.folder.glob("cells/*/model/model.safetensors"))
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"?")
    mend(look(study.folder), f"{hub.endpoint}/lab/tiny-grid@v1.0.0")
    assert weights.read_bytes() == good
    assert verify_folder(study.folder).ok
