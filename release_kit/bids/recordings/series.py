"""A run stored as one 3D NIfTI file a volume: which files it is, in which order, and as one series.

Owns the order by number, and the refusal of gaps, of two files for one number and of files that differ in anything but
their voxels. Each file is read by ``nifti_read.py``.
"""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.recordings.image import Image, read_ahead
from release_kit.bids.recordings.nifti_read import NiftiImage

if TYPE_CHECKING:
    import numpy as np

_ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz")
_NUMBER = re.compile(r"\d+")
_SHOWN = 5
_SAME = ("shape", "dtype", "byte_order", "slope", "inter", "qform_code", "sform_code", "voxel_mm")
_AFFINE_MM = 1e-3
"""Affines may differ by rounding of this many mm."""


def series_files(path: Path) -> list[Path]:
    """Return the files of a series in the order of their numbers; neither names nor dates decide.

    Args:
        path: a folder, or a pattern with ``*`` or ``?`` in its last part. The number is the group of digits that
            differs between the names; where several do (scan and acquisition), they must rise together.

    Raises:
        RecordingError: no files, names that differ in more than a number, several numbers that do not rise together, a
            number that is missing or comes twice. All gaps are named.
    """
    names = _candidates(Path(path))
    if not names:
        step = "check the pattern in the recipe"
        raise RecordingError("there are no NIfTI files of a series here", where=str(path), next_step=step)
    skeletons = Counter(_NUMBER.sub("#", file.name) for file in names)
    if len(skeletons) > 1:
        kinds = ", ".join(f"{n} x {name}" for name, n in sorted(skeletons.items())[:_SHOWN])
        step = "name the files of this run by a pattern, such as f_*.nii"
        raise RecordingError(f"the names are of {len(skeletons)} kinds ({kinds})", where=str(path), next_step=step)
    numbered = sorted((_numbers(names, path)[file], file) for file in names)
    if problems := gaps([number for number, _ in numbered]):
        what = f"the series of {len(numbered)} files is not complete: {'; '.join(problems)}"
        step = "fetch the missing files, or move what does not belong to the run elsewhere"
        raise RecordingError(what, where=str(path), next_step=step)
    return [file for _, file in numbered]


class SeriesImage(Image):
    """A series of 3D files as one 4D image; the TR is not in such files, so ``header.tr_s`` is None."""

    def __init__(self, path: Path):
        self._path = Path(path)
        self._images = [NiftiImage(file) for file in series_files(self._path)]
        self.header = self._common()

    def volumes(self, start: int = 0) -> "Iterator[np.ndarray]":
        """Yield volumes as ``Image.volumes`` promises; files before ``start`` are not read."""
        images = self._images[start:]

        def read(index: int) -> "np.ndarray":
            (volume,) = images[index].volumes()
            return volume

        return read_ahead(read, len(images), self.header.volume_bytes)

    def digest(self) -> str:
        """Return the sha256 of the files' digests, a line each, in the order of the series."""
        return hashlib.sha256("".join(f"{image.digest()}\n" for image in self._images).encode()).hexdigest()

    def check_size(self) -> int:
        """Hold the size of every file against its header and name all that are wrong."""
        problems, surplus = [], 0
        for image in self._images:
            try:
                surplus += image.check_size()
            except RecordingError as error:
                problems.append(f"{image.data_path.name}: {error.what}")
        self._refuse(problems, "copy them again from where they were recorded")
        return surplus

    def _common(self) -> ImageFacts:
        """Return the facts that all files share."""
        first = self._images[0].header
        problems = []
        for image in self._images:
            facts = image.header
            if facts.n_volumes != 1:
                problems.append(f"{image.data_path.name}: {facts.n_volumes} volumes, expected 1")
            for name in _SAME:
                if getattr(facts, name) != getattr(first, name):
                    there, here = getattr(first, name), getattr(facts, name)
                    problems.append(f"{image.data_path.name}: {name} {here}, the first file has {there}")
            if _distance_mm(facts, first) > _AFFINE_MM:
                problems.append(f"{image.data_path.name}: another position or orientation than the first file")
        self._refuse(problems, "write the run as one 4D file with the program that made these")
        texts = {name for image in self._images for name in image.header.free_text}
        return replace(
            first,
            n_volumes=len(self._images),
            n_dims=4,
            tr_s=None,
            tr_unit_known=False,
            n_extensions=sum(image.header.n_extensions for image in self._images),
            free_text=tuple(sorted(texts)),
        )

    def _refuse(self, problems: list[str], next_step: str) -> None:
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            what = "files of the series are wrong: " + "; ".join(problems[:_SHOWN]) + more
            raise RecordingError(what, where=str(self._path), next_step=next_step)


def _candidates(path: Path) -> list[Path]:
    """Return the files with voxels that a folder or a pattern names."""
    if set("*?[") & set(path.name):
        found = path.parent.glob(path.name)
    elif path.is_dir():
        found = path.iterdir()
    else:
        found = iter([path] if path.is_file() else [])
    return sorted(file for file in found if file.name.lower().endswith(_ENDINGS) and not file.name.startswith("."))


def _numbers(names: list[Path], path: Path) -> dict[Path, int]:
    """Return each file's number: the last group of digits that varies."""
    groups = {file: [int(text) for text in _NUMBER.findall(file.name)] for file in names}
    columns = list(zip(*groups.values(), strict=True))
    varying = [index for index, column in enumerate(columns) if len(set(column)) > 1]
    if not varying:
        return {file: index for index, file in enumerate(names)} if len(names) == 1 else dict.fromkeys(names, 0)
    steps = {tuple(row[index] - row[varying[-1]] for index in varying) for row in groups.values()}
    if len(steps) > 1:
        what = f"several numbers vary in the names ({names[0].name} … {names[-1].name}): is this more than one run?"
        raise RecordingError(what, where=str(path), next_step="name one run by a pattern, such as r1_*.nii")
    return {file: row[varying[-1]] for file, row in groups.items()}


def gaps(numbers: list[int]) -> list[str]:
    """Return what is missing between the first and the last number, and what is there twice."""
    problems = [f"number {number} comes {n} times" for number, n in sorted(Counter(numbers).items()) if n > 1]
    for before, after in itertools.pairwise(numbers):
        if after - before == 2:
            problems.append(f"number {before + 1} is missing")
        elif after - before > 2:
            problems.append(f"numbers {before + 1} to {after - 1} are missing")
    return problems


def _distance_mm(one: ImageFacts, other: ImageFacts) -> float:
    """Return the largest difference of two affines."""
    return max(abs(a - b) for rows in zip(one.affine, other.affine, strict=True) for a, b in zip(*rows, strict=True))
