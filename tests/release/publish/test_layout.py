"""Where files go and what it costs, decided without a Hub."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import PublishError
from release_kit.core.manifest import CellEntry, FileEntry, Manifest
from release_kit.core.study import LAYOUTS
from release_kit.hub.pacing import TIERS
from release_kit.release.publish.cost import count_requests, least_seconds, limit_notes, plan_to_dict
from release_kit.release.publish.layout import (
    COMMIT_FILES,
    COMMIT_INLINE_BYTES,
    choose_layout,
    iter_parts,
    plan_publish,
)


def entry(path: str, size: int = 100, seed: object = 0) -> FileEntry:
    """Return an entry with made-up digests."""
    source = random.Random(f"{path}{size}{seed}")
    digits = "".join(source.choices("0123456789abcdef", k=104))
    return FileEntry(path=path, size_bytes=size, sha256=digits[:64], git_sha1=digits[64:])


def release(n_cells: int, *, kind: str = "adapter", version: str = "1.0.0", **changes) -> Manifest:
    """Return a manifest of ``n_cells`` cells with a card and, but for results-only ones, weights."""
    cells = []
    for n in range(n_cells):
        files = [entry("README.md", seed=n)]
        if kind != "results-only":
            files += [entry("adapter_config.json", seed=n), entry("adapter_model.safetensors", 50_000, n)]
        cells.append(
            CellEntry(cell_id=f"{n:012x}", name=f"cell-{n}", levels={"seed": n}, kind=kind, files=tuple(files))
        )
    index, results = (entry("README.md"),), (entry("README.md"), entry("results.parquet", 3000))
    manifest = Manifest(study="study", version=version, cells=tuple(cells), index=index, results=results)
    return replace(manifest, **changes)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(n_cells=st.integers(1, 30))
def test_every_file_of_the_manifest_has_exactly_one_place(layout, n_cells):
    manifest = release(n_cells)
    plan = plan_publish(manifest, namespace="lab", layout=layout)
    places = [(target.repo, target.branch, file.path) for target in plan.targets for file in target.files]
    assert len(set(places)) == len(places)
    trees = sorted(file.tree_path for file in plan.iter_files())
    assert trees == sorted(path for path, _ in manifest.iter_files())
    assert sum(len(target.cells) for target in plan.cell_targets) == n_cells


@given(n_cells=st.integers(1, 40), seed=st.integers())
def test_plan_does_not_depend_on_the_order_of_cells(n_cells, seed):
    manifest = release(n_cells)
    shuffled = list(manifest.cells)
    random.Random(seed).shuffle(shuffled)
    first = plan_to_dict(plan_publish(manifest, namespace="lab", layout="repos"))
    other = replace(manifest, cells=tuple(shuffled))
    second = plan_to_dict(plan_publish(other, namespace="lab", layout="repos"))
    first["repos"], second["repos"] = sorted(first["repos"]), sorted(second["repos"])
    assert first == second


@given(sizes=st.lists(st.tuples(st.integers(0, 9_000_000), st.booleans()), max_size=60))
def test_commits_of_a_shared_branch_are_bounded_and_hold_everything_once(sizes):
    files = tuple(entry(f"{n}.{'safetensors' if large else 'json'}", size) for n, (size, large) in enumerate(sizes))
    cell = CellEntry(cell_id="0" * 12, name="c", levels={}, kind="weights", files=files)
    plan = plan_publish(release(1, cells=(cell,)), namespace="lab", layout="folders")
    (target,) = plan.cell_targets
    parts = list(iter_parts(target.files))
    assert [file for part in parts for file in part] == list(target.files)
    for part in parts:
        inline = sum(f.entry.size_bytes for f in part if f.path.endswith("json"))
        assert len(part) <= COMMIT_FILES and (len(part) == 1 or inline <= COMMIT_INLINE_BYTES)


@pytest.mark.parametrize(
    ("manifest", "layout", "reason"),
    [
        (release(3), "repos", "each gets a repo"),
        (release(1000), "folders", "128 commits an hour"),
        (release(1027, kind="results-only"), "folders", "cells without weights"),
        (release(10_001), "branches", "10000 entries"),
    ],
)
def test_the_default_layout_fits_and_says_why(manifest, layout, reason):
    assert choose_layout(manifest)[0] == layout
    assert reason in choose_layout(manifest)[1]
    assert plan_publish(manifest, namespace="lab").layout == layout


def test_thousand_cells_cost_what_the_layouts_are_known_for():
    requests = {layout: plan_publish(release(1000), namespace="lab", layout=layout) for layout in LAYOUTS}
    assert requests["repos"].n_commits == requests["branches"].n_commits == 1002
    assert requests["folders"].n_commits == 5
    assert len(requests["repos"].repos) == 1002
    assert len(requests["folders"].repos) == len(requests["branches"].repos) == 2
    assert any("128 an hour" in note for note in limit_notes(requests["repos"]))
    assert any("make in a day" in note for note in limit_notes(requests["repos"]))
    assert limit_notes(requests["folders"]) == []
    for plan in requests.values():
        seconds = least_seconds(plan)
        assert seconds.keys() == TIERS.keys()
        assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    assert least_seconds(requests["repos"])["free"] > least_seconds(requests["folders"])["free"]


@pytest.mark.parametrize(
    ("manifest", "namespace", "said"),
    [
        (release(1), "bad--name", "the account 'bad--name' holds '--'"),
        (release(1), "-lab", "begins or ends with"),
        (release(1, study="a..b"), "lab", "the study 'a..b'"),
        (release(1, study="s" * 90), "lab", "the results repo"),
        (release(1, version="1 0"), "lab", "cannot be a tag"),
        (release(0), "lab", "no cells"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_before_anything_is_sent(manifest, namespace, said):
    with pytest.raises(PublishError, match=said):
        plan_publish(manifest, namespace=namespace)


def test_every_bad_name_is_listed_at_once():
    cells = tuple(replace(cell, name=f"bad--{cell.name}") for cell in release(3).cells)
    with pytest.raises(PublishError, match=r"^4 things .*cell-0.*cell-1.*cell-2"):
        plan_publish(release(3, cells=cells), namespace="no/slash")


def test_too_many_cells_for_one_folder_are_refused_and_huge_files_too():
    with pytest.raises(PublishError, match="do not fit in one folder"):
        plan_publish(release(10_001), namespace="lab", layout="folders")
    cell = release(1).cells[0]
    huge = replace(cell, files=(entry("x.safetensors", 501 * 10**9),))
    with pytest.raises(PublishError, match="larger than 500 GB"):
        plan_publish(release(1, cells=(huge,)), namespace="lab")


def test_unknown_layout_is_refused():
    with pytest.raises(PublishError, match="is not a layout"):
        plan_publish(release(1), namespace="lab", layout="piles")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plan_promises_at_least_the_requests_that_are_made(hub, built, publish, layout):
    report = publish(built, layout)
    promised = sum(count_requests(report.plan).values())
    assert promised >= report.n_requests >= 0.6 * promised
    assert report.n_commits == report.plan.n_commits
