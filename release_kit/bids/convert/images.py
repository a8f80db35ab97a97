"""Makes one image of the dataset in a worker process: source bytes digested, volumes streamed, nothing kept in memory.

The image goes to a temporary file; giving it its name is the main process's, which first notes whose it is.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.convert.identity import SourceFile, image_identity, source_files
from release_kit.bids.convert.jobs import ImageJob
from release_kit.core.canonical import read_json
from release_kit.core.digest_cache import stamp_of
from release_kit.core.errors import ArtifactError, RecordError
from release_kit.core.hashing import hash_file

if TYPE_CHECKING:
    from release_kit.bids.recordings.image import Image


@dataclass(frozen=True, kw_only=True)
class MadeImage:
    """What a worker made: the identity of what it should be, and of what it is."""

    target: str
    identity: str
    sources: tuple[SourceFile, ...]
    same: bool = False
    """The identity is the one known already; nothing was made."""
    sha256: str = ""
    size_bytes: int = 0
    content_sha256: str = ""
    """Of the NIfTI inside the compressed file."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Header of the source, before dummy scans are left out."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the conversion of DICOM knows of the series (the JSON of dcm2niix), not scrubbed."""

    def record(self) -> dict[str, Any]:
        """Return what is remembered of it."""
        found = {"sha256": self.sha256, "size_bytes": self.size_bytes, "content_sha256": self.content_sha256}
        return found | ({"extra": dict(self.extra), "facts": dict(self.facts)} if self.extra else {})


def make_image(job: ImageJob, temporary: Path, *, known: str | None, code: str, kept: Path | None = None) -> MadeImage:
    """Convert the recording of ``job`` into ``temporary``, unless its identity is ``known``.

    ``kept`` is the folder of DICOM series that were converted when the recipe was checked.

    Raises:
        ArtifactError: the recording is damaged, is not what the job says, or changed while it was read.
        ReleaseKitError: the image cannot be written.
    """
    sources = tuple(_digested(path) for path in source_files(job))
    identity = image_identity(job, [(Path(one.path).name, one.size_bytes, one.sha256) for one in sources], code)
    if identity == known:
        return MadeImage(target=job.target, identity=identity, sources=sources, same=True)
    made = _convert(job, temporary, kept)
    for one in sources:
        if stamp_of(Path(one.path).stat()) != one.stamp:
            temporary.unlink(missing_ok=True)
            raise ArtifactError(
                "changed while it was read", where=one.path, next_step="wait until it is complete and convert again"
            )
    return MadeImage(target=job.target, identity=identity, sources=sources, **made)


def _digested(path: Path) -> SourceFile:
    try:
        stamp = stamp_of(path.stat())
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})", where=str(path)) from error
    digest = hash_file(path, tensors=False, git=False)
    return SourceFile(path=str(path), stamp=stamp, size_bytes=digest.size_bytes, sha256=digest.sha256)


def _convert(job: ImageJob, temporary: Path, kept: Path | None) -> dict[str, Any]:
    """Write the image; return what ``MadeImage`` says of it."""
    from release_kit.bids.recordings.image import open_image

    with open_image(job.source, job.recording.kind, job.options, kept=kept) as image:
        source = {"facts": image.header.to_dict(), "extra": dict(image.sidecar)}
        if not job.deface:
            return source | _written(temporary, image, job)
        with tempfile.TemporaryDirectory(prefix="release-kit-") as folder:
            defaced = _defaced(job, image, Path(folder))
            with open_image(defaced) as faceless:
                return source | _written(temporary, faceless, job)


def _defaced(job: ImageJob, image: "Image", folder: Path) -> Path:
    from release_kit.bids.recordings.nifti_write import write_nifti_gz
    from release_kit.bids.sidecars.deface import deface

    whole, defaced = folder / "whole.nii.gz", folder / "defaced.nii.gz"
    write_nifti_gz(whole, image.header, image.volumes())
    if job.picture is not None:
        job.picture.parent.mkdir(parents=True, exist_ok=True)
    deface(whole, defaced, job.picture)
    return defaced


def _written(temporary: Path, image: "Image", job: ImageJob) -> dict[str, Any]:
    from release_kit.bids.recordings.nifti_write import write_nifti_gz

    facts = image.header.without_dummies(job.skip) if job.skip else image.header
    if job.tr_s is not None and facts.n_dims == 4:
        facts = replace(facts, tr_s=job.tr_s, tr_unit_known=True)
    written = write_nifti_gz(temporary, facts, image.volumes(start=job.skip))
    return {
        "sha256": written.sha256, "size_bytes": written.size_bytes, "content_sha256": written.content_sha256
    }  # fmt: skip


def beside(job: ImageJob) -> dict[str, Any]:
    """Return the JSON that lies beside a NIfTI recording (as dcm2niix leaves it), {} where there is none."""
    path = beside_path(job)
    found = read_json(path) if path is not None else {}
    if not isinstance(found, dict):
        raise RecordError("is no JSON object", where=str(path), next_step="it must hold what dcm2niix says; or move it")
    return found


def beside_path(job: ImageJob) -> Path | None:
    """Return the path of the JSON beside a NIfTI recording, None where there is none."""
    if job.recording.kind != "nifti" or job.role == "derivative":
        return None
    name = job.source.name.removesuffix(".gz")
    path = job.source.with_name(f"{name.removesuffix('.nii').removesuffix('.img').removesuffix('.hdr')}.json")
    return path if path.is_file() else None
