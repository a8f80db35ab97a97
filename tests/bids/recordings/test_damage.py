"""Damaged and dishonest files: each is named, with the volume where it ends, by the cheap look and by reading."""

import gzip
import shutil
import sys
from pathlib import Path

import pytest

from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_write import write_nifti_gz
from release_kit.core.errors import MissingExtraError

HEADER, VOLUME = 352, 5 * 4 * 3 * 2


def refusals(path: Path) -> tuple[str | None, str]:
    """Return what the cheap look and what conversion say; conversion leaves no file."""
    cheap = None
    try:
        read_facts(path)
    except RecordingError as error:
        cheap = str(error)
    out = path.parent / "out" / "run.nii.gz"
    with pytest.raises(RecordingError) as caught, open_image(path) as image:
        write_nifti_gz(out, image.header, image.volumes(), durable=False)
    assert not out.exists() and not list(out.parent.glob("*") if out.parent.exists() else [])
    assert str(path) in str(caught.value)
    return cheap, str(caught.value)


@pytest.mark.parametrize("cut", [HEADER, HEADER + 1, HEADER + VOLUME, HEADER + 3 * VOLUME + 7, HEADER + 6 * VOLUME - 1])
def test_truncated_file_is_named_with_the_volume_where_it_ends(cut: int, make_nifti):
    path = make_nifti()
    path.write_bytes(path.read_bytes()[:cut])
    volume, rest = divmod(cut - HEADER, VOLUME)
    for said in refusals(path):
        assert f"it ends in volume {volume + 1} of 6, after {rest} of that volume's {VOLUME} bytes" in said
        assert "copy it again" in said


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
def test_truncated_gzip_is_named_with_the_volume_where_it_ends(kept: float, make_nifti):
    path = make_nifti("run.nii.gz", (16, 16, 8, 20), "int32")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for said in refusals(path):
        assert "the file ends inside its gzip stream" in said
        assert "of 20" in said
        assert abs(int(said.split("volume ")[1].split(" ")[0]) - kept * 20) <= 2


def test_every_truncation_of_a_small_gzip_is_found_by_the_cheap_look(make_nifti):
    path = make_nifti("run.nii.gz", (2, 2, 2, 3))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(RecordingError):
            read_facts(path)


def test_gzip_with_the_right_length_of_content_but_too_few_bytes_is_found(make_nifti):
    path = make_nifti()
    short = path.read_bytes()[: HEADER + 5 * VOLUME]
    path.write_bytes(gzip.compress(short))
    for said in refusals(path):
        assert "it ends in volume 6 of 6, after 0 of" in said


def test_a_flipped_byte_of_a_gzip_never_gives_other_content(make_nifti, tmp_path: Path):
    path, out = make_nifti("run.nii.gz", (3, 3, 3, 3)), tmp_path / "out.nii.gz"
    good, passed = path.read_bytes(), []
    with open_image(path) as image:
        expected = write_nifti_gz(out, image.header, image.volumes(), durable=False).sha256
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x5A]) + good[at + 1 :])
        try:
            with open_image(path) as image:
                assert write_nifti_gz(out, image.header, image.volumes(), durable=False).sha256 == expected
            passed.append(at)
        except RecordingError:
            continue
    assert len(passed) <= 10, "only time, name and system of gzip and unused bits of deflate say nothing"


def test_surplus_volumes_are_refused_and_shorter_rests_are_counted(make_nifti):
    for name in ("run.nii", "run.nii.gz"):
        path = make_nifti(name)
        content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
        pack = gzip.compress if name.endswith("gz") else bytes
        path.write_bytes(pack(content + bytes(2 * VOLUME)))
        for said in refusals(path):
            assert "its header names 6 volumes, but it holds 8" in said
        path.write_bytes(pack(content + bytes(VOLUME - 1)))
        assert read_facts(path).n_surplus_bytes == VOLUME - 1
        with open_image(path) as image:
            assert sum(1 for _ in image.volumes()) == 6


def test_real_run_with_a_rest_behind_its_last_volume_is_read(real_package, tmp_path: Path):
    path = tmp_path / "fmri1.nii.gz"
    path.write_bytes(real_package("nitime").read("nitime/data/fmri1.nii.gz"))
    assert read_facts(path).n_surplus_bytes == 352


def test_bytes_behind_a_gzip_stream_are_refused(make_nifti):
    path = make_nifti("run.nii.gz")
    path.write_bytes(path.read_bytes() + b"more")
    cheap, read = refusals(path)
    assert cheap is not None
    assert "bytes that are not gzip follow" in cheap and "bytes that are not gzip follow" in read


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": [0, 5, 4, 3, 6, 1, 1, 1]}, "dim[0] is 0"),
        ({"dim": [2, 5, 4, 1, 1, 1, 1, 1]}, "expected 3 or 4 dimensions"),
        ({"dim": [4, 5, 0, 3, 6, 1, 1, 1]}, "every dimension must be at least 1"),
        ({"dim": [4, 5, -4, 3, 6, 1, 1, 1]}, "every dimension must be at least 1"),
        ({"dim": [5, 5, 4, 3, 6, 2, 1, 1]}, "only x, y, z and time are understood"),
        ({"dim": [4, 30000, 30000, 30000, 6, 1, 1, 1]}, "no scanner makes volumes of 27000000000000 voxels"),
        ({"datatype": 1536}, "datatype 1536 is not one of"),
        ({"datatype": 0}, "datatype 0 is not one of"),
        ({"scl_slope": 2.0, "scl_inter": float("nan")}, "scl_inter is nan"),
        ({"pixdim": [1, float("nan"), 2, 3, 1, 1, 1, 1]}, "sizes that are no numbers"),
        ({"vox_offset": -5.0}, "vox_offset is -5.0"),
        ({"vox_offset": 200.0}, "lies inside the header"),
        ({"magic": b"XX"}, "its magic is"),
        ({"magic": b""}, "ANALYZE 7.5"),
    ],
)
def test_headers_that_no_image_can_have_are_refused(change: dict, said: str, make_nifti):
    with pytest.raises(RecordingError, match=r"run\.nii") as caught:
        read_facts(make_nifti(**change))
    assert said in str(caught.value)


def test_all_problems_of_a_header_are_said_at_once(make_nifti):
    with pytest.raises(RecordingError, match=r"dim\[0\] is 9.*datatype 7.*scl_inter"):
        read_facts(make_nifti(dim=[9] * 8, datatype=7, scl_slope=1, scl_inter=float("inf")))


@pytest.mark.parametrize("content", [b"", b"hello, this is a text file and not an image", bytes(400)])
def test_other_files_are_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "run.nii"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="not NIfTI"):
        read_facts(path)


def test_a_file_that_ends_in_its_header_is_refused(make_nifti):
    path = make_nifti()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordingError, match="ends in its header, after 100 of 348 bytes"):
        read_facts(path)


def test_missing_files_and_missing_halves_are_named(make_nifti, tmp_path: Path):
    with pytest.raises(RecordingError, match=r"nothing.nii: cannot be read \(No such file or directory\)"):
        read_facts(tmp_path / "nothing.nii")
    image = make_nifti("run.img")
    image.with_suffix(".hdr").unlink()
    with pytest.raises(RecordingError, match=r"its other half run.hdr is missing"):
        read_facts(image)


def test_unknown_kinds_and_options_are_refused(make_nifti):
    with pytest.raises(RecordingError, match="'minc' is not one of nifti, nifti-series, dicom, mat"):
        read_facts(make_nifti(), "minc")
    with pytest.raises(RecordingError, match="unknown options 'series'"):
        read_facts(make_nifti(), "nifti", {"series": 5})


@pytest.mark.parametrize(
    ("package", "kind", "extra"),
    [("h5py", "mat", "bids"), ("pydicom", "dicom", "dicom")],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, kind: str, extra: str, make_nifti, monkeypatch: pytest.MonkeyPatch
):
    path, options = make_nifti(), {}
    if kind == "mat":
        options = {"variable": "x", "mask": path}
        path = make_nifti("mask.nii", (5, 4, 3)).with_name("run.mat")
        path.write_bytes(bytes(600))
        options["mask"] = path.with_name("mask.nii")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*release-kit\[{extra}\]"):
        read_facts(path, kind, options)


def test_more_dummies_than_volumes_are_refused(make_nifti):
    with pytest.raises(RecordingError, match="6 volumes cannot be dropped from 6"):
        read_facts(make_nifti()).without_dummies(6)


def test_abandoned_reading_leaves_no_thread_and_no_open_file(make_nifti, tmp_path: Path):
    path = make_nifti("run.nii", (64, 64, 40, 4), "float32")
    with open_image(path) as image:
        volumes = image.volumes()
        next(volumes)
        volumes.close()
    open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert path.resolve() not in open_files


def test_a_full_disk_leaves_nothing_behind(make_nifti):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    path = make_nifti()
    target = path.parent / "target"
    target.mkdir()
    with open_image(path) as image:
        volumes = image.volumes()

        def failing():
            yield next(volumes)
            raise OSError(28, "No space left on device")

        with pytest.raises(Exception, match="No space left on device"):
            write_nifti_gz(target / "run.nii.gz", image.header, failing())
    assert not list(target.iterdir())
    shutil.rmtree(target)
