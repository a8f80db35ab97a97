"""What a run of one subject is: its name, its volumes, and which part of which stimulus it shows.

Pure records and what follows from them: titles and repeated seconds. Reading them is the layouts' (``bids.py``,
``published.py``); which volumes are used is ``samples.py``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

EDGE_S = 1e-6
"""Times that differ by less are the same: seconds are read from text."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One run of one subject; times in seconds.

    Volume ``v`` is measured at ``v * tr_s`` of run time; at run time ``t`` the stimulus is at
    ``stim_start_s + (t - onset_s)``.
    """

    subject: str
    """Label without ``sub-``."""
    session: str | None
    task: str
    run: str
    """Label of the run as it stands in file names; empty where the task has one run without a number."""
    title: str
    """The group of cross-validation: runs of one title are never in training and test of a fold."""
    stim_id: str
    """Label of the stimulus without ``stim-``."""
    n_volumes: int
    tr_s: float
    stim_start_s: float
    """Time of the stimulus when it begins in this run."""
    onset_s: float = 0.0
    """When the stimulus begins, counted from the first volume."""
    overlap_s: float = 0.0
    """How much of its start repeats the run before."""
    duration_s: float | None = None
    """How long the stimulus is shown; None: to the end of the run."""

    @property
    def name(self) -> str:
        """``task-<task>[_ses-<session>][_run-<run>]``: the same for every subject."""
        return run_name(self.task, self.session, self.run)

    @property
    def shown_s(self) -> float:
        """Seconds of the stimulus that the run shows while it is measured."""
        measured = self.n_volumes * self.tr_s - self.onset_s
        return measured if self.duration_s is None else min(self.duration_s, measured)

    @property
    def stim_end_s(self) -> float:
        """Time of the stimulus when the run has shown its part."""
        return self.stim_start_s + self.shown_s

    def volume_times(self) -> npt.NDArray[np.float64]:
        """Return (n_volumes,) run times of the volumes."""
        return np.arange(self.n_volumes) * self.tr_s

    def stimulus_times(self) -> npt.NDArray[np.float64]:
        """Return (n_volumes,) times of the stimulus at each volume; before the onset they lie before its start."""
        return self.stim_start_s + (self.volume_times() - self.onset_s)


def run_name(task: str, session: str | None, run: str) -> str:
    """Return ``task-<task>[_ses-<session>][_run-<run>]``."""
    return f"task-{task}" + (f"_ses-{session}" if session else "") + (f"_run-{run}" if run else "")


def with_overlaps(runs: Sequence[RunInfo]) -> tuple[RunInfo, ...]:
    """Return runs whose repeated start is at least what their spans say.

    A run repeats the run before of the same stimulus where that one began earlier and ended later than this one begins.
    A run that shows the same span again from its beginning is a repeat, not an overlap: none of it is marked.
    """
    found = []
    for run in runs:
        before = [
            other.stim_end_s - run.stim_start_s
            for other in runs
            if other.stim_id == run.stim_id and other.stim_start_s < run.stim_start_s - EDGE_S
        ]
        overlap = min(max([0.0, run.overlap_s, *before]), run.shown_s)
        found.append(replace(run, overlap_s=0.0 if overlap < EDGE_S else round(overlap, 9)))
    return tuple(found)


def with_joined_titles(runs: Sequence[RunInfo]) -> tuple[RunInfo, ...]:
    """Return runs in which a stimulus has one title: titles that share a stimulus become the first of them by name.

    Otherwise a film that two tasks show would be training and test of one fold.
    """
    title = {run.title: run.title for run in runs}

    def top(name: str) -> str:
        while title[name] != name:
            name = title[name]
        return name

    first: dict[str, str] = {}
    for run in runs:
        one, other = sorted((top(run.title), top(first.setdefault(run.stim_id, run.title))))
        title[other] = one
    return tuple(replace(run, title=top(run.title)) for run in runs)
