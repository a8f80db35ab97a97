"""What values say before anything is computed: voxels without numbers, voxels and runs that never change.

Headers cannot say it. The first volumes of each run are quickly read, and a voxel outside of what was measured is NaN
in all of them; what comes later in a run is found by reading all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted
from release_kit.encoding.data.layout import Dataset
from release_kit.encoding.data.problems import DataError, DataProblem
from release_kit.encoding.data.runs import RunInfo

FIRST = 3
"""Volumes of each run that are read where not all are asked for."""
_STILL_STEP = "copy or make the recording again, or leave the run out"


@dataclass(frozen=True, kw_only=True)
class Values:
    """What was found.

    Attributes:
        problems: runs that cannot be read, or in which not one voxel changes.
        notes: voxels that a run will not score, with subject and runs.
        looked_at: what was read, as a sentence.
    """

    problems: tuple[DataProblem, ...]
    notes: tuple[str, ...]
    looked_at: str


@dataclass(eq=False)
class _Marked:
    """Voxels of a subject that are marked in some runs."""

    voxels: npt.NDArray[np.bool_]
    runs: list[str]

    def mark(self, voxels: npt.NDArray[np.bool_], run: str) -> None:
        if voxels.any():
            self.voxels |= voxels
            self.runs.append(run)


def still_run(recorded: npt.NDArray[np.float32]) -> str | None:
    """Return a sentence where not one voxel of (n_volumes, n_voxels) changes, None where one does."""
    if len(recorded) < 2 or not recorded.shape[1] or changing(recorded).any():
        return None
    return f"not one of its {counted(recorded.shape[1], 'voxel')} changes over {counted(len(recorded), 'volume')}"


def changing(recorded: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return (n_voxels,) True for voxels that hold numbers only, and more than one."""
    highest, lowest = recorded.max(axis=0), recorded.min(axis=0)
    return np.isfinite(highest) & np.isfinite(lowest) & (highest > lowest)


def still_problem(subject: str, run: str, what: str) -> DataProblem:
    """Return the problem of a run in which nothing changes."""
    return DataProblem(subject=subject, run=run, what=what, next_step=_STILL_STEP)


def look_at_values(dataset: Dataset, runs: Sequence[RunInfo], *, every: bool = False) -> Values:
    """Return what the values of runs say.

    Of each run the first ``FIRST`` volumes are read where that is quick (volumes, not surfaces); a run in which they
    are all the same is read to its end.

    Args:
        dataset: that the runs are of; their masks are readable.
        runs: of all subjects.
        every: read every value of every run.
    """
    problems: list[DataProblem] = []
    marked: dict[str, tuple[_Marked, _Marked]] = {}
    n_first = n_whole = 0
    for run in runs:
        try:
            first = None if every else dataset.first_responses(run.subject, run, FIRST)
            whole = every or (first is not None and still_run(first) is not None)
            if first is None and not whole:
                continue
            values = dataset.responses(run.subject, run) if whole else first
        except DataError as error:
            problems += error.problems
            continue
        except ReleaseKitError as error:
            problems.append(DataProblem(subject=run.subject, run=run.name, what=error.what, next_step=error.next_step))
            continue
        n_whole, n_first = n_whole + whole, n_first + (not whole)
        if whole and (what := still_run(values)):
            problems.append(still_problem(run.subject, run.name, what))
            continue
        n_voxels = values.shape[1]
        fresh = tuple(_Marked(voxels=np.zeros(n_voxels, bool), runs=[]) for _ in range(2))
        broken, still = marked.setdefault(run.subject, fresh)
        finite = np.isfinite(values).all(axis=0)
        broken.mark(~finite, run.name)
        if whole:
            still.mark(finite & ~changing(values), run.name)
    looked_at = [f"the first {FIRST} volumes of {counted(n_first, 'run')}"] if n_first else []
    looked_at += [f"every value of {counted(n_whole, 'run')}"] if n_whole else []
    return Values(
        problems=tuple(problems),
        notes=tuple(text for subject in marked for text in _notes(subject, *marked[subject])),
        looked_at=" and ".join(looked_at),
    )


def named_runs(runs: Sequence[str], most: int = 3) -> str:
    """Return the names of runs; of many the first."""
    return ", ".join(runs) if len(runs) <= most else f"{runs[0]} and {len(runs) - 1} more runs"


def _notes(subject: str, broken: _Marked, still: _Marked) -> list[str]:
    said = []
    for found, what in ((broken, "with values that are no numbers"), (still, "without any change")):
        n = int(found.voxels.sum())
        if n:
            of = f"{n:,} of {counted(len(found.voxels), 'voxel')}"
            said.append(f"sub-{subject}, {named_runs(found.runs)}: {of} {what}")
    return said
