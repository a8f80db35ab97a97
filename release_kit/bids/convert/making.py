"""Makes the images of a dataset with worker processes and gives them their names, each the moment it is whole.

Before an image takes its name it is noted whose it is, so that a conversion that is killed knows its own files again.
"""

import contextlib
import glob
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.convert.decide import all_problems, refusal
from release_kit.bids.convert.identity import image_code
from release_kit.bids.convert.images import MadeImage, make_image
from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.pool import run_pieces
from release_kit.bids.convert.presence import contents
from release_kit.bids.convert.state import State
from release_kit.core.digest_cache import DigestCache, stamp_of
from release_kit.core.errors import ArtifactError, RecordError, ReleaseKitError, StudyError
from release_kit.core.files import TEMPORARY_PREFIX, sync_folder, write_error
from release_kit.core.hashing import FileDigest, default_workers

SMALL_BYTES = 32 << 20
"""Sources that are smaller than this together are converted here: starting processes would take longer."""


@dataclass(kw_only=True)
class ImageMaker:
    """Makes images into ``out``; what it did stands in ``written``, ``unchanged`` and ``identities``."""

    out: Path
    state: State
    cache: DigestCache
    there: Mapping[str, str]
    """Path → sha256 of what the dataset held before."""
    kept: Path | None = None
    """Folder of DICOM series that were converted when the recipe was checked."""
    say: Callable[[Mapping[str, Any]], None]
    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    identities: dict[str, str] = field(default_factory=dict)

    def make(self, jobs: list[ImageJob], workers: int | None, *, place: bool) -> None:
        """Make the images of ``jobs``.

        Args:
            jobs: what to make.
            workers: processes; None: one for each core, or none where there is little to do.
            place: give them their names; else only see whether what is there is equal.

        Raises:
            StudyError: files that differ (with ``place``: that somebody else put or changed meanwhile); or recordings
                that cannot be converted, all of them.
            ReleaseKitError: the disk is full.
        """
        from release_kit.bids.recordings.header import RecordingError

        if not jobs:
            return
        temporaries = {job.target: self._temporary(job.target) for job in jobs}
        differ: list[str] = []
        problems: list[ReleaseKitError] = []
        self.say({"event": "images", "total": len(jobs)})
        try:
            pieces = self._pieces(jobs, temporaries)
            # Closed here and now: workers must have ended before what they leave behind is removed.
            with contextlib.closing(run_pieces(make_image, pieces, _workers(jobs, workers))) as results:
                for n, (target, made) in enumerate(results, start=1):
                    if isinstance(made, MadeImage):
                        differ += self._take(made, temporaries[target], place)
                        temporaries[target].unlink(missing_ok=True)  # what was only compared must not fill the disk
                    elif isinstance(made, RecordingError | ArtifactError | StudyError | RecordError):
                        problems.append(made)
                    else:
                        raise made
                    self.say({"event": "image", "path": target, "n": n, "total": len(jobs)})
        finally:
            for temporary in temporaries.values():
                _remove_temporary(temporary)
        if problems:
            raise all_problems(problems, "mend these recordings and run again; every other image is done")
        if differ:
            raise refusal(tuple(sorted(differ)), str(self.out))

    def _pieces(self, jobs: list[ImageJob], temporaries: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
        for job in jobs:
            last = self.state.marks.get(f"image:{job.target}", "")
            made = self.state.stages.get(last)
            is_there = made is not None and self.there.get(job.target) == made["sha256"]
            known = last if is_there else None
            told = {"known": known, "code": image_code(), "kept": self.kept}
            yield job.target, {"job": job, "temporary": temporaries[job.target], **told}

    def _temporary(self, target: str) -> Path:
        path = self.out / target
        return path.with_name(f"{TEMPORARY_PREFIX}{path.name[:40]}-{secrets.token_hex(4)}.nii.gz")

    def _take(self, made: MadeImage, temporary: Path, place: bool) -> list[str]:
        """Note what was made and give it its name; return its path if something else lies there."""
        for source in made.sources:
            digest = FileDigest(size_bytes=source.size_bytes, sha256=source.sha256)
            self.cache.remember(source.stamp, digest, tensors=False, values=False)
        self.identities[made.target] = made.identity
        if made.same:
            self.unchanged.append(made.target)
            return []
        self.state.made(made.identity, made.record())
        if self.there.get(made.target) == made.sha256:
            self.unchanged.append(made.target)
        elif place and self._is_as_planned(made.target):
            self._place(made, temporary)
        else:
            return [made.target]
        return []

    def _is_as_planned(self, target: str) -> bool:
        """Whether nobody put or changed a file of that name since the conversion was planned, hours ago perhaps."""
        return contents(self.out, [target], self.cache).get(target) == self.there.get(target)

    def _place(self, made: MadeImage, temporary: Path) -> None:
        target = self.out / made.target
        self.state.own(made.target, made.sha256)
        try:
            os.replace(temporary, target)
            sync_folder(target.parent)
        except OSError as error:
            raise write_error(target, error) from error
        digest = FileDigest(size_bytes=made.size_bytes, sha256=made.sha256)
        self.cache.remember(stamp_of(target.stat()), digest, tensors=False, values=False)
        self.written.append(made.target)


def _remove_temporary(path: Path) -> None:
    """Remove a temporary image, and what a worker that was killed had written of it under a name of its own."""
    path.unlink(missing_ok=True)
    for part in path.parent.glob(f"{TEMPORARY_PREFIX}{glob.escape(path.name[:40])}*"):
        part.unlink(missing_ok=True)


def _workers(jobs: list[ImageJob], workers: int | None) -> int:
    if workers is None:
        total = sum(job.source.stat().st_size for job in jobs if job.source.is_file())
        small = total < SMALL_BYTES and all(job.source.is_file() for job in jobs)
        workers = 1 if small else default_workers()
    return max(1, min(workers, len(jobs)))
