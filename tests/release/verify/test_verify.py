"""What verify covers: studies, single cells, tensors, roots, remembered digests, and what is not to be verified."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from release_factory import TinyRelease
from study_factory import read_tensors, write_safetensors
from verify_many import write_many

from release_kit.core.digest_cache import DigestCache
from release_kit.core.errors import RecordError, UsageError
from release_kit.core.study import Study
from release_kit.release.build import build_release
from release_kit.release.sign.keys import read_private_key, write_key_pair
from release_kit.release.sign.release import sign_release
from release_kit.release.verify.run import VerifyOptions, verify_folder

WEIGHTS = "cells/lima-s0/model.safetensors"


def codes(report) -> list[tuple[str, str]]:
    return [(difference.code, difference.where) for difference in report.differences]


def flip(path: Path, at: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_an_intact_copy_is_verified_and_every_byte_was_read(copy: Path, release: TinyRelease) -> None:
    report = verify_folder(copy)
    assert report.ok
    assert report.n_files == report.n_read == len(release.files)
    assert report.n_bytes == report.n_bytes_read == sum(map(len, release.files.values()))
    assert report.text().startswith("verified: 32 files of 4 cells")


def test_a_copy_that_was_moved_verifies_the_same(copy: Path, tmp_path: Path) -> None:
    before = verify_folder(copy).to_dict()
    shutil.move(copy, tmp_path / "moved")
    after = verify_folder(tmp_path / "moved").to_dict()
    assert before | {"target": ""} == after | {"target": ""}


def test_an_empty_folder_is_not_verified(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="holds no manifest"):
        verify_folder(tmp_path / "empty")
    with pytest.raises(RecordError, match="does not exist"):
        verify_folder(tmp_path / "nowhere")
    report = verify_folder(tmp_path / "empty", VerifyOptions(manifest=copy / "manifest.json", cell="lima-s0"))
    assert not report.ok
    assert [difference.code for difference in report.differences] == ["empty"]
    shutil.copy(copy / "manifest.json", tmp_path / "empty")
    report = verify_folder(tmp_path / "empty")
    assert not report.ok
    assert [difference.code for difference in report.differences] == ["empty"]


def test_a_manifest_that_was_changed_is_refused(copy: Path) -> None:
    path = copy / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"size_bytes":', '"size_bytes":1', 1))
    with pytest.raises(RecordError, match="`root` is"):
        verify_folder(copy)
    path.write_bytes(text.encode()[: len(text) // 2])
    with pytest.raises(RecordError, match="not valid JSON"):
        verify_folder(copy)


def test_the_root_digest_can_be_demanded(copy: Path, release: TinyRelease) -> None:
    root = release.manifest.root
    assert verify_folder(copy, VerifyOptions(expected_root=root)).ok
    assert verify_folder(copy, VerifyOptions(expected_root=root[:12].upper())).ok
    other = verify_folder(copy, VerifyOptions(expected_root="0" * 64))
    assert [difference.code for difference in other.differences] == ["manifest"]
    for text in ("", "ab", root[:11], "x" * 64):
        with pytest.raises(UsageError, match="is not a root digest"):
            verify_folder(copy, VerifyOptions(expected_root=text))


def test_a_signature_is_demanded_with_a_key(copy: Path, tmp_path: Path) -> None:
    public = write_key_pair(tmp_path / "ours", "ed25519")
    write_key_pair(tmp_path / "theirs", "ed25519")
    ours, theirs = (tmp_path / name / "public.pem" for name in ("ours", "theirs"))
    unsigned = verify_folder(copy, VerifyOptions(key=ours))
    assert [difference.code for difference in unsigned.differences] == ["signature"]
    sign_release(copy, read_private_key(tmp_path / "ours" / "private.pem"))
    signed = verify_folder(copy, VerifyOptions(key=ours))
    assert signed.ok
    assert signed.signed_by and public.fingerprint.startswith(signed.signed_by)
    wrong = verify_folder(copy, VerifyOptions(key=theirs))
    assert [difference.code for difference in wrong.differences] == ["signature"]


def test_one_cell_is_verified_alone_by_its_name_its_id_or_its_cell_file(
    copy: Path, release: TinyRelease, tmp_path: Path
) -> None:
    shutil.copytree(copy / "cells" / "lima-s0", tmp_path / "alone")
    cell = next(cell for cell in release.manifest.cells if cell.name == "lima-s0")
    manifest = copy / "manifest.json"
    for wish in (None, "lima-s0", cell.cell_id):
        report = verify_folder(tmp_path / "alone", VerifyOptions(manifest=manifest, cell=wish))
        assert report.ok
        assert (report.kind, report.n_files, report.not_downloaded) == ("cell", 7, ())
    assert verify_folder(copy, VerifyOptions(cell="lima-s0")).n_files == 7
    with pytest.raises(UsageError, match=r"no cell 'lima-s00'; did you mean 'lima-s0'"):
        verify_folder(copy, VerifyOptions(cell="lima-s00"))


def test_selected_cells_are_enough(copy: Path) -> None:
    shutil.rmtree(copy / "cells" / "alpaca-s0")
    shutil.rmtree(copy / "cells" / "alpaca-s1")
    assert {code for code, _ in codes(verify_folder(copy))} == {"missing"}
    assert verify_folder(copy, VerifyOptions(select=("dataset=lima",))).ok
    flip(copy / WEIGHTS)
    assert codes(verify_folder(copy, VerifyOptions(select=("dataset=lima",)))) == [("changed", WEIGHTS)]


def test_a_changed_weight_is_named_and_a_changed_header_is_told_apart(copy: Path) -> None:
    path = copy / WEIGHTS
    tensors = read_tensors(path)
    write_safetensors(path, tensors, {"note": "from another tool"})
    [header] = verify_folder(copy, VerifyOptions(tensors=True)).differences
    assert "only its header differs: all 4 tensors are as released" in header.what
    assert header.tensors == ()
    tensors["layer.2.weight"] = tensors["layer.2.weight"] + np.float32(1)
    write_safetensors(path, tensors)
    [weights] = verify_folder(copy, VerifyOptions(tensors=True)).differences
    assert "1 of 4 tensors differ (layer.2.weight)" in weights.what
    assert weights.tensors == ("layer.2.weight",)
    tensors["layer.9.weight"] = tensors.pop("layer.1.weight")
    tensors["layer.0.weight"] = tensors["layer.0.weight"].reshape(2, -1)
    write_safetensors(path, tensors)
    [several] = verify_folder(copy, VerifyOptions(tensors=True)).differences
    assert several.tensors == ("layer.2.weight", "layer.0.weight", "layer.1.weight", "layer.9.weight")


def test_a_truncated_file_says_that_its_tensors_cannot_be_told_apart(copy: Path) -> None:
    path = copy / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    [difference] = verify_folder(copy, VerifyOptions(tensors=True)).differences
    assert "truncated: expected" in difference.what
    assert "its tensors cannot be told apart" in difference.what


def test_damaged_tensor_records_are_said_and_never_trusted(copy: Path) -> None:
    flip(copy / WEIGHTS)
    record = copy / "cells" / "lima-s0" / "tensors.json"
    record.write_bytes(record.read_bytes().replace(b"layer.3", b"layer.4"))
    report = verify_folder(copy, VerifyOptions(tensors=True))
    assert codes(report) == [("changed", WEIGHTS), ("changed", "cells/lima-s0/tensors.json")]
    assert "tensors.json is damaged or gone, so that no tensor can be named" in report.differences[0].what
    tensors = read_tensors(copy / "cells" / "lima-s1" / "model.safetensors")
    write_safetensors(copy / "cells" / "lima-s1" / "model.safetensors", tensors, {"a": "b"})
    (copy / "cells" / "lima-s1" / "tensors.json").unlink()
    report = verify_folder(copy, VerifyOptions(tensors=True))
    assert any("only its header differs" in difference.what for difference in report.differences)


def test_remembered_digests_are_used_only_when_they_are_trusted(copy: Path, tmp_path: Path) -> None:
    with DigestCache(tmp_path / "digests.sqlite") as cache:
        assert verify_folder(copy, cache=cache).n_read == 32
        again = verify_folder(copy, VerifyOptions(trust_cache=True), cache=cache)
        assert (again.ok, again.n_read, again.n_bytes_read) == (True, 0, 0)
        assert verify_folder(copy, cache=cache).n_read == 32
        flip(copy / WEIGHTS)
        touched = verify_folder(copy, VerifyOptions(trust_cache=True), cache=cache)
        assert codes(touched) == [("changed", WEIGHTS)]
        assert touched.n_read == 1


def test_a_byte_changed_behind_the_timestamps_is_found_without_trust(copy: Path, tmp_path: Path) -> None:
    path = copy / WEIGHTS
    with DigestCache(tmp_path / "digests.sqlite") as cache:
        assert verify_folder(copy, cache=cache).ok
        stat = path.stat()
        flip(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert codes(verify_folder(copy, cache=cache)) == [("changed", WEIGHTS)]
        assert codes(verify_folder(copy, VerifyOptions(trust_cache=True), cache=cache)) == [("changed", WEIGHTS)]


def test_an_unreadable_file_hides_no_other(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    (copy / WEIGHTS).symlink_to(WEIGHTS.rsplit("/", 1)[1])
    flip(copy / "cells" / "lima-s1" / "config.json")
    (copy / "cells" / "alpaca-s0" / "config.json").unlink()
    os.mkfifo(copy / "cells" / "alpaca-s0" / "config.json")
    assert codes(verify_folder(copy)) == [
        ("missing", "cells/alpaca-s0/config.json"),
        ("missing", WEIGHTS),
        ("changed", "cells/lima-s1/config.json"),
    ]


def test_links_and_hard_links_count_as_their_content(copy: Path) -> None:
    first, second = (copy / "cells" / name / "tokenizer.json" for name in ("lima-s0", "lima-s1"))
    second.unlink()
    os.link(first, second)
    report = verify_folder(copy)
    assert report.ok
    assert report.n_read == 31
    moved = copy.parent / "elsewhere.safetensors"
    (copy / WEIGHTS).rename(moved)
    (copy / WEIGHTS).symlink_to(moved)
    assert verify_folder(copy).ok


@pytest.fixture
def built(make_study: Callable[..., Study]) -> Study:
    study = make_study(datasets=("lima",), seeds=(0,))
    build_release(study)
    return study


def test_a_built_study_is_verified_where_its_artifacts_lie(built: Study) -> None:
    report = verify_folder(built.folder, VerifyOptions(tensors=True))
    assert report.ok
    assert report.kind == "study"
    assert report.n_cells == 3
    [weights] = sorted(built.folder.glob("cells/*/model/model.safetensors"))
    flip(weights)
    (weights.parent / "stray.json").write_text("{}")
    (weights.parent / "optimizer.pt").write_text("left out of every release")
    [card] = built.folder.glob("release/cells/*full*/README.md")
    card.unlink()
    [evaluation] = sorted(weights.parent.parent.glob("eval/arc_tiny.json"))
    flip(evaluation)
    name = card.parent.name
    assert codes(verify_folder(built.folder)) == [
        ("missing", f"cells/{name}/README.md"),
        ("changed", f"cells/{name}/eval/arc_tiny.json"),
        ("changed", f"cells/{name}/model.safetensors"),
        ("extra", f"cells/{name}/stray.json"),
    ]


def test_a_study_that_is_not_built_names_the_command(make_study: Callable[..., Study]) -> None:
    study = make_study(datasets=("lima",), seeds=(0,))
    with pytest.raises(RecordError, match="release-kit build"):
        verify_folder(study.folder)


def test_a_cell_that_lost_its_record_is_missing_and_the_others_are_verified(built: Study) -> None:
    [weights] = sorted(built.folder.glob("cells/*/model/model.safetensors"))
    (weights.parent.parent / "cell.json").write_text("{")
    report = verify_folder(built.folder)
    assert {code for code, _ in codes(report)} == {"missing"}
    assert len({where.split("/")[1] for _, where in codes(report)}) == 1


def test_the_machine_form_holds_everything_that_the_text_says(copy: Path) -> None:
    flip(copy / WEIGHTS)
    value = json.loads(json.dumps(verify_folder(copy).to_dict()))
    assert value["ok"] is False
    [problem] = value["problems"]
    assert problem["code"] == "changed"
    assert problem["severity"] == "error"
    assert problem["where"] == WEIGHTS
    assert problem["what"] in verify_folder(copy).text()
    assert problem["next_step"] == "run again with --repair"


@pytest.mark.slow
def test_a_thousand_cells_that_nobody_touched_verify_in_two_seconds(tmp_path: Path) -> None:
    root = write_many(tmp_path / "copy", n_cells=1000)
    command = [sys.executable, "-m", "release_kit", "verify", str(root), "--json"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["n_read"] == 6004
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run([*command, "--trust-cache"], capture_output=True, check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads(done.stdout)
    print(f"1,000 cells, {report['n_files']} files, with --trust-cache: {seconds:.2f} s of CPU, {wall:.2f} s in all")
    assert (report["ok"], report["n_read"]) == (True, 0)
    assert seconds < 2, "counted in CPU seconds: other work on the machine does not make it fail"
