"""Contents inside of contents: later members of gzip files, and names and texts in MATLAB and HDF5 files."""

import gzip
import io
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from release_kit.bids.sidecars.leaks import find_leaks


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An empty dataset."""
    return tmp_path / "dataset"


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def codes(root: Path) -> list[tuple[str, str]]:
    return [(leak.path, leak.code) for leak in find_leaks(root, ("AB12", "Tanaka", "田中"))]


def named_gzip(data: bytes, name: str) -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=stream, mtime=0) as inner:
        inner.write(data)
    return stream.getvalue()


def nifti_gz() -> bytes:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    return gzip.compress(image.to_bytes(), mtime=0)


@pytest.mark.parametrize("first", [b"onset\tduration\n", None])
def test_every_member_of_a_gzip_file_is_looked_at(dataset: Path, first: bytes | None):
    name = "sub-01/func/a_physio.tsv.gz" if first else "sub-01/anat/sub-01_T1w.nii.gz"
    begin = gzip.compress(first, mtime=0) if first else nifti_gz()
    write(dataset / name, begin + b"\0\0" + named_gzip(b"1\t2\n", "tanaka.tsv"))
    assert codes(dataset) == [(name, "gzip-name")]
    write(dataset / name, begin + gzip.compress(b"for Tanaka\n", mtime=0))
    assert codes(dataset) == [(name, "word")]
    write(dataset / name, begin + b"not compressed: Tanaka")
    assert [path for path, _ in codes(dataset)] == [name]


def mat73(path: Path, **variables) -> None:
    """Write a MATLAB 7.3 file: arrays as they are, texts as MATLAB's characters, other values as h5py has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, str):
                data = np.frombuffer(value.encode("utf-16-le"), np.uint16)[:, None]
                file.create_dataset(f"#refs#/{name}", data=data).attrs["MATLAB_class"] = np.bytes_("char")
                file.create_dataset(name, data=file[f"#refs#/{name}"].ref, dtype=h5py.ref_dtype)
            else:
                file[name] = value
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"dataDT": np.zeros((3, 4))}, None),
        ({"dataDT": np.zeros((3, 4)), "subject": "S01"}, None),
        ({"subject": "of Tanaka"}, "word"),
        ({"subject": "田中"}, "word"),
        ({"of_tanaka": np.zeros(3)}, "word"),
        ({"note": np.bytes_(b"Tanaka")}, "word"),
        ({"elsewhere": h5py.ExternalLink("tanaka.mat", "/x")}, "word"),
        ({"thing": np.void(b"\x01\x02")}, "unreadable"),
    ],
)
def test_matlab_files_are_searched_or_named_as_not_looked_into(dataset: Path, variables: dict, code: str | None):
    mat73(dataset / "derivatives/x/a.mat", **variables)
    found = [one for _, one in codes(dataset)]
    assert found == (["unreadable"] if code == "unreadable" else sorted(["header-text", *([code] if code else [])]))


def test_objects_of_matlab_and_texts_of_version_5_are_not_looked_into(dataset: Path):
    mat73(dataset / "a.mat", **{"#subsystem#/MCOS": np.zeros(3, np.uint8)})
    scipy.io.savemat(dataset / "b.mat", {"numbers": np.eye(3), "text": "S01"}, do_compression=True)
    scipy.io.savemat(dataset / "c.mat", {"numbers": np.eye(3)}, do_compression=True)
    scipy.io.savemat(dataset / "d.mat", {"of_tanaka": np.eye(3)}, do_compression=True)
    found = [one for one in codes(dataset) if one[1] != "header-text"]
    assert found == [("a.mat", "unreadable"), ("b.mat", "unreadable"), ("d.mat", "word")]
