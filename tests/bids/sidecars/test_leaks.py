"""Whatever identifies a person is found wherever it hides, and what cannot be looked into counts as found."""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.leak_words import WordFinder
from release_kit.bids.sidecars.leaks import find_leaks

WORDS = ("AB12", "Tanaka", "田中", "Müller")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small dataset that tells nothing."""
    root = tmp_path / "dataset"
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4))
    write(root / "sub-01/func/sub-01_task-film_bold.nii.gz", gzip.compress(image.to_bytes(), mtime=0))
    write(root / "sub-01/func/sub-01_task-film_bold.json", b'{"TaskName": "film", "RepetitionTime": 1.0}')
    write(root / "sub-01/sub-01_scans.tsv", b"filename\tacq_time\nfunc/x_bold.nii.gz\t1793-09-10T13:49:38\n")
    write(root / "participants.tsv", b"participant_id\tage\tsex\nsub-01\t28\tF\nsub-02\t89+\tM\n")
    write(root / "dataset_description.json", b'{"Name": "Film", "BIDSVersion": "1.11.1"}')
    write(root / "stimuli/stimuli.json", b'{"released": {"Description": "2008-01-20"}}')
    pq.write_table(pa.table({"text": ["a man walks"]}), root / "stimuli/story.parquet")
    write(root / ".git/config", b"AB12 in the history is not looked at")
    return root


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def codes(root: Path, **options) -> list[tuple[str, str]]:
    return [(leak.path, leak.code) for leak in find_leaks(root, WORDS, **options)]


def test_a_clean_dataset_has_no_finding(dataset: Path):
    assert codes(dataset) == []


ENCODINGS = [
    ("Tanaka", "utf-8"), ("tanaka", "utf-16"), ("TANAKA", "utf-16-be"), ("田中", "utf-8"), ("田中", "cp932"),
    ("田中", "euc_jp"), ("田中", "iso2022_jp"), ("田中", "utf-16-le"), ("müller", "latin-1"), ("MÜLLER", "utf-8"),
    ("Mu\u0308ller", "utf-8"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "encoding"), ENCODINGS)
def test_a_word_is_found_in_every_encoding(dataset: Path, word: str, encoding: str):
    write(dataset / "stimuli/notes.txt", f"one\nwritten by {word} on a day\n".encode(encoding))
    assert codes(dataset) == [("stimuli/notes.txt", "word")]


@pytest.mark.parametrize("text", [json.dumps({"a": "田中"}), "by %E7%94%B0%E4%B8%AD", "by &#30000;&#20013;"])
def test_a_word_is_found_when_it_is_escaped(dataset: Path, text: str):
    write(dataset / "code/notes.txt", text.encode())
    assert codes(dataset) == [("code/notes.txt", "word")]


def test_words_are_found_in_names_of_files_and_folders(dataset: Path):
    write(dataset / "sourcedata/AB12/notes.txt", b"nothing")
    write(dataset / "sourcedata/story_田中.txt", b"nothing")
    assert codes(dataset) == [("sourcedata/AB12/notes.txt", "name"), ("sourcedata/story_田中.txt", "name")]


def test_reports_never_spell_the_word_out(dataset: Path):
    write(dataset / "stimuli/notes.txt", b"1\n2\nby Tanaka")
    (leak,) = find_leaks(dataset, WORDS)
    assert "Tanaka" not in json.dumps(leak.to_dict()) and "line 3" in leak.what and leak.severity == "error"


def test_a_short_word_is_not_found_inside_a_digest_or_a_longer_number():
    finder = WordFinder(["AB12", "DM01"])
    assert finder.search([b"sha256 00ab12ff, dm011, xdm01"]) == []
    assert [hit.word for hit in finder.search([b"sub_ab12.nii dm01_run1"])] == ["AB12", "DM01"]


def test_a_word_that_stands_everywhere_by_chance_is_not_searched_for_but_told(dataset: Path):
    found = find_leaks(dataset, ["01", "1867", "森", "fi", "28", "12345"])
    assert {(leak.path, leak.code, leak.severity) for leak in found} == {(".", "short-word", "warning")}
    assert len(found) == 5


def test_films_are_searched_without_accidents(dataset: Path):
    noise = np.random.default_rng(5).integers(0, 256, 4096, dtype=np.uint8).tobytes()
    film = b"\x00\x00\x00\x20ftypisom" + noise
    write(dataset / "stimuli/a.mp4", film + b"\x01dm01\xff" + noise)
    write(dataset / "stimuli/b.mp4", film + b"\x00title: DM01_second_part\x00" + noise)
    write(dataset / "stimuli/c.mp4", film + b"\x00Watanabe\x00" + noise)
    found = find_leaks(dataset, ["DM01", "Watanabe"])
    assert [(leak.path, leak.code) for leak in found] == [("stimuli/b.mp4", "word"), ("stimuli/c.mp4", "word")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_words_are_found_across_the_pieces_of_a_stream(size: int):
    data = ("x" * 50 + "\nTanaka AB12\n" + "田中").encode()
    whole = WordFinder(WORDS).search([data])
    assert WordFinder(WORDS).search([data[i : i + size] for i in range(0, len(data), size)]) == whole
    assert [(hit.word, hit.line) for hit in whole] == [("AB12", 2), ("Tanaka", 2), ("田中", 3)]


def test_words_are_found_in_compressed_tables(dataset: Path):
    pq.write_table(pa.table({"n": [1], "speaker": ["said Tanaka"]}), dataset / "stimuli/a.parquet", compression="zstd")
    coded = pa.array(["Tanaka", "x"]).dictionary_encode()
    pq.write_table(pa.table({"who": coded}), dataset / "stimuli/b.parquet")
    write(dataset / "sub-01/func/sub-01_task-film_physio.tsv.gz", gzip.compress(b"1\t2\nAB12\t3\n", mtime=0))
    found = codes(dataset)
    assert ("stimuli/a.parquet", "word") in found and ("stimuli/b.parquet", "word") in found
    assert ("sub-01/func/sub-01_task-film_physio.tsv.gz", "word") in found


def gzip_with(data: bytes, flags: int, fields: bytes, mtime: int = 0) -> bytes:
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    tail = struct.pack("<II", zlib.crc32(data), len(data))
    return (
        b"\x1f\x8b\x08"
        + struct.pack("<BIBB", flags, mtime, 0, 255)
        + fields
        + body.compress(data)
        + body.flush()
        + tail
    )


@pytest.mark.parametrize(
    ("flags", "fields", "mtime", "code"),
    [
        (8, b"scan_0412.nii\0", 0, "gzip-name"),
        (0, b"", 1_700_000_000, "gzip-time"),
        (16, b"made in room 4\0", 0, "gzip-note"),
        (4, b"\x04\x00abcd", 0, "gzip-note"),
    ],
)
def test_what_a_gzip_header_tells_is_found(dataset: Path, flags: int, fields: bytes, mtime: int, code: str):
    path = dataset / "sub-01/func/sub-01_task-film_bold.nii.gz"
    write(path, gzip_with(gzip.decompress(path.read_bytes()), flags, fields, mtime))
    assert [found for _, found in codes(dataset)] == [code]


def test_its_own_name_in_a_gzip_header_is_no_news(dataset: Path):
    path = dataset / "sub-01/func/sub-01_task-film_bold.nii.gz"
    write(path, gzip_with(gzip.decompress(path.read_bytes()), 8, b"sub-01_task-film_bold.nii\0"))
    assert codes(dataset) == []


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        ("descrip", b"TE=30;Time=134938.315", "time"),
        ("aux_file", b"see Tanaka", "word"),
        ("intent_name", b"pilot", "header-text"),
    ],
)
def test_text_in_a_nifti_header_is_found(dataset: Path, kind, field: str, text: bytes, code: str):
    image = kind(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header[field] = text
    write(dataset / "sub-01/anat/sub-01_T1w.nii.gz", gzip.compress(image.to_bytes(), mtime=0))
    assert code in [found for _, found in codes(dataset)]


def test_header_extensions_are_found_with_what_they_hold(dataset: Path):
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"scanned by Tanaka"))
    write(dataset / "sub-01/anat/sub-01_T1w.nii", image.to_bytes())
    assert [code for _, code in codes(dataset)] == ["nifti-extension", "word"]


def test_the_extension_of_cifti_is_searched_but_belongs_to_its_format(dataset: Path):
    for name, text in (("a", b"<CIFTI/>"), ("b", b"<CIFTI>by Tanaka</CIFTI>")):
        image = nibabel.Nifti2Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(32, text))
        write(dataset / f"derivatives/{name}.dscalar.nii", image.to_bytes())
    assert codes(dataset) == [("derivatives/b.dscalar.nii", "word")]


def test_arrays_are_no_texts_and_arrays_of_objects_are_opaque(dataset: Path):
    noise = np.random.default_rng(5).integers(0, 256, 1 << 20, dtype=np.uint8)
    noise[1000:1004] = np.frombuffer(b"AB12", np.uint8)
    np.save(dataset / "derivatives.npy", noise)
    np.save(dataset / "objects.npy", np.array([{"a": 1}], dtype=object))
    assert codes(dataset) == [("objects.npy", "opaque")]


def test_bytes_hidden_between_header_and_voxels_are_found(dataset: Path):
    data = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes())
    data[108:112], data[352:352] = struct.pack("<f", 416), b"room four".ljust(64, b"\0")
    write(dataset / "sub-01/anat/sub-01_T1w.nii", bytes(data))
    assert [code for _, code in codes(dataset)] == ["hidden"]


def test_dicom_files_are_found_whatever_they_are_called(dataset: Path):
    real = Path(nibabel.__file__).parent / "tests/data/0.dcm"
    shutil.copy(real, dataset / "sub-01/func/notes.bin")
    write(dataset / "sourcedata/x.dcm.gz", gzip.compress(real.read_bytes(), mtime=0))
    write(dataset / "sourcedata/0001.IMA", b"whatever")
    assert [code for _, code in codes(dataset)] == ["dicom"] * 3


def test_pictures_are_searched_for_what_they_carry(dataset: Path):
    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "a program")
    Image.new("L", (4, 4)).save(dataset / "stimuli/clean.png", pnginfo=notes)
    notes.add_itxt("Comment", "drawn by Tanaka", zip=True)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.new("L", (4, 4)).save(dataset / "stimuli/a.png", pnginfo=notes, exif=exif)
    Image.new("L", (4, 4)).save(dataset / "stimuli/b.jpg", exif=exif)
    found = codes(dataset)
    assert found == [
        ("stimuli/a.png", "exif"), ("stimuli/a.png", "exif"), ("stimuli/a.png", "word"), ("stimuli/b.jpg", "exif")
    ]  # fmt: skip


def test_keys_of_the_scrub_list_are_found_at_any_depth(dataset: Path):
    path = dataset / "sub-01/func/sub-01_task-film_bold.json"
    write(path, b'{"DeviceSerialNumber": "35131", "Nested": [{"stationname": "MRC"}], "Other": "1.3.12.2.1107.5.2"}')
    found = [leak.what.split("`")[1] for leak in find_leaks(dataset)]
    assert found == ["DeviceSerialNumber", "Nested[0].stationname", "Other"]
    assert len(find_leaks(dataset, privacy=Privacy(keep=("DeviceSerialNumber", "Other")))) == 1


@pytest.mark.parametrize(
    ("name", "table", "code"),
    [
        ("sub-01/sub-01_scans.tsv", "filename\tacq_time\nx\tn/a\ny\t2024-05-01T10:00:00\n", "time"),
        ("participants.tsv", "participant_id\tage\nsub-01\t93\n", "age"),
        ("participants.tsv", "participant_id\tdate_of_birth\nsub-01\tn/a\n", "column"),
    ],
)
def test_tables_that_tell_who_or_when_are_found(dataset: Path, name: str, table: str, code: str):
    write(dataset / name, table.encode())
    assert codes(dataset) == [(name, code)]


def opaque(kind: str) -> bytes:
    if kind == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a", "b")
        return stream.getvalue()
    return {"pickle": pickle.dumps({"a": 1}), "random": bytes(range(255, 0, -1)) + b"\0\0\0", "pdf": b"%PDF-1.7"}[kind]


@pytest.mark.parametrize("kind", ["zip", "pickle", "random", "pdf"])
def test_a_kind_that_cannot_be_looked_into_is_a_finding(dataset: Path, kind: str):
    write(dataset / "derivatives/x.bin", opaque(kind))
    assert codes(dataset) == [("derivatives/x.bin", "opaque")]


def test_links_in_circles_and_pipes_do_not_stop_the_look(dataset: Path):
    (dataset / "self.txt").symlink_to("self.txt")
    (dataset / "there").symlink_to("back")
    (dataset / "back").symlink_to("there")
    os.mkfifo(dataset / "pipe.tsv")
    assert codes(dataset) == [(name, "opaque") for name in ("back", "pipe.tsv", "self.txt", "there")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", gzip.compress(b"\x5c\x01\x00\x00short", mtime=0)),
        ("sub-01/anat/sub-01_T1w.nii.gz", gzip.compress(b"x" * 4000, mtime=0)[:14]),
        ("sub-01/anat/sub-01_T1w.nii.gz", b"not an image at all"),
        ("sub-01/anat/sub-01_T1w.json", b"{broken"),
        ("stimuli/a.parquet", b"PAR1 and nothing else"),
        ("stimuli/a.png", b"\x89PNG\r\n\x1a\n\x00\x00"),
    ],
)
def test_a_damaged_file_is_a_finding(dataset: Path, name: str, data: bytes):
    write(dataset / name, data)
    found = codes(dataset)
    assert [path for path, _ in found] == [name] and found[0][1] in ("unreadable", "opaque")


def test_absent_annex_content_fails_closed_unless_it_is_said_to_be_absent(dataset: Path):
    link = dataset / "sub-01/anat/sub-01_T1w.nii.gz"
    link.parent.mkdir()
    link.symlink_to("../../.git/annex/objects/aa/bb/SHA256E-s4--00.nii.gz/SHA256E-s4--00.nii.gz")
    write(dataset / "sub-01/anat/sub-01_T2w.nii.gz", b"/annex/objects/SHA256E-s4--00.nii.gz\n")
    assert [code for _, code in codes(dataset)] == ["absent", "absent"]
    assert codes(dataset, content=False) == []


def test_a_word_in_an_annex_key_is_found_although_its_content_is_not_here(dataset: Path):
    (dataset / "a.nii.gz").symlink_to(".git/annex/objects/aa/bb/WORM-s4--Tanaka.nii.gz/WORM-s4--Tanaka.nii.gz")
    write(dataset / "b.nii.gz", b"/annex/objects/WORM-s4--Tanaka.nii.gz\n")
    assert codes(dataset, content=False) == [("a.nii.gz", "word"), ("b.nii.gz", "word")]


def test_links_that_lead_out_of_the_dataset_are_found(dataset: Path, tmp_path: Path):
    write(tmp_path / "Tanaka/notes.txt", b"x")
    os.symlink(tmp_path / "Tanaka/notes.txt", dataset / "notes.txt")
    os.symlink("nowhere", dataset / "broken.txt")
    assert codes(dataset) == [("broken.txt", "opaque"), ("notes.txt", "link"), ("notes.txt", "word")]


def seeds() -> dict[str, bytes]:
    """Small real files of each kind that is read byte by byte."""
    from PIL import Image, PngImagePlugin

    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note"))
    notes, png, jpg = PngImagePlugin.PngInfo(), io.BytesIO(), io.BytesIO()
    notes.add_itxt("Comment", "a text", zip=True)
    Image.new("L", (4, 4)).save(png, "png", pnginfo=notes)
    Image.new("L", (4, 4)).save(jpg, "jpeg", comment=b"a comment")
    table, parquet = pa.table({"text": ["a", "b"]}), io.BytesIO()
    pq.write_table(table, parquet)
    return {
        "a.nii": image.to_bytes(),
        "a.nii.gz": gzip_with(image.to_bytes(), 8 | 4 | 16, b"\x02\x00abname\0comment\0"),
        "a.png": png.getvalue(),
        "a.jpg": jpg.getvalue(),
        "a.parquet": parquet.getvalue(),
        "a.json": b'{"StationName": [{"x": "2014-03-10"}]}',
        "a_scans.tsv": b"filename\tacq_time\tage\nx\t2024-01-01T00:00:00\t90\n",
    }


SEEDS = seeds()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=4)), max_size=4),
    st.data(),
)
def test_no_damaged_file_stops_the_look(tmp_path: Path, name: str, changes, data):
    content = bytearray(SEEDS[name])
    for place, new in changes:
        content[place : place + len(new)] = new
    cut = data.draw(st.integers(0, len(content)))
    write(tmp_path / "d/sub-01" / name, bytes(content[:cut]) if cut % 3 == 0 else bytes(content))
    assert all(leak.what for leak in find_leaks(tmp_path / "d", WORDS))
