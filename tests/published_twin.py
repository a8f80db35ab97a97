"""Makes a twin of the published layout of the seed's study: its real names, tiny contents.

The names come from the dataset's public file tree, which does not ship with the code: tests skip where it is absent.
What the twin holds (device serials, pickles, annotation as lines of text) is what the published dataset holds; the
values are invented.
"""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bids_factory
import numpy as np
import pytest

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ds005531"
TEXT_FILES = ("README", "CHANGES", "dataset_description.json")

SIDECAR = {
    "Modality": "MR",
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "MAGNETOM Vida",
    "MagneticFieldStrength": 3,
    "InstitutionName": "Institute of Examples",
    "InstitutionAddress": "Sample Street 1, Exampletown, Nowhere, JP, 0000000",
    "DeviceSerialNumber": "100200",
    "StationName": "MRC00000",
    "AcquisitionTime": "10:11:12.130000",
    "EchoTime": 0.03,
    "FlipAngle": 60,
}


@dataclass(frozen=True, kw_only=True)
class TreeFile:
    """One file of the published tree."""

    path: str
    size_bytes: int
    annex_key: str


def published_tree() -> list[TreeFile]:
    """Return every file of the published dataset, or skip the test where the tree is not at hand."""
    table = PUBLISHED / "tree.tsv"
    if not table.is_file():
        pytest.skip("the public file tree of the study (shared/data/ds005531/tree.tsv) is not at hand")
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    return [TreeFile(path=row[0], size_bytes=int(row[3]), annex_key=row[4]) for row in rows]


def make_published(folder: Path, *, got: bool = True, marker: Path | None = None, subjects: int = 6) -> Path:
    """Write the twin into ``folder``.

    Args:
        folder: made new.
        got: False leaves every annexed file as the dangling link that a fresh clone has.
        marker: a file that appears as soon as anybody loads one of the pickles.
        subjects: how many of the six subjects to take.
    """
    for file in published_tree():
        if not _belongs(file.path, subjects):
            continue
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.annex_key and not got:
            up = "../" * file.path.count("/")
            hashed = f"{zlib.crc32(file.annex_key.encode()):08x}"
            path.symlink_to(f"{up}.git/annex/objects/{hashed[:2]}/{hashed[2:4]}/{file.annex_key}/{file.annex_key}")
        else:
            _write(path, file, marker, subjects)
    return folder


def _belongs(path: str, subjects: int) -> bool:
    others = [f"sub-S{n:02d}" for n in range(subjects + 1, 7)]
    return not any(other in path for other in others)


def _write(path: Path, file: TreeFile, marker: Path | None, subjects: int) -> None:
    name = path.name
    if file.path in TEXT_FILES:
        path.write_bytes((PUBLISHED / name).read_bytes())
    elif name == "participants.tsv":
        rows = [f"sub-S{n:02d}\t{sex}\t{20 + n}" for n, sex in enumerate("FMFMFM"[:subjects], start=1)]
        path.write_text("participant_id\tsex\tage\n" + "\n".join(rows) + "\n", encoding="utf-8")
    elif name.endswith(".nii.gz"):
        random = np.random.default_rng(zlib.crc32(file.path.encode()))
        n_volumes = (
            10 + zlib.crc32(name[8:].encode()) % 50
        )  # sub-SNN_ left out: a film takes the same time for everybody
        bold = name.endswith("_bold.nii.gz")
        shape = (3, 3, 2, n_volumes) if bold else (4, 4, 4)
        bids_factory.write_nifti(path, random.integers(0, 900, shape), tr_s=1.0 if bold else None)
    elif name.endswith(".json"):
        task = file.path.partition("_task-")[2].partition("_")[0]
        facts = {**SIDECAR, "TaskName": task, "RepetitionTime": 1.0} if task else SIDECAR
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    elif name.endswith(".pkl"):
        path.write_bytes(trap(marker))
    elif name.endswith(".mat"):
        path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(64))
    elif name.endswith(".txt"):
        path.write_text("".join(_lines(12)), encoding="utf-8")
    else:
        path.write_bytes(f"twin of {file.path}\n".encode())


def _lines(n: int) -> Iterator[str]:
    for second in range(n):
        yield f"[{second}]メイン#不明:{second} 秒の出来事/人物:第二の注釈\n"


def trap(marker: Path | None) -> bytes:
    """Return a pickle that makes ``marker`` when it is loaded, written by hand."""
    if marker is None:
        return b"\x80\x03}q\x00."
    command = f"touch '{os.fspath(marker)}'"
    return b"\x80\x02cposix\nsystem\n(V" + command.encode("unicode_escape") + b"\ntR."
