"""Affines and orientations of NIfTI headers are those that nibabel, the independent reader, finds."""

import math
import struct

import hypothesis
import nibabel
import numpy as np
import pytest
from hypothesis import strategies as st

from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.nifti_layout import affine_of, header_record, orientation_of


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    version=st.sampled_from([1, 2]), order=st.sampled_from("<>"), seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from(["sform", "qform", "none"]), aligned=st.booleans(),
)  # fmt: skip
def test_affine_and_orientation_are_those_that_nibabel_finds(version, order, seed, form, aligned):
    random = np.random.default_rng(seed)
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=order)
    header.set_data_shape(tuple(int(n) for n in random.integers(1, 90, 3)))
    header["pixdim"][1:4] = random.uniform(0.5, 4, 3)
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    matrix = np.eye(3)[random.permutation(3)] * random.choice([-1, 1], 3) if aligned else matrix
    affine = np.eye(4)
    affine[:3] = np.column_stack([matrix * random.uniform(0.5, 4, 3), random.normal(0, 50, 3)])
    if form != "none":
        getattr(header, f"set_{form}")(affine, 1)
    ours = header_record(header.binaryblock, version, "little" if order == "<" else "big")
    assert ours.tobytes() == header.binaryblock
    assert np.allclose(affine_of(ours), header.get_best_affine(), rtol=1e-12, atol=1e-12)
    assert orientation_of(affine_of(ours)) == "".join(nibabel.aff2axcodes(header.get_best_affine()))


def test_an_impossible_rotation_is_refused_and_an_unset_handedness_is_the_usual_one(make_nifti):
    path = make_nifti()
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2h", raw, 252, 1, 0)
    struct.pack_into("<f", raw, 76, 0.0)
    path.write_bytes(raw)
    usual = read_facts(path)
    struct.pack_into("<f", raw, 76, 1.0)
    path.write_bytes(raw)
    assert read_facts(path).affine == usual.affine
    struct.pack_into("<3f", raw, 256, 0.9, 0.9, 0.0)
    path.write_bytes(raw)
    with pytest.raises(RecordingError, match="quaternion of its q-form is longer than 1"):
        read_facts(path)
    struct.pack_into("<3f", raw, 256, math.nan, 0.0, 0.0)
    path.write_bytes(raw)
    with pytest.raises(RecordingError, match="the affine holds values that are no numbers"):
        read_facts(path)
