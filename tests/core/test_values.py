"""The scan of tensor values: equal to numpy's answer, wherever the blocks end."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from release_kit.core.hashing import BLOCK_BYTES, hash_file
from release_kit.core.values import ValueScan

CODES = {"float16": "F16", "float32": "F32", "float64": "F64"}
FLOATS = st.sampled_from(list(CODES)).flatmap(lambda kind: st_numpy.arrays(kind, st.integers(0, 40)))


def scan(dtype: str, data: bytes, cuts) -> ValueScan:
    found = ValueScan(dtype)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        found.update(memoryview(data)[start:end])
    return found


@given(FLOATS, st.lists(st.integers(0, 320), max_size=6))
def test_counts_are_those_of_numpy_however_the_bytes_are_cut(values, cuts):
    found = scan(CODES[values.dtype.name], values.tobytes(), cuts)
    assert found.n_nonfinite == np.count_nonzero(~np.isfinite(values))
    assert found.zero == (not any(values.tobytes()))


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=4))
def test_other_types_are_only_looked_at_for_zeros(data, cuts):
    found = scan("I8", data, cuts)
    assert (found.zero, found.n_nonfinite) == (not any(data), 0)


def test_bfloat16_is_the_upper_half_of_float32():
    values = np.array([0, 1, np.nan, np.inf, -np.inf, 3e38, 1e-40], "float32")
    upper = (values.view("uint32") >> 16).astype("<u2").tobytes()
    for cut in range(len(upper)):
        assert scan("BF16", upper, [cut]).n_nonfinite == 3


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_a_nan_across_the_border_of_two_blocks_is_counted_once(tmp_path, offset):
    n_values = BLOCK_BYTES // 4 + 10
    values = np.ones(n_values, "<f4")
    values[(BLOCK_BYTES - offset) // 4] = np.nan
    spans = f'"a":{{"dtype":"U8","shape":[{offset}],"data_offsets":[0,{offset}]}},'
    spans += f'"b":{{"dtype":"F32","shape":[{n_values}],"data_offsets":[{offset},{offset + 4 * n_values}]}}'
    header = f"{{{spans}}}".encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1" * offset + values.tobytes())
    (tensor,) = (t for t in hash_file(path, values=True).tensors if t.name == "b")
    assert (tensor.n_nonfinite, tensor.zero) == (1, False)
