"""The sidecar of one recording: what its header, its DICOM files and the recipe say, less what identifies.

Owns the merge and its contradictions. Which keys a sidecar should have is ``completeness.py``; what is removed and why
is ``privacy.py``; writing the JSON is the converter's.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from release_kit.bids.recipe.model import Anatomy, Recipe, Run
from release_kit.bids.schema import sidecar_keys
from release_kit.bids.sidecars.deface import METHOD
from release_kit.bids.sidecars.privacy import scrub
from release_kit.bids.sidecars.slice_times import slice_time_problem
from release_kit.core.errors import StudyError

if TYPE_CHECKING:
    from release_kit.bids.recordings.header import ImageFacts

TR_TOLERANCE_S = 0.0005
"""Half a millisecond: headers keep TRs as 32-bit floats, some in milliseconds."""
_SLICE_CODE = 122
"""Where the order of slices stands in a NIfTI-1 header; 0 is unknown."""
_DERIVED = ("BidsGuess",)
"""Keys of dcm2niix that are guesses about names, not facts of the recording."""


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The metadata of one data file: ``values`` to write, ``removed`` the dotted keys that were scrubbed."""

    suffix: str
    datatype: str
    values: Mapping[str, Any]
    removed: tuple[str, ...] = ()


def sidecar(
    recipe: Recipe, item: Run | Anatomy, facts: "ImageFacts", extra: Mapping[str, Any] | None = None
) -> Sidecar:
    """Return the sidecar of a recording of a run or an anatomy; the later of these sources wins.

    ``extra`` (dcm2niix) · the header (TR, slice times where it says them) · ``recipe.sidecars[suffix]`` ·
    ``item.sidecar`` · the task, or the defacing. Nothing is guessed: a fact that no source has is absent.

    Args:
        recipe: the study.
        item: the run or anatomy that was recorded.
        facts: its header, before dummy scans are dropped.
        extra: the sidecar that dcm2niix wrote, for recordings from DICOM.

    Raises:
        StudyError: sources contradict each other (TR, number of slice times, dummy scans); all at once.
    """
    datatype = "func" if isinstance(item, Run) else "anat"
    sources = {"DICOM": _from_dicom(extra or {}, item.suffix, datatype)}
    sources["the header"] = _from_header(facts) if isinstance(item, Run) else {}
    sources["the recipe"] = {**recipe.sidecars.get(item.suffix, {}), **item.sidecar}
    if isinstance(item, Run):
        sources["the run"] = _from_run(recipe, item)
    elif item.deface:
        sources["the defacing"] = {"DeidentificationMethod": _with_defacing(sources.values())}
    accepted = any(entry["code"] == "tr" for entry in recipe.allow)  # the check of the recipe refuses every other
    problems = _contradictions(sources, facts.shape[2], accepted) if isinstance(item, Run) else []
    if problems:
        step = "correct the recipe, or convert the right file"
        raise StudyError("; ".join(problems), where=_place(item), next_step=step)
    merged = {key: value for source in sources.values() for key, value in source.items() if value is not None}
    values, removed = scrub(merged, recipe.privacy)
    return Sidecar(suffix=item.suffix, datatype=datatype, values=dict(sorted(values.items())), removed=removed)


def _from_dicom(extra: Mapping[str, Any], suffix: str, datatype: str) -> dict[str, Any]:
    """Return dcm2niix' facts without its guesses and without keys that BIDS no longer wants for such a file."""
    levels = sidecar_keys(suffix, datatype, values=extra)
    unwanted = {key for key, level in levels.items() if level in ("deprecated", "prohibited")}
    return {key: value for key, value in extra.items() if key not in unwanted and key not in _DERIVED}


def _from_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    task = recipe.tasks[run.task]
    return {
        "TaskName": task.name,
        "TaskDescription": task.description,
        "Instructions": task.instructions,
        "RepetitionTime": run.tr_s,
        "NumberOfVolumesDiscardedByUser": run.dummy_scans or None,
    }


def _from_header(facts: "ImageFacts") -> dict[str, Any]:
    """Return what a NIfTI header states in full; a TR without its unit is no fact."""
    tr_s = facts.tr_s if facts.tr_unit_known else None
    times = _slice_times(facts.raw_header)
    return {"RepetitionTime": tr_s, "SliceTiming": times}


def _slice_times(raw_header: bytes | None) -> list[float] | None:
    """Return the onset of every slice in s where slice axis, order and duration all stand in a NIfTI-1 header."""
    if raw_header is None or len(raw_header) != 348 or not raw_header[_SLICE_CODE]:
        return None
    import nibabel

    header = nibabel.Nifti1Header(raw_header, check=False)
    try:
        times = header.get_slice_times()
    except (nibabel.spatialimages.HeaderDataError, ValueError):
        return None
    unit = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1])
    # Slices outside slice_start … slice_end have no time; then the table would have holes.
    if unit is None or not float(header["slice_duration"]) > 0 or any(time is None for time in times):
        return None
    return [round(float(time) * unit, 7) for time in times]


def _with_defacing(sources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what was done to the image before, as the last source that speaks of it says, and the defacing."""
    said: Any = []
    for source in sources:
        said = source.get("DeidentificationMethod") or said
    return [*([said] if isinstance(said, str) else said), METHOD]


def _contradictions(sources: Mapping[str, Mapping[str, Any]], n_slices: int, tr_accepted: bool) -> list[str]:
    problems = []
    wanted = sources["the run"]["RepetitionTime"]
    for name, source in sources.items():
        tr_s = source.get("RepetitionTime")
        if tr_s is not None and not tr_accepted and not math.isclose(tr_s, wanted, abs_tol=TR_TOLERANCE_S):
            problems.append(f"{name} says a TR of {tr_s:g} s, the run says {wanted:g} s")
        times = source.get("SliceTiming")
        if times is not None and (what := slice_time_problem(times, n_slices=n_slices, tr_s=wanted)):
            problems.append(f"{name} {what}")
    stated = sources["the recipe"].get("NumberOfVolumesDiscardedByUser")
    dropped = sources["the run"]["NumberOfVolumesDiscardedByUser"]
    if stated is not None and dropped is not None and stated != dropped:
        problems.append(f"the recipe states NumberOfVolumesDiscardedByUser {stated}, but dummy_scans drops {dropped}")
    return problems


def _place(item: Run | Anatomy) -> str:
    return f"task {item.task}, run {item.run}" if isinstance(item, Run) else item.suffix
