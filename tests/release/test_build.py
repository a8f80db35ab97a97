"""Build: same inputs, same bytes; nothing read twice; interrupted anywhere, nothing lost."""

import hashlib
import json
import os
import shutil

import pytest
from killing import run_child

from release_kit.core.digest_cache import DigestCache
from release_kit.core.errors import ReleaseKitError, StudyError, UnsafePathError
from release_kit.core.files import exclusive
from release_kit.core.manifest import Manifest, read_manifest
from release_kit.core.results import Result, write_results
from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.tree import open_tree


def _snapshot(folder) -> dict[str, str]:
    """Return ``{path: sha256}`` of everything in a folder but local state."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".release_kit" not in path.parts
    }


def test_every_file_of_the_manifest_lies_where_the_tree_says_with_its_digest(make_study):
    study = make_study()
    build_release(study)
    tree = open_tree(study.folder)
    paths = [path for path, _ in tree.manifest.iter_files()]
    for path, entry in tree.manifest.iter_files():
        data = tree.locate(path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size_bytes, entry.sha256), path
    assert len(paths) == len(set(paths))
    assert {"index/README.md", "results/README.md", "results/results.parquet", "results/cells.parquet"} <= set(paths)


def test_every_cell_has_card_cell_record_tensors_and_its_evaluations(make_study):
    study = make_study()
    manifest = build_release(study).manifest
    assert len(manifest.cells) == 9
    for cell in manifest.cells:
        paths = {entry.path for entry in cell.files}
        assert {"README.md", "cell.json", "eval/arc_tiny.json"} <= paths
        assert ("tensors.json" in paths) == (cell.kind != "results-only")
    assert {cell.kind for cell in manifest.cells} == {"weights", "adapter", "results-only"}


def test_second_build_reads_no_artifact_and_writes_nothing(make_study, tmp_path):
    study = make_study()
    with DigestCache(tmp_path / "cache.sqlite") as cache:
        first = build_release(study, cache=cache)
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    with DigestCache(tmp_path / "cache.sqlite") as cache:
        second = build_release(study, cache=cache)
    assert first.n_hashed > 0 and second.n_hashed == 0 and second.written == () and second.removed == ()
    assert before == {path: path.stat().st_mtime_ns for path in study.folder.rglob("*") if path.is_file()}
    assert second.manifest == first.manifest


def test_release_is_the_same_bytes_wherever_the_study_lies(make_study, tmp_path):
    study = make_study()
    build_release(study)
    shutil.copytree(study.folder, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "release")
    build_release(read_study(tmp_path / "elsewhere"), workers=1)
    assert _snapshot(tmp_path / "elsewhere" / "release") == _snapshot(study.folder / "release")


def test_one_changed_result_changes_only_what_depends_on_it(make_study):
    study = make_study()
    before = build_release(study).manifest
    path = sorted(study.folder.glob("cells/*/eval/copa_tiny.json"))[0]
    value = json.loads(path.read_text())
    key = next(key for key in value["results"]["copa_tiny"] if key.startswith("acc,"))
    value["results"]["copa_tiny"][key] = 0.123456
    path.write_text(json.dumps(value))
    report = build_release(study)
    assert report.manifest.root != before.root
    assert "release/manifest.json" in report.written
    assert not any(name.endswith(("tensors.json", "cell.json")) for name in report.written)


def test_removed_cell_leaves_the_release(make_study):
    study = make_study()
    first = build_release(study).manifest
    gone = first.cells[0]
    shutil.rmtree(study.folder / "cells" / gone.cell_id)
    report = build_release(study)
    assert gone.name not in {cell.name for cell in report.manifest.cells} and report.n_missing == 1
    assert f"release/cells/{gone.name}/README.md" in report.removed
    assert not (study.folder / "release" / "cells" / gone.name).exists()


def test_manifest_on_disk_reads_back_equal(make_study):
    study = make_study()
    manifest = build_release(study).manifest
    assert read_manifest(study.folder) == manifest
    assert Manifest.from_dict(manifest.to_dict()) == manifest


def test_missing_artifact_folder_is_named_with_its_cell(make_study):
    study = make_study()
    folder = next(study.folder.glob("cells/*/model"))
    shutil.rmtree(folder)
    with pytest.raises(ReleaseKitError, match=f"cell {folder.parent.name} .*does not exist"):
        build_release(study)


def test_study_without_any_cell_says_what_to_do(make_study):
    study = make_study()
    shutil.rmtree(study.folder / "cells")
    with pytest.raises(StudyError, match="release-kit plan"):
        build_release(study)


def test_unwritable_release_is_refused_and_loses_nothing(make_study):
    study = make_study()
    (study.folder / "release").write_text("a file in the way")
    with pytest.raises(ReleaseKitError, match="cannot be written"):
        build_release(study)
    assert (study.folder / "release").read_text() == "a file in the way"


def _killed_builds(study, tmp_path, n_points: int) -> int:
    """Kill a build at ``n_points`` points spread over its run, resume each, compare; return how many were killed."""
    pristine = tmp_path / "pristine"
    shutil.copytree(study.folder, pristine)
    build_release(study)
    expected = _snapshot(study.folder)
    work = tmp_path / "work"

    def build() -> None:
        with DigestCache(work / ".release_kit" / "cache.sqlite") as cache:
            build_release(read_study(work), cache=cache)

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(pristine, work)

    fresh()
    outcome, n_operations = run_child(build)
    assert outcome == "done"
    killed = 0
    for point in sorted({1 + i * (n_operations - 1) // (n_points - 1) for i in range(n_points)}):
        fresh()
        outcome, _ = run_child(build, kill_at=point)
        assert outcome in ("killed", "done")
        killed += outcome == "killed"
        build()
        assert _snapshot(work) == expected, f"killed before operation {point} of {n_operations}"
    return killed


def test_build_killed_at_any_point_ends_in_the_same_bytes(make_study, tmp_path):
    study = make_study(seeds=(0,), datasets=("lima",))
    assert _killed_builds(study, tmp_path, n_points=8) >= 7


@pytest.mark.slow
def test_build_killed_at_sixty_points_ends_in_the_same_bytes(make_study, tmp_path, capsys):
    killed = _killed_builds(make_study(), tmp_path, n_points=60)
    with capsys.disabled():
        print(f"\nbuild: killed at {killed} points, every one resumed to the same bytes")
    assert killed >= 50


def test_temporary_files_of_a_killed_build_are_cleared(make_study):
    study = make_study()
    build_release(study)
    left = study.folder / "release" / "cells" / ".rk-tmp-README.md-abcd"
    left.write_text("half")
    build_release(study)
    assert not left.exists() and os.listdir(study.folder / "release" / "cells")


def test_card_with_a_hand_written_section_is_kept_aside_when_its_cell_goes(make_study):
    study = make_study()
    cell = build_release(study).manifest.cells[0]
    card = study.folder / "release" / "cells" / cell.name / "README.md"
    text = card.read_text()
    assert "<!-- release_kit:hand-written" in text
    shutil.rmtree(study.folder / "cells" / cell.cell_id)
    build_release(study)
    kept = study.folder / ".release_kit" / "removed" / "cells" / cell.name / "README.md"
    assert kept.read_text() == text


def test_a_card_kept_aside_earlier_is_not_overwritten(make_study):
    study = make_study()
    build_release(study)
    for text in ("first", "second"):
        stray = study.folder / "release" / "cells" / "gone" / "README.md"
        stray.parent.mkdir()
        stray.write_text(f"<!-- release_kit:hand-written notes -->{text}")
        build_release(study)
    kept = study.folder / ".release_kit" / "removed" / "cells" / "gone"
    assert [path.read_text()[-6:] for path in sorted(kept.iterdir())] == ["second", ">first"]


def test_a_signature_goes_only_when_the_manifest_changes(make_study):
    study = make_study()
    build_release(study)
    signature = study.folder / "release" / "manifest.sigstore.json"
    signature.write_text("{}")
    (study.folder / "release" / "index" / "README.md").unlink()
    report = build_release(study)
    assert report.written == ("release/index/README.md",) and report.removed == () and signature.exists()
    next(study.folder.glob("cells/*/model/config.json")).write_text("{}")
    assert build_release(study).removed == ("release/manifest.sigstore.json",)
    assert not signature.exists()


@pytest.mark.parametrize("name", [b"a\\b.txt", b"a\nb.txt", b"\xff.txt", b"c:d.txt"])
def test_a_file_whose_name_no_manifest_can_hold_is_refused_before_anything_is_written(make_study, name):
    study = make_study()
    before = _snapshot(build_release(study).manifest_path.parent)
    model = next(study.folder.glob("cells/*/model"))
    with open(os.path.join(os.fsencode(model), name), "wb") as stream:
        stream.write(b"x")
    with pytest.raises(ReleaseKitError, match=r"1 files cannot go into a release.*no plain relative path"):
        build_release(study)
    assert _snapshot(study.folder / "release") == before


def test_a_link_to_nothing_is_not_left_out_in_silence(make_study):
    study = make_study()
    model = next(study.folder.glob("cells/*/model"))
    (model / "sub").mkdir()
    (model / "sub" / "vocab.json").symlink_to("/nonexistent")
    with pytest.raises(ReleaseKitError, match=r"sub/vocab.json' is a symbolic link to nothing"):
        build_release(study)


def test_a_table_that_names_sources_outside_the_study_publishes_none_of_them(make_study, tmp_path):
    study = make_study()
    cell = build_release(study).manifest.cells[0]
    for folder in study.folder.glob("cells/*/eval"):
        shutil.rmtree(folder)
    row = Result(cell_id=cell.cell_id, benchmark="x", metric="acc", value=0.5, source="../secret.txt")
    write_results(study.folder / "tables" / "results.parquet", [row])
    (study.folder.parent / "secret.txt").write_text("secret")
    with pytest.raises(UnsafePathError, match="secret"):
        build_release(study)


def test_a_link_that_leaves_the_study_is_refused_with_where_it_leads(make_study, tmp_path):
    study = make_study()
    (tmp_path / "secret.txt").write_text("not part of the study")
    model = sorted(study.folder.glob("cells/*/model"))[0]
    (model / "notes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ReleaseKitError, match=r"notes.txt' is a symbolic link that leaves the study, to .*secret.txt"):
        build_release(study)


def test_a_link_inside_the_study_is_followed(make_study):
    study = make_study()
    (study.folder / "shared.json").write_text("{}")
    model = sorted(study.folder.glob("cells/*/model"))[0]
    (model / "shared.json").symlink_to(study.folder / "shared.json")
    paths = {path for path, _ in build_release(study).manifest.iter_files()}
    assert any(path.endswith("/shared.json") for path in paths)


def test_a_snapshot_of_the_clients_cache_is_an_artifact(make_study, tmp_path):
    study = make_study()
    cell = sorted(study.folder.glob("cells/*/model"))[0].parent
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "abc", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in (cell / "model").iterdir():
        (blobs / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(blobs / path.name)
    shutil.rmtree(cell / "model")
    (cell / "model").symlink_to(snapshot)
    assert len(build_release(study).manifest.cells) == 9


@pytest.mark.parametrize("kind", ["pipe", "folder link"])
def test_what_is_no_file_is_not_left_out_in_silence(make_study, tmp_path, kind):
    study = make_study()
    model = sorted(study.folder.glob("cells/*/model"))[0]
    if kind == "pipe":
        os.mkfifo(model / "odd")
    else:
        (model / "odd").symlink_to(tmp_path)
    with pytest.raises(ReleaseKitError, match=r"odd' is not a plain file"):
        build_release(study)


def test_an_artifact_that_would_hide_evaluations_is_refused(make_study):
    study = make_study()
    model = sorted(study.folder.glob("cells/*/model"))[0]
    (model / "eval").mkdir()
    (model / "eval" / "own.json").write_text("{}")
    with pytest.raises(ReleaseKitError, match="would hide the evaluations"):
        build_release(study)


def test_two_builds_of_one_study_do_not_meet(make_study):
    study = make_study()
    with exclusive(study.folder, "build"), pytest.raises(ReleaseKitError, match="another build is at work here"):
        build_release(study)
    assert build_release(study).manifest.cells
