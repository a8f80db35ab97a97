"""Headers of safetensors: what the reference library writes is read, everything malformed is named."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from release_kit.core.errors import ArtifactError
from release_kit.core.safetensors import BITS, parse_header, read_header

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
DTYPES = st.sampled_from(["float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda n: n != "__metadata__"),
                       st.tuples(DTYPES, SHAPES), max_size=6))  # fmt: skip
@settings(max_examples=40)
def test_files_of_the_reference_library_are_read(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("tensors") / "model.safetensors"
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in tensors.items()}
    save_file(arrays, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {span.name: span.shape for span in header.spans} == {name: a.shape for name, a in arrays.items()}
    assert {span.name: span.end - span.start for span in header.spans} == {n: a.nbytes for n, a in arrays.items()}
    assert header.metadata == {"format": "pt"}
    assert all(BITS[span.dtype] == 8 * arrays[span.name].itemsize for span in header.spans)


def encoded(entries) -> bytes:
    return entries if isinstance(entries, bytes) else json.dumps(entries).encode()


GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}

MALFORMED = [
    (b"{", 8, "not valid JSON"),
    (b"[]", 0, "not a mapping"),
    (b'{"a": 1, "a": 2}', 8, "not valid JSON"),
    (b'{"a": NaN}', 8, "not valid JSON"),
    ({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, 8, "unknown type 'F99'"),
    ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, 8, "needs 12 bytes, has 8"),
    ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": None, "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [2**64], "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [9] * 65, "data_offsets": [0, 8]}}, 8, "malformed"),
    ({"a": {"dtype": "F32", "shape": [2**63] * 64, "data_offsets": [0, 8]}}, 8, "needs more than 2^64 bytes"),
    ({"a": [1, 2]}, 8, "malformed"),
    ({"__metadata__": [1], **GOOD}, 8, "__metadata__"),
    ({"__metadata__": {"format": 1}, **GOOD}, 8, "__metadata__"),
    ({**GOOD, "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}, 8, "overlap others or leave a hole"),
    ({**GOOD, "b": {"dtype": "U8", "shape": [4], "data_offsets": [12, 16]}}, 16, "overlap others or leave a hole"),
    (GOOD, 4, "truncated"),
    (GOOD, 12, "followed by foreign bytes"),
    ({"a": {"dtype": "U8", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}, 8, "needs"),
]


@pytest.mark.parametrize(("entries", "n_data", "part"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_headers_are_named(entries, n_data, part, tmp_path):
    raw = encoded(entries)
    with pytest.raises(ArtifactError) as caught:
        parse_header(raw, 8 + len(raw) + n_data, "m.safetensors")
    assert part in str(caught.value)
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * n_data)
    with pytest.raises(ArtifactError) as caught:
        read_header(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 1000) + b"{}", struct.pack("<Q", 2**63) + b"{}"])
def test_files_too_short_for_their_header_are_truncated(data, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="truncated"):
        read_header(path)


@given(st.binary(max_size=200))
def test_random_bytes_give_a_sentence_and_never_a_traceback(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    for raw in (data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(raw)
        with pytest.raises(ArtifactError):
            read_header(path)


def test_a_missing_file_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="No such file"):
        read_header(tmp_path / "none.safetensors")


def test_an_empty_set_of_tensors_is_well_formed():
    assert parse_header(b"{}", 10, "m").spans == ()


def test_empty_tensors_share_a_position():
    entries = {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in "ab"} | {
        "c": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    }
    raw = json.dumps(entries).encode()
    assert [span.name for span in parse_header(raw, 16 + len(raw), "m").spans] == ["a", "b", "c"]
