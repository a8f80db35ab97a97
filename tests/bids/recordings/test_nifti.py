"""NIfTI in, NIfTI out: stored numbers, geometry and scaling survive; names, times and free text do not."""

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hypothesis
import nibabel
import numpy as np
import pytest
from hypothesis import strategies as st

from release_kit.bids.recordings.header import ImageFacts, RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_header import TYPE_CODES, build_header, parse_header
from release_kit.bids.recordings.nifti_write import content_sha256, write_nifti_gz


def copy(source: Path, out: Path, start: int = 0, **changes):
    """Convert ``source`` and return what was written."""
    with open_image(source) as image:
        facts = replace(image.header.without_dummies(start), **changes)
        return write_nifti_gz(out, facts, image.volumes(start), durable=False)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def stored(path: Path) -> np.ndarray:
    """Return the unscaled numbers by nibabel, the independent reader."""
    return nibabel.load(path).dataobj.get_unscaled()


@pytest.mark.parametrize("name", ["functional.nii", "anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz"])
def test_real_images_keep_every_number_and_their_place(name: str, real, tmp_path: Path):
    written = copy(real(name), tmp_path / "out.nii.gz")
    before, after = nibabel.load(real(name)), nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(stored(real(name)), stored(tmp_path / "out.nii.gz"))
    assert np.array_equal(before.get_fdata(), after.get_fdata())
    assert np.array_equal(before.affine, after.affine)
    assert before.header.get_zooms() == after.header.get_zooms()
    assert before.header["qform_code"] == after.header["qform_code"]
    assert np.array_equal(before.header.get_qform(), after.header.get_qform())
    assert written.n_volumes == (before.shape[3] if before.ndim == 4 else 1)


@pytest.mark.parametrize("run", ["fmri1", "fmri2"])
def test_real_runs_of_nitime_keep_every_number(run: str, real_package, tmp_path: Path):
    source = tmp_path / f"{run}.nii.gz"
    source.write_bytes(real_package("nitime").read(f"nitime/data/{run}.nii.gz"))
    assert read_facts(source).n_volumes == 40
    copy(source, tmp_path / "out.nii.gz")
    assert np.array_equal(nibabel.load(source).get_fdata(), nibabel.load(tmp_path / "out.nii.gz").get_fdata())


@pytest.mark.parametrize("dtype", [name for name in TYPE_CODES.values() if not name.startswith("rgb")])
@pytest.mark.parametrize("big", [False, True])
def test_each_type_and_byte_order_is_kept_bit_by_bit(dtype: str, big: bool, make_nifti, tmp_path: Path):
    source = make_nifti(dtype=dtype, big=big)
    copy(source, tmp_path / "out.nii.gz")
    assert gzip.decompress((tmp_path / "out.nii.gz").read_bytes())[352:] == source.read_bytes()[352:]
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii.gz"))


def test_colours_are_kept(make_nifti, tmp_path: Path):
    colours = np.random.default_rng(2).integers(0, 255, (3, 4, 5, 3), np.uint8)
    values = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    source = make_nifti(shape=(3, 4, 5), dtype=values.dtype, values=values)
    copy(source, tmp_path / "out.nii.gz")
    assert read_facts(source).dtype == "rgb24"
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii.gz"))


def test_slope_and_intercept_stay_beside_untouched_integers(make_nifti, tmp_path: Path):
    source = make_nifti(scl_slope=0.1, scl_inter=-3.7)
    facts = read_facts(source)
    copy(source, tmp_path / "out.nii.gz")
    header = nibabel.load(tmp_path / "out.nii.gz").dataobj
    assert (
        (header.slope, header.inter) == (facts.slope, facts.inter) == (float(np.float32(0.1)), float(np.float32(-3.7)))
    )
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii.gz"))


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_scaling_that_means_none_becomes_one(slope: float, make_nifti):
    facts = read_facts(make_nifti(scl_slope=slope, scl_inter=5))
    assert (facts.slope, facts.inter) == (1.0, 0.0)


def test_nan_and_infinity_are_kept_and_counted(make_nifti, tmp_path: Path):
    values = np.random.default_rng(3).normal(size=(5, 4, 3, 2))
    values[0, 0, 0, 0], values[1, 2, 0, 1], values[4, 3, 2, 1] = np.nan, np.inf, -np.inf
    source = make_nifti(shape=values.shape, dtype="float32", values=values)
    assert copy(source, tmp_path / "out.nii.gz").n_nonfinite == 3
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii.gz"), equal_nan=True)


def test_dummy_scans_are_left_out(make_nifti, tmp_path: Path):
    for name in ("run.nii", "run.nii.gz"):
        source = make_nifti(name)
        assert copy(source, tmp_path / "out.nii.gz", start=2).n_volumes == 4
        assert np.array_equal(stored(source)[..., 2:], stored(tmp_path / "out.nii.gz"))


def test_a_pair_of_files_is_read_from_either_half(make_nifti, tmp_path: Path):
    source = make_nifti("run.img")
    first = copy(source, tmp_path / "a.nii.gz")
    assert first == copy(source.with_suffix(".hdr"), tmp_path / "b.nii.gz")
    assert np.array_equal(stored(source), stored(tmp_path / "a.nii.gz"))
    with open_image(source) as one, open_image(source.with_suffix(".hdr")) as other:
        assert one.digest() == other.digest()


def test_the_same_image_gives_the_same_bytes_wherever_it_came_from(make_nifti, tmp_path: Path):
    plain, zipped, pair = make_nifti("run.nii"), make_nifti("sub/other name.nii.gz"), make_nifti("run.img")
    written = [copy(path, tmp_path / str(i) / "out.nii.gz") for i, path in enumerate((plain, zipped, pair))]
    assert len({one.sha256 for one in written}) == 1


def test_gzip_header_holds_no_time_no_name_and_no_system(make_nifti, tmp_path: Path):
    copy(make_nifti(), tmp_path / "out.nii.gz")
    assert (tmp_path / "out.nii.gz").read_bytes()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_digests_are_of_the_file_and_of_its_content(make_nifti, tmp_path: Path):
    out = tmp_path / "out.nii.gz"
    written = copy(make_nifti(), out)
    assert written.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert written.size_bytes == out.stat().st_size
    assert written.content_sha256 == hashlib.sha256(gzip.decompress(out.read_bytes())).hexdigest()


def test_content_digest_is_equal_for_every_way_to_compress(make_nifti, tmp_path: Path):
    out, other = tmp_path / "out.nii.gz", tmp_path / "other.nii.gz"
    written = copy(make_nifti(), out)
    other.write_bytes(gzip.compress(gzip.decompress(out.read_bytes()), 1))
    assert other.read_bytes() != out.read_bytes()
    assert content_sha256(other) == content_sha256(out) == written.content_sha256


def test_free_text_and_extensions_of_the_source_do_not_get_through(make_nifti, tmp_path: Path):
    extension = (48).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"patient: Ada Lovelace".ljust(40, b"\0")
    texts = {name: b"Ada Lovelace"[:10] for name in ("descrip", "aux_file", "intent_name", "data_type", "db_name")}
    source = make_nifti(extension=extension, extents=7, session_error=3, glmax=9, **texts)
    facts = read_facts(source)
    assert facts.n_extensions == 1
    assert set(facts.free_text) == set(texts)
    copy(source, tmp_path / "out.nii.gz")
    content = gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    assert b"Ada" in source.read_bytes() and b"Ada" not in content
    assert nibabel.load(tmp_path / "out.nii.gz").header["glmax"] == 0
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii.gz"))


@pytest.mark.parametrize(("code", "factor"), [(8, 1.0), (16, 1000.0), (24, 1e6)])
def test_time_is_seconds_whatever_the_header_counts_in(code: int, factor: float, make_nifti, tmp_path: Path):
    source = make_nifti(xyzt_units=2 | code, slice_duration=0.05 * factor)
    source = make_nifti(
        xyzt_units=2 | code, slice_duration=0.05 * factor, pixdim=[1, 2, 2.5, 3, 1.35 * factor, 1, 1, 1]
    )
    facts = read_facts(source)
    assert (facts.tr_s, facts.tr_unit_known) == (1.35, True)
    copy(source, tmp_path / "out.nii.gz")
    header = nibabel.load(tmp_path / "out.nii.gz").header
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms()[3] == np.float32(1.35)
    assert header["slice_duration"] == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (3, 1e3)])
def test_lengths_are_millimetres_whatever_the_header_counts_in(code: int, factor: float, make_nifti, tmp_path: Path):
    whole = read_facts(make_nifti("mm.nii"))
    rows = {f"srow_{axis}": [v * factor for v in row] for axis, row in zip("xyz", whole.affine, strict=False)}
    pixdim = [1, *(v * factor for v in whole.voxel_mm), 2, 1, 1, 1]
    facts = read_facts(make_nifti("other.nii", xyzt_units=code | 8, pixdim=pixdim, **rows))
    assert np.allclose(facts.affine, whole.affine, rtol=1e-6)
    assert np.allclose(facts.voxel_mm, whole.voxel_mm, rtol=1e-6)
    copy(tmp_path / "other.nii", tmp_path / "out.nii.gz")
    assert np.allclose(nibabel.load(tmp_path / "out.nii.gz").affine, whole.affine, rtol=1e-6)


def test_unknown_unit_of_time_is_said_and_the_number_is_not_touched(make_nifti):
    facts = read_facts(make_nifti(xyzt_units=2))
    assert (facts.tr_s, facts.tr_unit_known) == (2.0, False)


def test_tr_of_the_recipe_reaches_the_header(make_nifti, tmp_path: Path):
    copy(make_nifti(xyzt_units=2), tmp_path / "out.nii.gz", tr_s=0.8, tr_unit_known=True)
    header = nibabel.load(tmp_path / "out.nii.gz").header
    assert header.get_zooms()[3] == np.float32(0.8)
    assert header.get_xyzt_units()[1] == "sec"


def test_one_volume_with_a_tr_is_written_as_a_series(make_nifti, tmp_path: Path):
    source = make_nifti(shape=(5, 4, 3))
    assert read_facts(source).tr_s is None
    copy(source, tmp_path / "still.nii.gz")
    copy(source, tmp_path / "series.nii.gz", tr_s=1.0, tr_unit_known=True)
    assert nibabel.load(tmp_path / "still.nii.gz").shape == (5, 4, 3)
    assert nibabel.load(tmp_path / "series.nii.gz").shape == (5, 4, 3, 1)


def test_facts_say_orientation_and_spatial_forms(make_nifti, real):
    facts = read_facts(make_nifti())
    assert (facts.orientation, facts.qform_code, facts.sform_code) == ("LAS", 1, 1)
    assert facts.to_dict()["shape"] == [5, 4, 3]
    assert facts.duration_s == 12.0
    assert read_facts(real("standard.nii.gz")).orientation == "RAS"


def test_large_volumes_are_read_ahead_and_end_in_the_same_bytes(make_nifti, tmp_path: Path):
    source = make_nifti("run.nii.gz", (48, 48, 32, 3), "float32")
    assert read_facts(source).volume_bytes > 1 << 18
    copy(source, tmp_path / "out.nii.gz")
    with open_image(source) as image:
        volumes = np.stack(list(image.volumes()), axis=-1)
    assert np.array_equal(volumes, stored(source))
    assert np.array_equal(volumes, stored(tmp_path / "out.nii.gz"))


def test_arrays_in_any_memory_order_give_the_same_file(make_nifti, tmp_path: Path):
    source = make_nifti()
    written = copy(source, tmp_path / "a.nii.gz")
    with open_image(source) as image:
        volumes = [np.ascontiguousarray(volume) for volume in image.volumes()]
        assert write_nifti_gz(tmp_path / "b.nii.gz", image.header, volumes).sha256 == written.sha256


@pytest.mark.parametrize("n", [5, 7])
def test_volumes_are_counted_against_the_header_and_nothing_is_left(n: int, make_nifti, tmp_path: Path):
    with open_image(make_nifti()) as image:
        volumes = (list(image.volumes()) * 2)[:n]
        with pytest.raises(RecordingError, match=f"{n} volumes came, expected 6"):
            write_nifti_gz(tmp_path / "out" / "run.nii.gz", image.header, volumes)
    assert not list((tmp_path / "out").iterdir())


def test_volumes_of_another_shape_or_type_are_refused(make_nifti, tmp_path: Path):
    facts = read_facts(make_nifti())
    for volume in (np.zeros((5, 4, 2), "<i2"), np.zeros((5, 4, 3), "<i4"), np.zeros((5, 4, 3), ">i2")):
        with pytest.raises(RecordingError, match=r"volume 1 is .*, expected <i2 \(5, 4, 3\)"):
            write_nifti_gz(tmp_path / "run.nii.gz", facts, [volume])


def test_digest_of_the_source_is_that_of_its_file(make_nifti):
    for name in ("run.nii", "run.nii.gz"):
        source = make_nifti(name)
        expected = hashlib.sha256(source.read_bytes()).hexdigest()
        with open_image(source) as image:
            assert image.digest() == expected
        with open_image(source) as image:
            assert sum(1 for _ in image.volumes()) == 6
            source.unlink()
            assert image.digest() == expected, "after reading, the digest needs no second read"


def test_gzip_files_of_several_members_and_with_padding_are_read(make_nifti, tmp_path: Path):
    content = make_nifti().read_bytes()
    for cut in (1, 100, 352, 400, len(content) - 1):
        path = tmp_path / "members.nii.gz"
        path.write_bytes(gzip.compress(content[:cut]) + gzip.compress(content[cut:]) + bytes(37))
        assert read_facts(path).n_volumes == 6
        with open_image(path) as image:
            assert np.array_equal(np.stack(list(image.volumes()), axis=-1), stored(tmp_path / "run.nii"))


def test_reference_validator_reads_the_headers_of_every_kind_we_write(make_nifti, tmp_path: Path):
    root = tmp_path / "dataset"
    kinds = {"01": {}, "02": {"big": True}, "03": {"version": 2}, "04": {"dtype": "float64", "xyzt_units": 2 | 16}}
    for label, kind in kinds.items():
        copy(
            make_nifti(**kind), root / f"sub-{label}/func/sub-{label}_task-x_bold.nii.gz", tr_s=2.0, tr_unit_known=True
        )
    write_json(root / "dataset_description.json", {"Name": "kinds", "BIDSVersion": "1.11.1"})
    (root / "README").write_text("Headers of every kind.\n" * 10, encoding="utf-8")
    for tr, expected in ((2.0, set()), (2.5, {"REPETITION_TIME_MISMATCH"})):
        write_json(root / "task-x_bold.json", {"TaskName": "x", "RepetitionTime": tr})
        command = [str(Path(sys.executable).with_name("bids-validator-deno")), "--format", "json", str(root)]
        ran = subprocess.run(command, capture_output=True, text=True)
        errors = [one for one in json.loads(ran.stdout)["issues"]["issues"] if one["severity"] == "error"]
        assert {one["code"] for one in errors} == expected
        assert len(errors) == (len(kinds) if expected else 0), "a header that is not read cannot disagree"


@hypothesis.given(
    shape=st.tuples(*[st.integers(1, 9)] * 4),
    dtype=st.sampled_from(["uint8", "int16", "int32", "float32", "float64"]),
    order=st.sampled_from(["little", "big"]),
    tr=st.none() | st.floats(2**-6, 100, width=32),
    slope=st.floats(2**-20, 1e6, width=32),
    inter=st.floats(-1e6, 1e6, width=32),
    code=st.integers(1, 5),
)
def test_a_header_reads_back_as_the_facts_it_was_made_from(shape, dtype, order, tr, slope, inter, code):
    tr = None if tr is None else float(str(np.float32(tr)))
    facts = ImageFacts(
        shape=shape[:3], n_volumes=shape[3], n_dims=4, voxel_mm=(2.0, 2.5, 3.0), tr_s=tr, tr_unit_known=tr is not None,
        affine=((-2.0, 0, 0, 9.5), (0, 2.5, 0, -4), (0, 0, 3.0, 7), (0, 0, 0, 1)), orientation="LAS", dtype=dtype,
        byte_order=order, slope=slope, inter=inter, sform_code=code,
    )  # fmt: skip
    raw = build_header(facts)
    again, offset = parse_header(raw[:-4], "here")
    assert offset == len(raw) == 352
    assert replace(again, raw_header=None) == facts
    assert build_header(again) == raw
