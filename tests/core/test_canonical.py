"""Canonical JSON: one value, one byte string; strict reading."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core import canonical
from release_kit.core.errors import RecordError

NO_SURROGATES = st.characters(exclude_categories=["Cs"])
TEXT = st.text(NO_SURROGATES)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_reading_gives_back_what_was_written(value):
    assert canonical.parse_json(canonical.canonical_bytes(value), "x") == value
    assert canonical.parse_json(canonical.document_bytes(value), "x") == value


@given(st.dictionaries(TEXT, VALUES, max_size=6), st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_the_order_of_keys(value, random):
    keys = list(value)
    random.shuffle(keys)
    shuffled = {key: value[key] for key in keys}
    assert canonical.canonical_bytes(shuffled) == canonical.canonical_bytes(value)
    assert canonical.digest(shuffled) == hashlib.sha256(canonical.canonical_bytes(value)).hexdigest()


@given(VALUES)
def test_canonical_bytes_are_what_the_standard_library_writes(value):
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert canonical.canonical_bytes(value) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}, {1, 2}, b"x"])
def test_what_has_no_json_form_is_refused(value):
    for write in (canonical.canonical_bytes, canonical.document_bytes):
        with pytest.raises(RecordError, match="JSON form"):
            write(value)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[1, -Infinity]", "-Infinity is not JSON"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_broken_json_is_refused_with_its_place(data, part):
    with pytest.raises(RecordError) as caught:
        canonical.parse_json(data, "cells/a/cell.json")
    assert part in str(caught.value)
    assert str(caught.value).startswith("cells/a/cell.json: ")


def test_a_missing_file_is_a_record_error(tmp_path):
    with pytest.raises(RecordError, match="No such file"):
        canonical.read_json(tmp_path / "none.json")
    with pytest.raises(RecordError, match="Is a directory"):
        canonical.read_json(tmp_path)
