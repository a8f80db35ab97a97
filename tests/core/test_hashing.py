"""Digests: each byte read once, and every digest equal to what an independent tool says."""

import hashlib
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from study_factory import write_safetensors

from release_kit.core.errors import ArtifactError, IntegrityError
from release_kit.core.hashing import BLOCK_BYTES, GIT_LIMIT_BYTES, git_blob_sha1, hash_file, map_ordered, tensors_digest

SIZES = [0, 1, 7, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
def test_file_digests_are_those_of_hashlib_and_git(tmp_path, size):
    path = tmp_path / "data.bin"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    digest = hash_file(path)
    assert digest.size_bytes == size
    assert digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest.git_sha1 == git_blob_sha1(path.read_bytes())
    assert digest.tensors is None
    if shutil.which("git"):
        command = ["git", "hash-object", "--no-filters", str(path)]
        assert digest.git_sha1 == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_large_files_have_no_git_identity(tmp_path):
    path = tmp_path / "large.bin"
    with open(path, "wb") as stream:
        stream.truncate(GIT_LIMIT_BYTES + 1)
    assert hash_file(path).git_sha1 is None
    with open(path, "wb") as stream:
        stream.truncate(GIT_LIMIT_BYTES)
    assert hash_file(path).git_sha1 is not None
    assert hash_file(path, git=False).git_sha1 is None


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
        st.tuples(st.sampled_from(["float32", "float16", "int8", "int64"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
@settings(max_examples=40)
def test_tensor_digests_are_blake3_of_the_bytes_that_the_reference_library_loads(tmp_path_factory, tensors):
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    random = np.random.default_rng(len(tensors))
    save_file({n: np.asarray(random.normal(size=shape) * 9, kind) for n, (kind, shape) in tensors.items()}, path)
    digest = hash_file(path, values=True)
    loaded = load_file(path)
    assert {t.name: t.blake3 for t in digest.tensors} == {n: blake3(a.tobytes()).hexdigest() for n, a in loaded.items()}
    assert {t.name: t.n_bytes for t in digest.tensors} == {n: a.nbytes for n, a in loaded.items()}
    assert digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def raw_safetensors(path, sizes):
    """Write byte tensors of any sizes, so that spans begin and end anywhere in a block."""
    data, entries, position = np.random.default_rng(1).bytes(sum(sizes)), [], 0
    for index, size in enumerate(sizes):
        offsets = f"[{position},{position + size}]"
        entries.append(f'"t{index}":{{"dtype":"U8","shape":[{size}],"data_offsets":{offsets}}}')
        position += size
    header = ("{" + ",".join(entries) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return data


@pytest.mark.parametrize(
    "sizes",
    [
        [BLOCK_BYTES],
        [BLOCK_BYTES, BLOCK_BYTES],
        [BLOCK_BYTES - 13, 7, 0, 6, 1, BLOCK_BYTES + 5, 0],
        [0, 0, 3, 2 * BLOCK_BYTES + 11, 5],
        [1] * 300,
        [0, 0],
        [],
    ],
    ids=str,
)
def test_tensors_that_begin_and_end_anywhere_in_a_block(tmp_path, sizes):
    path = tmp_path / "m.safetensors"
    data = raw_safetensors(path, sizes)
    digest = hash_file(path)
    assert digest.problem is None
    position = 0
    found = {tensor.name: tensor for tensor in digest.tensors}
    for index, size in enumerate(sizes):
        assert found[f"t{index}"].blake3 == blake3(data[position : position + size]).hexdigest()
        position += size
    assert digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest.git_sha1 == git_blob_sha1(path.read_bytes())


def test_damaged_safetensors_keep_their_file_digest_and_say_why(tmp_path):
    path = tmp_path / "m.safetensors"
    raw_safetensors(path, [100, 200])
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"x", whole[:5], whole[:20], b"", whole.replace(b"U8", b"X8")):
        path.write_bytes(damaged)
        digest = hash_file(path)
        assert digest.tensors is None
        assert digest.problem
        assert (digest.size_bytes, digest.sha256) == (len(damaged), hashlib.sha256(damaged).hexdigest())


def test_digest_of_all_tensors_does_not_depend_on_header_or_order(tmp_path):
    tensors = {"b": np.ones((2, 3), "float32"), "a": np.zeros(4, "float32")}
    write_safetensors(tmp_path / "one.safetensors", tensors)
    write_safetensors(tmp_path / "two.safetensors", tensors, {"note": "another header"})
    save_file(dict(reversed(tensors.items())), tmp_path / "three.safetensors")
    files = [hash_file(tmp_path / f"{name}.safetensors") for name in ("one", "two", "three")]
    assert len({digest.sha256 for digest in files}) == 3
    assert len({tensors_digest(digest.tensors) for digest in files}) == 1
    assert tensors_digest(reversed(files[0].tensors)) == tensors_digest(files[0].tensors)
    write_safetensors(tmp_path / "four.safetensors", {**tensors, "a": np.zeros((2, 2), "float32")})
    assert tensors_digest(hash_file(tmp_path / "four.safetensors").tensors) != tensors_digest(files[0].tensors)


def test_zero_and_nonfinite_tensors_are_seen_in_the_same_read(tmp_path):
    wrong = np.ones(5, "float32")
    wrong[[1, 3]] = np.nan, -np.inf
    tensors = {"zero": np.zeros(3, "float32"), "wrong": wrong, "good": np.ones(2, "float16")}
    write_safetensors(tmp_path / "m.safetensors", {**tensors, "empty": np.zeros(0, "float32")})
    found = {t.name: (t.zero, t.n_nonfinite) for t in hash_file(tmp_path / "m.safetensors", values=True).tensors}
    assert found["zero"] == (True, 0)
    assert found["wrong"] == (False, 2)
    assert found["good"] == (False, 0)
    unseen = hash_file(tmp_path / "m.safetensors").tensors
    assert {(t.zero, t.n_nonfinite) for t in unseen} == {(None, None)}


def test_what_cannot_be_read_is_an_artifact_error(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match="cannot be read") as caught:
            hash_file(path)
        assert caught.value.where == str(path)


def test_a_file_that_is_not_as_long_as_it_says_is_refused():
    with pytest.raises(IntegrityError, match="changed while it was being read"):
        hash_file(Path("/proc/self/status"))


def test_ordered_map_keeps_the_order_and_uses_threads():
    both_there = threading.Barrier(2, timeout=20)
    assert list(map_ordered(lambda i: (both_there.wait(), i)[1], [0, 1], workers=2)) == [0, 1]
    assert list(map_ordered(lambda i: i * i, range(1000), workers=4)) == [i * i for i in range(1000)]
    assert list(map_ordered(lambda i: i, [], workers=3)) == []


def test_ordered_map_looks_only_a_bounded_way_ahead():
    taken = []
    outcomes = map_ordered(lambda i: i, (taken.append(i) or i for i in range(100_000)), workers=2)
    assert next(outcomes) == 0
    assert len(taken) < 1000
    outcomes.close()


def test_a_file_that_is_written_to_while_it_is_read_has_no_digest(tmp_path):
    path = tmp_path / "growing.bin"
    path.write_bytes(bytes(128 << 20))
    ended = threading.Event()

    def write():
        with open(path, "r+b", buffering=0) as stream:
            while not ended.is_set():
                stream.seek(0)
                stream.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(IntegrityError, match="changed while it was being read"):
            hash_file(path)
    finally:
        ended.set()
        writer.join()
