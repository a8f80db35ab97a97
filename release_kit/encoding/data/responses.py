"""The matrix of responses that models are fitted to: the samples of one subject, cleaned run by run.

Memory is that of the matrix and of one run. What a run is read from is the layouts', what is taken out ``clean.py``'s.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted
from release_kit.encoding.arrays import Samples
from release_kit.encoding.data.clean import CleanSettings, clean
from release_kit.encoding.data.layout import Dataset
from release_kit.encoding.data.problems import DataError, DataProblem, refuse
from release_kit.encoding.data.values import still_problem, still_run


def collect_responses(
    dataset: Dataset,
    subject: str,
    samples: Samples,
    settings: CleanSettings,
    *,
    voxels: npt.NDArray | None = None,
    progress: Callable[[str], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the responses of one subject for the samples, each run cleaned as a whole before volumes are picked.

    Args:
        dataset: where they are read from.
        subject: whose.
        samples: from ``plan_samples`` of this subject's runs.
        settings: what is taken out.
        voxels: places or (n_voxels,) bool; None: all of the mask.
        progress: told the name of each run that was read.

    Returns:
        (n_samples, n_voxels) float32.

    Raises:
        DataError: every run that cannot be read, has another length than its header said, or in which not one voxel
            of the mask changes.
    """
    by_name = {run.name: run for run in dataset.runs(subject)}
    n_voxels = dataset.mask(subject).n_voxels
    chosen = np.arange(n_voxels) if voxels is None else np.arange(n_voxels)[voxels]
    y = np.empty((samples.n, len(chosen)), np.float32)
    problems: list[DataProblem] = []
    for part in samples.borders:
        name = samples.runs[samples.run[part.start]]
        if name not in by_name:
            problems.append(DataProblem(subject=subject, run=name, what="the subject has no such run"))
            continue
        run = by_name[name]
        try:
            recorded = dataset.responses(subject, run)
        except DataError as error:
            problems += error.problems
            continue
        except ReleaseKitError as error:
            problems.append(DataProblem(subject=subject, run=name, what=str(error)))
            continue
        if len(recorded) != run.n_volumes:
            what = f"{counted(len(recorded), 'volume')}, its header says {run.n_volumes}"
            problems.append(DataProblem(subject=subject, run=name, what=what))
            continue
        if voxels is None and (what := still_run(recorded)):
            problems.append(still_problem(subject, name, what))
            continue
        kept = recorded if voxels is None else recorded[:, chosen]
        y[part] = clean(kept, run.tr_s, settings)[samples.volume[part]]
        if progress:
            progress(name)
    refuse(problems, str(dataset.root))
    return y
