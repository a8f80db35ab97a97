"""DICOM folders as NIfTI images with what their headers say, by dcm2niix; the only file that imports pydicom.

Owns which series a folder holds, whether one is complete, and the call of dcm2niix. Dates stay in the returned facts,
names of people do not; what of them enters a dataset is for ``release_kit.bids.sidecars`` to say.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.recordings.dicom_header import TAGS, Unsure, quick_header
from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.recordings.image import Image
from release_kit.bids.recordings.kept import keep, kept_name, take
from release_kit.bids.recordings.nifti_read import NiftiImage
from release_kit.bids.recordings.series import gaps
from release_kit.core.errors import MissingExtraError
from release_kit.core.files import TEMPORARY_PREFIX

if TYPE_CHECKING:
    import numpy as np

_FLAGS = ["-b", "y", "-ba", "o", "-z", "n", "-g", "i", "-f", "image", "-w", "2", "-l", "o"]
"""A sidecar with dates but without names; not compressed; no defaults from the user's home; numbers as recorded."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One DICOM series; it names the scanner's own identifiers and belongs into no dataset."""

    number: int | None
    description: str
    protocol: str
    modality: str
    uid: str
    files: tuple[Path, ...]
    """Sorted by instance number, then name."""
    instances: tuple[int, ...]
    n_frames: int
    """Images over all files; a mosaic counts as one."""
    n_pixels: int
    """Of all images."""
    mosaic: bool
    enhanced: bool

    def label(self) -> str:
        """Return how messages name the series: ``5 (cmrr_mbep2d_bold)``."""
        return f"{self.number if self.number is not None else '?'} ({self.description or self.protocol or 'no name'})"


def dicom_series(folder: Path) -> list[Series]:
    """Return the series with images in a folder (at any depth), or of one file, by number; other files are passed over.

    Raises:
        RecordingError: there is no DICOM file with an image.
        MissingExtraError: pydicom is not installed.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise MissingExtraError("pydicom", "dicom")
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [folder]
    grouped: dict[str, list[tuple[Any, Path]]] = {}
    for file in files:
        header = _read(file)
        if header is not None and "Rows" in header:
            grouped.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((header, file))
    if not grouped:
        what = f"there is no DICOM image among {len(files)} files" if folder.is_dir() else "this is no DICOM image"
        raise RecordingError(what, where=str(folder), next_step="check the pattern in the recipe")
    found = [_series(uid, members) for uid, members in grouped.items()]
    return sorted(found, key=lambda one: (one.number is None, one.number or 0, one.uid))


def choose_series(found: list[Series], wanted: int | str | None, where: str) -> Series:
    """Return the series of this number, or of this description or protocol; None where there is only one.

    Raises:
        RecordingError: none or several fit; those there are named.
    """
    text = str(wanted).strip()
    fits = [one for one in found if wanted is None or text in (str(one.number), one.description, one.protocol)]
    if len(fits) == 1:
        return fits[0]
    there = ", ".join(f"{one.label()}, {len(one.files)} files" for one in found)
    what = "it is not said which series this is" if wanted is None else f"{len(fits)} series fit {text!r}"
    raise RecordingError(f"{what} (there are: {there})", where=where, next_step="set options: {series: <number>}")


def convert_series(
    source: Series | Path, out_folder: Path, series: int | str | None = None
) -> tuple[Path, dict[str, Any]]:
    """Convert one series to one uncompressed NIfTI file in ``out_folder``.

    Args:
        source: a series, or a folder (or file) from which ``series`` chooses.
        out_folder: where ``series-<12 hex digits>.nii`` is put; made if missing.
        series: number or description, for a folder with more than one.

    Returns:
        The file, and what dcm2niix says of the series in BIDS terms (``RepetitionTime`` in s …).

    Raises:
        RecordingError: instances are missing or come twice, dcm2niix refuses, or the series is several images (echoes,
            magnitude and phase).
        MissingExtraError: dcm2niix or pydicom is not installed.
    """
    if not isinstance(source, Series):
        source = choose_series(dicom_series(source), series, str(source))
    where = str(source.files[0].parent)
    if problems := _incomplete(source):
        what = f"series {source.label()} of {len(source.files)} files is not complete: {'; '.join(problems)}"
        raise RecordingError(what, where=where, next_step="fetch the missing files from the scanner's archive")
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as scratch:
        image, sidecar = _dcm2niix(source, Path(scratch), where)
        _check_count(source, NiftiImage(image).header, where)
        out = out_folder / f"series-{hashlib.sha256(source.uid.encode()).hexdigest()[:12]}.nii"
        out_folder.mkdir(parents=True, exist_ok=True)
        shutil.move(image, out)
    return out, sidecar


class DicomImage(Image):
    """A DICOM series, converted aside into a temporary folder that goes when the image is closed."""

    def __init__(self, path: Path, series: int | str | None = None, *, kept: Path | None = None):
        self._path, self._wanted, self._kept = Path(path), series, kept
        self._resources = contextlib.ExitStack()
        try:
            scratch = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX)))
            self._name = kept_name(self._path, series) if kept else ""
            found = take(kept, self._name, scratch) if kept else None
            self._nifti, self.sidecar = found or convert_series(self._series, scratch)
            self._image = NiftiImage(self._nifti)
        except BaseException:
            self._resources.close()
            raise
        self.header = self._image.header

    @functools.cached_property
    def _series(self) -> Series:
        return choose_series(dicom_series(self._path), self._wanted, str(self._path))

    def keep(self) -> None:
        """Leave what was converted to whoever opens the series next; this image cannot be read afterwards."""
        if self._kept is not None:
            keep(self._kept, self._name, self._nifti, dict(self.sidecar))

    def volumes(self, start: int = 0) -> "Iterator[np.ndarray]":
        """Yield volumes as ``Image.volumes`` promises."""
        return self._image.volumes(start)

    def digest(self) -> str:
        """Return the sha256 of the sorted sha256 of the DICOM files, a line each: names do not matter."""
        digests = []
        for path in self._series.files:
            with open(path, "rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(digests)).encode()).hexdigest()

    def check_size(self) -> int:
        """Hold what dcm2niix wrote against its header."""
        return self._image.check_size()


def _read(file: Path) -> Any:
    """Return the header of a DICOM file, None for other files; what is not plain is asked of pydicom."""
    try:
        return quick_header(file)
    except Unsure:
        return _read_any(file)


def _read_any(file: Path) -> Any:
    """Return the same by pydicom; oddities of scanners are not ours to judge."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        except pydicom.errors.InvalidDicomError:
            return None
        except (OSError, EOFError, ValueError, AttributeError, NotImplementedError) as error:
            what = f"the DICOM header cannot be read ({error})"
            raise RecordingError(what, where=str(file), next_step="copy the file again") from error


def _series(uid: str, members: list[tuple[Any, Path]]) -> Series:
    def number(header: Any, name: str, default: int) -> int:
        value = header.get(name)
        return int(value) if value not in (None, "") else default

    members = sorted(members, key=lambda pair: (number(pair[0], "InstanceNumber", 0), pair[1]))
    first, frames = members[0][0], [number(header, "NumberOfFrames", 1) for header, _ in members]
    return Series(
        number=number(first, "SeriesNumber", -1) if first.get("SeriesNumber") not in (None, "") else None,
        description=str(first.get("SeriesDescription", "")),
        protocol=str(first.get("ProtocolName", "")),
        modality=str(first.get("Modality", "")),
        uid=uid,
        files=tuple(file for _, file in members),
        instances=tuple(number(header, "InstanceNumber", 0) for header, _ in members),
        n_frames=sum(frames),
        n_pixels=sum(
            n * number(h, "Rows", 0) * number(h, "Columns", 0) for n, (h, _) in zip(frames, members, strict=True)
        ),
        mosaic=any("MOSAIC" in (header.get("ImageType") or ()) for header, _ in members),
        enhanced=any(header.get("SOPClassUID", "").endswith(".4.1") for header, _ in members),
    )


def _incomplete(series: Series) -> list[str]:
    """Return gaps and doublets of the instance numbers, where the scanner numbered its files."""
    if len(series.files) < 2 or set(series.instances) == {0}:
        return []
    numbers = sorted(series.instances)
    twice = sum(n - 1 for n in Counter(numbers).values())
    return [f"instance {problem}" for problem in gaps(sorted(set(numbers)))] + (
        [f"{twice} instance numbers come twice"] if twice else []
    )


def _check_count(series: Series, facts: ImageFacts, where: str) -> None:
    """Hold what was made against the files: dcm2niix leaves out what it cannot read and goes on."""
    made, expected, unit = facts.n_volumes, series.n_frames, "volumes"
    if not series.mosaic:
        made, expected, unit = math.prod(facts.shape) * facts.n_volumes, series.n_pixels, "voxels"
    if made != expected:
        what = f"dcm2niix made {made} {unit} of the {expected} in series {series.label()}"
        raise RecordingError(what, where=where, next_step="look for damaged files and fetch them again")


def _dcm2niix(series: Series, scratch: Path, where: str) -> tuple[Path, dict[str, Any]]:
    """Run dcm2niix on exactly the files of a series."""
    try:
        import dcm2niix
    except ImportError as error:
        raise MissingExtraError("dcm2niix", "dicom") from error
    inputs, outputs = scratch / "in", scratch / "out"
    inputs.mkdir()
    outputs.mkdir()
    for index, file in enumerate(series.files):
        (inputs / f"{index:06d}.dcm").symlink_to(file.resolve())
    command = [dcm2niix.bin, *_FLAGS, "-o", str(outputs), str(inputs)]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    images = sorted(outputs.glob("*.nii"))
    if ran.returncode or not images:
        said = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip() and str(scratch) not in line]
        what = f"dcm2niix made no image of series {series.label()}: {' | '.join(said[-3:])}"
        raise RecordingError(what, where=where, next_step="convert the series by hand to see all it says")
    if len(images) > 1:
        names = ", ".join(image.name for image in images)
        what = f"series {series.label()} is {len(images)} images ({names})"
        raise RecordingError(what, where=where, next_step="convert it by hand and name the image of the run as nifti")
    sidecar = images[0].with_suffix(".json")
    return images[0], json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.exists() else {}
