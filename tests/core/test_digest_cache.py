"""Remembered digests: never wrong, only sometimes absent."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_factory import TinyShape, base_tensors, write_model

from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ArtifactError
from release_kit.core.hashing import FileDigest, hash_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_model(folder, base_tensors("a", TinyShape()), TinyShape())
    return folder / "model.safetensors"


def _digest(path: Path, database: Path | None, **options) -> tuple[FileDigest, bool]:
    read: list[Path] = []
    with DigestCache(database) as cache:
        [outcome] = digest_files([path], cache=cache, on_hashed=lambda p, _: read.append(p), **options)
    return outcome, bool(read)


def test_unchanged_file_is_read_once(model, tmp_path):
    first, read_first = _digest(model, tmp_path / "cache.sqlite", values=True)
    second, read_second = _digest(model, tmp_path / "cache.sqlite", values=True)
    assert read_first and not read_second
    assert second == first == hash_file(model, values=True)


def test_same_size_change_with_restored_mtime_is_seen(model, tmp_path):
    before, _ = _digest(model, tmp_path / "cache.sqlite")
    stat = model.stat()
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after, read = _digest(model, tmp_path / "cache.sqlite")
    assert read and after.sha256 != before.sha256


def test_more_detail_than_remembered_is_read_again(model, tmp_path):
    _digest(model, tmp_path / "cache.sqlite", tensors=False)
    with_tensors, read = _digest(model, tmp_path / "cache.sqlite", tensors=True)
    assert read and with_tensors.tensors
    with_values, read = _digest(model, tmp_path / "cache.sqlite", values=True)
    assert read and with_values.tensors[0].n_nonfinite == 0
    _, read = _digest(model, tmp_path / "cache.sqlite", tensors=False)
    assert not read


def test_change_right_after_hashing_is_seen(tmp_path):
    """Two writes inside one clock tick: the second must not be answered from memory."""
    path = tmp_path / "file"
    for round_number in range(30):
        path.write_bytes(b"a%03d" % round_number)
        first, _ = _digest(path, tmp_path / "cache.sqlite")
        path.write_bytes(b"b%03d" % round_number)
        second, _ = _digest(path, tmp_path / "cache.sqlite")
        assert second.sha256 != first.sha256 == hash_bytes(b"a%03d" % round_number)


def test_damaged_database_costs_only_time(model, tmp_path):
    (tmp_path / "cache.sqlite").write_bytes(b"not a database" * 1000)
    digest, read = _digest(model, tmp_path / "cache.sqlite")
    assert read and digest == hash_file(model)
    _, read = _digest(model, tmp_path / "cache.sqlite")
    assert not read


def test_unwritable_place_falls_back_to_memory(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    digest, read = _digest(model, tmp_path / "file" / "cache.sqlite")
    assert read and digest == hash_file(model)


def test_missing_file_is_reported_and_stops_nothing(model, tmp_path):
    outcomes = list(digest_files([tmp_path / "gone", model]))
    assert isinstance(outcomes[0], ArtifactError) and "gone" in str(outcomes[0])
    assert outcomes[1] == hash_file(model)


def test_database_of_another_version_is_started_anew(model, tmp_path):
    _digest(model, tmp_path / "cache.sqlite")
    with sqlite3.connect(tmp_path / "cache.sqlite") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    _, read = _digest(model, tmp_path / "cache.sqlite")
    assert read


@settings(max_examples=25, deadline=None)
@given(contents=st.lists(st.binary(max_size=3000), min_size=1, max_size=20), workers=st.integers(1, 4))
def test_outcomes_come_in_the_order_of_the_paths(tmp_path_factory, contents, workers):
    folder = tmp_path_factory.mktemp("order")
    paths = [folder / str(i) for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    outcomes = list(digest_files(paths, workers=workers))
    assert [outcome.sha256 for outcome in outcomes] == [hash_bytes(content) for content in contents]


def hash_bytes(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_two_runs_at_once_do_not_wait_for_each_other_and_both_are_remembered(tmp_path):
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(path.name.encode())
    database = tmp_path / "cache.sqlite"
    with DigestCache(database) as first:
        next(digest_files([paths[0]], cache=first))
        started_s = time.monotonic()
        assert _digest(paths[1], database)[1]
        assert time.monotonic() - started_s < 5
        assert not _digest(paths[1], database)[1]
    assert not _digest(paths[0], database)[1]


KILLED = """
import os, sys
from pathlib import Path
from release_kit.core import digest_cache
with digest_cache.DigestCache(Path(sys.argv[1])) as cache:
    for _ in digest_cache.digest_files([Path(name) for name in sys.argv[2:]], cache=cache, workers=1):
        pass
    os._exit(9)
"""


def test_a_killed_run_forgets_no_large_file_that_it_hashed(tmp_path):
    large = tmp_path / "large"
    with open(large, "wb") as stream:
        stream.truncate(65 << 20)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cache.sqlite"), str(large)]
    assert subprocess.run(command, check=False).returncode == 9
    assert not _digest(large, tmp_path / "cache.sqlite")[1]


def test_a_file_that_is_no_database_is_set_aside_and_not_lost(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work " * 100)
    _digest(model, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt.damaged").read_text() == "years of work " * 100


def test_tensors_are_digested_also_when_the_bytes_were_hashed_under_a_name_without_them(model, tmp_path):
    """As in the Hub's cache: the name of the weights is a link to a blob that is called by its digest."""
    blob = tmp_path / "blob"
    model.rename(blob)
    model.symlink_to(blob)
    _digest(blob, tmp_path / "cache.sqlite")
    digest, _ = _digest(model, tmp_path / "cache.sqlite")
    assert digest == hash_file(model) and digest.tensors
