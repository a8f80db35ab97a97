"""What a dataset gives to an analysis, whatever its layout: subjects, runs, responses, masks, annotations.

Owns the interface and the choice of the layout. ``bids.py`` reads BIDS datasets, ``published.py`` the layout in which
the seed's study was published.
"""

import abc
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.encoding.data.masks import SURFACE, VOLUME
from release_kit.encoding.data.masks import Mask as Mask
from release_kit.encoding.data.runs import RunInfo

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUTS = ("bids", "ds005531")
KINDS = (VOLUME, SURFACE)


@dataclass(frozen=True, kw_only=True)
class ResponsesSpec:
    """Which recordings of a dataset are the responses."""

    layout: str = "bids"
    """``bids``, or ``ds005531`` for the seed's study as it was published."""
    derivative: str | None = None
    """Folder below ``derivatives/``; None: the raw recordings."""
    space: str | None = None
    """The ``space-`` of the files; None where each run has one."""
    desc: str | None = None
    """The ``desc-`` of the files; None where each run has one."""
    mask: str | None = None
    """Path of the mask inside the derivative (else the dataset), which may name ``{subject}``, ``{space}`` and, of
    surfaces, ``{hemi}``; None: every voxel."""
    leave_out: tuple[str, ...] = ()
    """Tasks, runs or stimuli, by name, that are not looked at: their recordings need not be here."""
    kind: str = VOLUME
    """``volume`` (``.nii``, ``.nii.gz``) or ``surface`` (``.func.gii``, a file a hemisphere)."""

    def __post_init__(self) -> None:
        for name, value, known in (("layout", self.layout, LAYOUTS), ("kind", self.kind, KINDS)):
            if value not in known:
                raise UsageError(f"{name} {value!r} is not known{nearest(value, known)}")
        if self.mask and self.kind == SURFACE and "{hemi}" not in self.mask:
            raise UsageError("the mask of a surface is two files", next_step="put {hemi} (L, R) into its path")


class Dataset(abc.ABC):
    """An opened dataset; nothing but names is read before it is asked for."""

    root: Path

    @property
    @abc.abstractmethod
    def subjects(self) -> tuple[str, ...]:
        """Labels, without ``sub-``, of everybody who has responses; sorted."""

    @abc.abstractmethod
    def runs(self, subject: str) -> tuple[RunInfo, ...]:
        """Return the runs of a subject in the order of their task and number; headers are read, values are not.

        Raises:
            DataError: everything that keeps runs of this subject from being used.
            UsageError: there is no such subject.
        """

    @abc.abstractmethod
    def mask(self, subject: str) -> Mask:
        """Return the analysed voxels of a subject.

        Raises:
            ReleaseKitError: it cannot be read.
        """

    @abc.abstractmethod
    def responses(self, subject: str, run: RunInfo) -> npt.NDArray[np.float32]:
        """Return (n_volumes, n_voxels) float32, as recorded; values that are no numbers stay.

        Raises:
            DataError: the recording is truncated or does not fit the mask.
        """

    @abc.abstractmethod
    def annotations(self) -> "pa.Table":
        """Return the table of annotations (``release_kit.bids.annotations.table.SCHEMA``), in stimulus time.

        Raises:
            ReleaseKitError: there are none, or some cannot be read.
        """

    @abc.abstractmethod
    def files(self, subject: str, run: RunInfo) -> tuple[Path, ...]:
        """Return every file that the responses of a run are read from, the mask included."""

    def recordings(self, subject: str, run: RunInfo) -> tuple[Path, ...]:
        """Return the files of ``files`` that hold the run itself, without the mask."""
        return self.files(subject, run)[:1]

    def first_responses(self, subject: str, run: RunInfo, n: int) -> npt.NDArray[np.float32] | None:
        """Return the first ``n`` volumes of ``responses``, or None where the whole file would have to be read.

        Raises:
            DataError: as ``responses``.
        """
        del subject, run, n

    def digest(self, subject: str, run: RunInfo) -> str:
        """Return one sha256 of the content of ``files``; of annexed files their key says it, and nothing is read.

        The digest of a single file that is not annexed and has no mask is the sha256 of its bytes.
        """
        return files_digest(self.files(subject, run))

    def check_subject(self, subject: str) -> None:
        """Refuse a subject that has no responses.

        Raises:
            UsageError: with the nearest that there is.
        """
        if subject not in self.subjects:
            what = f"there are no responses of a subject {subject!r}{nearest(subject, self.subjects)}"
            raise UsageError(what, where=str(self.root))


def open_dataset(root: Path, responses: ResponsesSpec) -> Dataset:
    """Open a dataset.

    Args:
        root: its top folder.
        responses: its layout, and which of its recordings are meant.

    Raises:
        ReleaseKitError: it is no folder, or has no such recordings.
    """
    if responses.layout == "ds005531":
        from release_kit.encoding.data.published import PublishedDataset

        return PublishedDataset(Path(root), responses)
    from release_kit.encoding.data.bids import BidsDataset

    return BidsDataset(Path(root), responses)


def check_left_out(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names of what is left out that nothing has, so that nothing is used by mistake.

    Raises:
        UsageError: every such name with the nearest that there is.
    """
    there = tuple(sorted(known))
    if unknown := [name for name in names if name not in there]:
        listed = "; ".join(f"{name!r}{nearest(name, there)}" for name in unknown)
        raise UsageError(f"leave_out names no task, run or stimulus: {listed}", where=where)


def files_digest(paths: Iterable[Path]) -> str:
    """Return the sha256 of one file, or of the lines of the sha256 of several."""
    from release_kit.bids.versioning.tracked import key_of_link
    from release_kit.core.hashing import hash_file

    def one(path: Path) -> str:
        key = key_of_link(str(path.readlink())) if path.is_symlink() else None
        return (key and key.sha256) or hash_file(path, tensors=False, git=False).sha256

    digests = [one(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()
