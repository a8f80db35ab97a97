"""What sources say of each image beside their voxels: header facts, and the JSON of dcm2niix."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from release_kit.bids.convert.images import beside
from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.names import SIDECAR_REPORT, scans_name, sidecar_of
from release_kit.bids.convert.state import State

if TYPE_CHECKING:
    from release_kit.bids.recordings.header import ImageFacts


def facts_of(
    jobs: list[ImageJob], known: "Mapping[str, ImageFacts]", state: State, identities: Mapping[str, str | None]
) -> "dict[str, ImageFacts]":
    """Return target → header facts of every recording of a run or an anatomy.

    Facts of DICOM are those of its conversion; they are absent before it, since a second conversion only to look at
    the header would cost as much as the first.
    """
    from release_kit.bids.recordings.header import read_facts

    found = {}
    for job in jobs:
        if job.role == "derivative":
            continue
        if job.recording.kind == "dicom":
            stage = state.stages.get(identities.get(job.target) or "")
            if stage:
                found[job.target] = _facts(stage["facts"])
        elif job.target in known:
            found[job.target] = known[job.target]
        else:
            found[job.target] = read_facts(job.source, job.recording.kind, job.options)
    return found


def described_later(jobs: list[ImageJob], state: State, identities: Mapping[str, str | None]) -> set[str]:
    """Return the files whose content is not known before DICOM is converted, since it follows from what DICOM says."""
    later = [job for job in jobs if job.recording.kind == "dicom" and identities.get(job.target) not in state.stages]
    found = {path for job in later for path in (sidecar_of(job.target), scans_name(job.subject, job.session))}
    return found | ({SIDECAR_REPORT} if later else set())


def extras_of(jobs: list[ImageJob], state: State, identities: Mapping[str, str | None]) -> dict[str, Mapping[str, Any]]:
    """Return target → what dcm2niix said: kept from the conversion of DICOM, or the JSON beside a NIfTI."""
    found: dict[str, Mapping[str, Any]] = {}
    for job in jobs:
        stage = state.stages.get(identities.get(job.target) or "")
        extra = stage.get("extra") if stage and job.recording.kind == "dicom" else beside(job)
        if extra:
            found[job.target] = extra
    return found


def _facts(value: Mapping[str, Any]) -> "ImageFacts":
    from release_kit.bids.recordings.header import ImageFacts

    listed = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return ImageFacts(**{**listed, "affine": tuple(tuple(row) for row in value["affine"])})
