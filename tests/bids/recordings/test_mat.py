"""Responses in MATLAB files: every value at its voxel; what is no plain matrix is refused, never unpickled."""

from pathlib import Path

import h5py
import hypothesis
import nibabel
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies as st

from release_kit.bids.recordings import mat
from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.mat5 import read_mat5
from release_kit.bids.recordings.nifti_write import write_nifti_gz

SHAPE, N = (4, 5, 3), 7


def save73(path: Path, **variables) -> Path:
    """Write arrays as MATLAB 7.3 does: HDF5 behind a block of 512 bytes, axes reversed, the class as attribute."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            value = np.asarray(value)
            kind = {"float64": "double", "float32": "single", "bool": "logical"}.get(value.dtype.name, value.dtype.name)
            stored = value.astype("u1") if value.dtype == bool else value
            dataset = file.create_dataset(name, data=stored.T, chunks=value.ndim > 1 or None)
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


@pytest.fixture
def study(tmp_path: Path, make_nifti):
    """Return responses (volumes x voxels), the mask as a 3D array, and the files of both."""
    random = np.random.default_rng(5)
    mask = random.random(SHAPE) < 0.4
    responses = random.normal(size=(N, int(mask.sum())))
    return {
        "mask": mask,
        "responses": responses,
        "mat": save73(tmp_path / "run.mat", dataDT=responses, other=np.arange(3.0)),
        "nifti": make_nifti("mask.nii", SHAPE, "uint8", values=mask),
        "folder": tmp_path,
    }


def volumes(path: Path, **options) -> np.ndarray:
    with open_image(path, "mat", options) as image:
        return np.stack(list(image.volumes()), axis=-1)


def expected(study, order: str = "F") -> np.ndarray:
    """Put the values where MATLAB's ``volume(mask) = row`` puts them."""
    out = np.zeros((*SHAPE, N))
    for index, row in enumerate(study["responses"]):
        flat = np.zeros(np.prod(SHAPE))
        flat[study["mask"].ravel(order=order)] = row
        out[..., index] = flat.reshape(SHAPE, order=order)
    return out


def test_values_come_to_the_voxels_of_a_nifti_mask(study):
    assert np.array_equal(volumes(study["mat"], variable="dataDT", mask=study["nifti"]), expected(study))


def test_order_says_how_voxels_are_counted(study):
    options = {"variable": "dataDT", "mask": study["nifti"], "order": "C"}
    assert np.array_equal(volumes(study["mat"], **options), expected(study, "C"))
    assert not np.array_equal(expected(study, "C"), expected(study))


@pytest.mark.parametrize("version", ["5", "5 compressed", "7.3"])
@pytest.mark.parametrize("form", ["indices", "volume"])
def test_masks_in_matlab_files_of_any_version_are_read(version: str, form: str, study):
    path = study["folder"] / "vset.mat"
    value = study["mask"] if form == "volume" else np.flatnonzero(study["mask"].ravel(order="F"))[:, None] + 1.0
    if version == "7.3":
        save73(path, tvoxels=value)
    else:
        scipy.io.savemat(path, {"tvoxels": value}, do_compression="compressed" in version)
    options = {"variable": "dataDT", "mask": path, "mask_variable": "tvoxels", "reference": study["nifti"]}
    assert np.array_equal(volumes(study["mat"], **options), expected(study))
    if form == "indices":
        options = {"variable": "dataDT", "mask": path, "shape": SHAPE, "voxel_mm": [2, 2, 2]}
        assert np.array_equal(volumes(study["mat"], **options), expected(study))


def test_geometry_comes_from_the_mask_and_is_written(study):
    options = {"variable": "dataDT", "mask": study["nifti"]}
    facts = read_facts(study["mat"], "mat", options)
    assert (facts.n_volumes, facts.dtype, facts.tr_s, facts.shape) == (N, "float64", None, SHAPE)
    out = study["folder"] / "out.nii.gz"
    with open_image(study["mat"], "mat", options) as image:
        write_nifti_gz(out, image.header, image.volumes(), durable=False)
    image = nibabel.load(out)
    assert np.array_equal(image.get_fdata(), expected(study))
    assert np.array_equal(image.affine, nibabel.load(study["nifti"]).affine)


def test_position_is_not_claimed_when_only_sizes_are_known(study):
    path = study["folder"] / "vset.mat"
    scipy.io.savemat(path, {"tvoxels": study["mask"]})
    facts = read_facts(study["mat"], "mat", {"variable": "dataDT", "mask": path, "voxel_mm": [2, 2, 3]})
    assert (facts.qform_code, facts.sform_code, facts.voxel_mm, facts.shape) == (0, 0, (2.0, 2.0, 3.0), SHAPE)
    out = study["folder"] / "out.nii.gz"
    write_nifti_gz(out, facts, [np.zeros(SHAPE)] * N, durable=False)
    assert nibabel.load(out).header.get_zooms()[:3] == (2.0, 2.0, 3.0)


def test_layout_is_found_by_the_mask_or_said(study):
    turned = save73(study["folder"] / "turned.mat", dataDT=study["responses"].T)
    options = {"variable": "dataDT", "mask": study["nifti"]}
    assert np.array_equal(volumes(turned, **options), expected(study))
    assert np.array_equal(volumes(turned, **options, layout="voxel-time"), expected(study))
    with pytest.raises(RecordingError, match="with layout time-voxel the mask would need 7 voxels"):
        volumes(turned, **options, layout="time-voxel")
    n = int(study["mask"].sum())
    square = save73(study["folder"] / "square.mat", dataDT=np.arange(n * n).reshape(n, n) * 1.0)
    with pytest.raises(RecordingError, match="as many volumes as voxels"):
        volumes(square, **options)
    first = volumes(square, **options, layout="time-voxel")[..., 0].ravel(order="F")
    assert first[first > 0].tolist() == list(range(1, n))


def test_whole_volumes_need_no_mask(study):
    data = np.random.default_rng(1).normal(size=(*SHAPE, N)).astype("f4")
    path = save73(study["folder"] / "four.mat", beta=data, mean=data[..., 0])
    options = {"variable": "beta", "reference": study["nifti"]}
    assert np.array_equal(volumes(path, **options), data)
    assert read_facts(path, "mat", options | {"variable": "mean"}).n_dims == 3
    assert np.array_equal(volumes(path, **options | {"variable": "mean"})[..., 0], data[..., 0])


def test_dtype_float32_rounds_and_default_keeps(study):
    options = {"variable": "dataDT", "mask": study["nifti"], "dtype": "float32"}
    assert np.array_equal(volumes(study["mat"], **options), expected(study).astype("f4"))


@pytest.mark.parametrize("block", [1, 100, 10**9])
@pytest.mark.parametrize("layout", ["time-voxel", "voxel-time"])
def test_reading_in_blocks_changes_nothing(block: int, layout: str, study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mat, "BLOCK_BYTES", block)
    responses = study["responses"] if layout == "time-voxel" else study["responses"].T
    path = study["folder"] / "blocks.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("dataDT", data=responses.T, chunks=(2, 2), compression="gzip")
    options = {"variable": "dataDT", "mask": study["nifti"]}
    assert np.array_equal(volumes(path, **options), expected(study))
    with open_image(path, "mat", options) as image:
        tail = np.stack(list(image.volumes(start=3)), axis=-1)
    assert np.array_equal(tail, expected(study)[..., 3:])


def test_a_missing_variable_is_named_with_those_there(study):
    with pytest.raises(RecordingError, match=r"no variable 'data' \(there are: dataDT, other\)"):
        volumes(study["mat"], variable="data", mask=study["nifti"])


def test_a_mask_of_another_size_is_refused_with_both_sizes(study, make_nifti):
    wrong = make_nifti("wrong.nii", SHAPE, "uint8", values=np.ones(SHAPE))
    n = int(study["mask"].sum())
    with pytest.raises(RecordingError, match=f"dataDT is {N} x {n} .*but the mask has 60 voxels"):
        volumes(study["mat"], variable="dataDT", mask=wrong)


def test_version_5_is_refused_with_the_way_out(study):
    path = study["folder"] / "old.mat"
    scipy.io.savemat(path, {"dataDT": study["responses"]})
    with pytest.raises(RecordingError, match=r"version 5.*-v7\.3"):
        volumes(path, variable="dataDT", mask=study["nifti"])


def test_nothing_but_plain_numbers_is_read(study):
    path, other = study["folder"] / "hostile.mat", study["folder"] / "secret.mat"
    save73(other, x=np.ones((N, 3)))
    with h5py.File(path, "w") as file:
        target = file.create_dataset("target", data=np.ones(3))
        cell = file.create_dataset("cell", (2,), dtype=h5py.ref_dtype)
        cell[0] = target.ref
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        file.create_dataset("text", data=np.array([104, 105], "u2")).attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("strings", data=["a", "b"], dtype=h5py.string_dtype())
        file.create_dataset("complex", data=np.ones(2, complex))
        file.create_group("struct").attrs["MATLAB_class"] = np.bytes_("struct")
        file.create_group("sparse").attrs["MATLAB_sparse"] = 4
        file["soft"], file["outside"] = h5py.SoftLink("/target"), h5py.ExternalLink(str(other), "/x")
        layout = h5py.VirtualLayout((3, N), "f8")
        layout[:] = h5py.VirtualSource(str(other), "x", (3, N))
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(other), 0, 8 * N)]
        file.create_dataset("external", (N,), "f8", external=raw)
        file.create_dataset("empty", data=np.zeros(2, "u8")).attrs["MATLAB_empty"] = 1
    found = mat.read_numeric(path)
    assert [name for name, value in found.items() if not isinstance(value, str)] == ["target"]
    for name, reason in found.items():
        if name != "target":
            with pytest.raises(RecordingError, match="is no numeric array but") as caught:
                volumes(path, variable=name, mask=study["nifti"])
            assert reason in str(caught.value)
    with pytest.raises(RecordingError, match="no variable 'struct/x'"):
        volumes(path, variable="struct/x", mask=study["nifti"])


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([0, 1, 2], "1 indices lie outside 1 to 60"),
        ([1, 2, 61, 99], "2 indices lie outside 1 to 60"),
        ([3, 3, 4], "1 indices come twice"),
        ([1.5, 2], "not whole numbers"),
        ([np.nan, 2], "not whole numbers"),
    ],
)
def test_wrong_lists_of_voxels_are_refused(indices, said: str, study):
    path = study["folder"] / "vset.mat"
    scipy.io.savemat(path, {"tvoxels": np.array(indices, float)})
    with pytest.raises(RecordingError, match=said):
        volumes(study["mat"], variable="dataDT", mask=path, reference=study["nifti"])


def test_geometry_that_nothing_states_is_not_guessed(study):
    path = study["folder"] / "vset.mat"
    scipy.io.savemat(path, {"tvoxels": np.array([1.0, 2.0])})
    with pytest.raises(RecordingError, match="nothing says the shape and voxel_mm"):
        volumes(study["mat"], variable="dataDT", mask=path)


def test_masks_that_do_not_say_enough_are_refused(study, make_nifti):
    path = study["folder"] / "two.mat"
    scipy.io.savemat(path, {"a": np.ones(2), "b": np.ones(2), "c": "text"})
    options = {"variable": "dataDT", "mask": path, "reference": study["nifti"]}
    with pytest.raises(RecordingError, match=r"a \(numbers\), b \(numbers\), c \(char\)"):
        volumes(study["mat"], **options)
    with pytest.raises(RecordingError, match="no numeric mask 'c'"):
        volumes(study["mat"], **options, mask_variable="c")
    empty = make_nifti("empty.nii", SHAPE, "uint8", values=np.zeros(SHAPE))
    with pytest.raises(RecordingError, match="no voxels"):
        volumes(study["mat"], variable="dataDT", mask=empty)
    with pytest.raises(RecordingError, match="mask of 2 volumes"):
        volumes(study["mat"], variable="dataDT", mask=make_nifti("run.nii", (*SHAPE, 2)))


def test_truncated_and_other_files_are_refused(study):
    data = study["mat"].read_bytes()
    for content in (data[: len(data) // 2], b"hello", b"", b"MATLAB 7.3 MAT-file".ljust(600)):
        study["mat"].write_bytes(content)
        with pytest.raises(RecordingError, match=r"run.mat: cannot be read as MATLAB 7.3"):
            volumes(study["mat"], variable="dataDT", mask=study["nifti"])


def test_a_damaged_chunk_is_named_with_its_volumes(study):
    path = study["folder"] / "sums.mat"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("dataDT", data=study["responses"].T, chunks=True, fletcher32=True)
        chunk = made.id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 9] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=f"volumes 1 to {N} of {N} cannot be read"):
        volumes(path, variable="dataDT", mask=study["nifti"])


def test_digest_covers_mask_and_reference_too(study, make_nifti):
    def digest(**options) -> str:
        with open_image(study["mat"], "mat", {"variable": "dataDT", **options}) as image:
            return image.digest()

    same = make_nifti("same.nii", SHAPE, "uint8", values=study["mask"])
    other = make_nifti("other.nii", SHAPE, "uint8", values=study["mask"] * 2)
    assert digest(mask=study["nifti"]) == digest(mask=same)
    assert digest(mask=study["nifti"]) != digest(mask=other)
    assert digest(mask=same, reference=same) != digest(mask=same, reference=other)


@hypothesis.given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple),
    dtype=st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]),
    packed=st.booleans(),
    name=st.text("abcdefghij_", min_size=1, max_size=20).filter(lambda text: text[0] != "_" and text != "c"),
    seed=st.integers(0, 100),
)
def test_version_5_reader_agrees_with_scipy(shape, dtype, packed, name, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("mat5") / "a.mat"
    values = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    scipy.io.savemat(path, {name: values, "word": "text", "c": {"x": 1}}, do_compression=packed)
    found = read_mat5(path)
    assert np.array_equal(found[name], scipy.io.loadmat(path)[name])
    assert found[name].dtype == values.dtype
    assert (found["word"], found["c"]) == ("char", "struct")


def test_every_truncation_of_a_version_5_file_is_refused_or_loses_whole_variables(tmp_path: Path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"first": np.arange(20.0), "second": np.arange(9.0)}, do_compression=True)
    data = path.read_bytes()
    whole = read_mat5(path)
    for length in range(128, len(data)):
        path.write_bytes(data[:length])
        try:
            found = read_mat5(path)
        except RecordingError:
            continue
        assert all(np.array_equal(value, whole[name]) for name, value in found.items())
