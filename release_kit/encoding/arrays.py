"""What the parts of an analysis hand to each other: which samples there are, folds over them, named feature matrices.

Samples are rows everywhere: ``X (n_samples, n_features)``, ``Y (n_samples, n_voxels)``, float32. A sample is one volume
that is used; a voxel may be a vertex of a surface.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import AnalysisError

FloatArray = npt.NDArray[np.float32]
"""What is calculated with; sums that need it are kept in float64 inside the functions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Which volumes of which runs are used, in the order of rows.

    Attributes:
        run: (n_samples,) int32, the run of each sample as its place in ``runs``; runs follow one another.
        volume: (n_samples,) int32, the volume of its run, from 0; it grows inside a run.
        runs: the name of each run (``task-glee_run-1``).
        titles: the title that each run shows: the groups of cross-validation.
        train: (n_samples,) bool, False for held-out samples.
    """

    run: npt.NDArray[np.int32]
    volume: npt.NDArray[np.int32]
    runs: tuple[str, ...]
    titles: tuple[str, ...]
    train: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not (self.run.shape == self.volume.shape == self.train.shape == (self.n,)):
            raise AnalysisError(
                f"samples of {self.run.shape}, {self.volume.shape} and {self.train.shape}", where="samples"
            )
        if len(self.runs) != len(self.titles):
            raise AnalysisError(f"{len(self.runs)} runs, but {len(self.titles)} titles", where="samples")
        if self.n and (np.diff(self.run) < 0).any():
            raise AnalysisError("the samples of a run do not follow one another", where="samples")

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.run)

    @cached_property
    def borders(self) -> tuple[slice, ...]:
        """The rows of each run that has any, in order."""
        return tuple(_stretches(self.run))

    @cached_property
    def title_names(self) -> tuple[str, ...]:
        """The titles, each once, in the order in which they first come."""
        return tuple(dict.fromkeys(self.titles))

    @cached_property
    def title_of_sample(self) -> npt.NDArray[np.int32]:
        """(n_samples,) int32: the title of each sample as its place in ``title_names``."""
        place = {title: k for k, title in enumerate(self.title_names)}
        return np.array([place[title] for title in self.titles], np.int32)[self.run]

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Samples":
        """Return the samples where ``chosen (n_samples,)`` is True; runs keep their places."""
        return Samples(
            run=self.run[chosen],
            volume=self.volume[chosen],
            runs=self.runs,
            titles=self.titles,
            train=self.train[chosen],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One split of training rows: ``train`` and ``test`` are (n,) int64 places of rows, sorted, none in both."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A named group of features that has its own regularisation: ``x (n_samples, n_features)`` float32."""

    name: str
    x: FloatArray


def _stretches(run: npt.NDArray[np.int32]) -> Iterator[slice]:
    """Yield the slice of every stretch of equal values."""
    ends = [*(np.flatnonzero(np.diff(run)) + 1).tolist(), len(run)]
    start = 0
    for end in ends if len(run) else ():
        yield slice(start, end)
        start = end
