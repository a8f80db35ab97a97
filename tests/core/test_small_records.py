"""Placement and tensors.json: round trips and strict reading. Errors: one sentence with place and next step."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_factory import write_safetensors

from release_kit.core.errors import MissingExtraError, RecordError, ReleaseKitError, StudyError
from release_kit.core.hashing import hash_file
from release_kit.core.placement import Place, Placement
from release_kit.core.records import Fields
from release_kit.core.study import LAYOUTS
from release_kit.core.tensors_file import parse_tensors, tensors_bytes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLACES = st.builds(Place, repo_id=TEXT, repo_type=TEXT, revision=TEXT, prefix=st.just("") | TEXT.map(lambda t: t + "/"))
PLACEMENTS = st.builds(
    Placement, study=TEXT, version=TEXT, layout=st.sampled_from(LAYOUTS), manifest_sha256=TEXT,
    cells=st.dictionaries(TEXT, PLACES, max_size=3), results=st.none() | PLACES,
)  # fmt: skip


@given(PLACEMENTS)
def test_placement_round_trip(placement):
    assert Placement.from_dict(json.loads(placement.to_bytes())) == placement


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"layout": "repo"}, "`layout` is 'repo'"),
        ({"cells": {"a": {"repo_id": "n/a", "repo_type": "model", "revision": "v1"}}}, "`cells.a.prefix` is missing"),
        (
            {"cells": {"a": {"repo_id": "n/a", "repo_type": "model", "revision": "v1", "prefix": "x"}}},
            "`cells.a.prefix` does not end with '/'",
        ),
        ({"cell": {}}, "did you mean 'cells'?"),
        ({"results": []}, "`results` expected mapping, got list"),
    ],
)
def test_placement_mistakes_are_named(change, part):
    good = Placement(study="s", version="1", layout="repos", manifest_sha256="0", cells={}).to_dict()
    with pytest.raises(RecordError) as caught:
        Placement.from_dict(good | change)
    assert part in str(caught.value)


def test_tensors_file_round_trip(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"b": np.ones((2, 3), "float32"), "a": np.zeros(0, "float16")})
    tensors = hash_file(path).tensors
    parsed = parse_tensors(tensors_bytes({"m.safetensors": tensors}), "tensors.json")
    assert parsed == {"m.safetensors": {t.name: (t.dtype, t.shape, t.blake3) for t in tensors}}
    assert tensors_bytes({"m.safetensors": tensors[::-1]}) == tensors_bytes({"m.safetensors": tensors})


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b'{"schema_version": 2, "algorithm": "blake3", "files": {}}', "`schema_version` is 2"),
        (b'{"schema_version": 1, "algorithm": "md5", "files": {}}', "`algorithm` is not 'blake3'"),
        (b'{"schema_version": 1, "algorithm": "blake3", "files": {"a": {"t": [1]}}}', "`files.a.t` expected"),
        (b'{"schema_version": 1, "algorithm": "blake3", "files": {"a": []}}', "`files.a` expected mapping"),
        (b'{"schema_version": 1, "algorithm": "blake3", "files": {"a": {"t": ["F32", 3, ""]}}}', "`files.a.t`"),
        (b'{"schema_version": 1, "algorithm": "blake3", "files": {"a": {"t": ["F32", [], 1]}}}', "`files.a.t`"),
        (b'{"schema_version": 1, "algorithm": "blake3"}', "`files` is missing"),
    ],
)
def test_tensors_file_mistakes_are_named(data, part):
    with pytest.raises(RecordError) as caught:
        parse_tensors(data, "tensors.json")
    assert part in str(caught.value)


def test_fields_name_the_key_and_the_nearest():
    fields = Fields({"a": [{"size": True}], "n": None, "lenght": 1}, "f.json")
    (child,) = fields.children("a")
    with pytest.raises(RecordError, match=r"f\.json: `a\[0\]\.size` expected int, got bool"):
        child.take("size", int)
    assert fields.take("n", int, 5) == 5
    with pytest.raises(RecordError, match="`n` expected int, got null"):
        fields.take("n", int)
    fields.take("length", int, 0)
    with pytest.raises(RecordError, match="`lenght` is not a known key; did you mean 'length'"):
        fields.done()


def test_an_error_is_one_sentence_with_place_and_next_step():
    error = StudyError("is wrong", where="study.yaml", next_step="change it")
    assert str(error) == "study.yaml: is wrong — change it"
    assert error.to_dict() == {
        "error": "StudyError",
        "what": "is wrong",
        "where": "study.yaml",
        "next_step": "change it",
    }
    assert str(ReleaseKitError("only this")) == "only this"
    assert "pip install 'release-kit[sft]'" in str(MissingExtraError("torch", "sft"))
