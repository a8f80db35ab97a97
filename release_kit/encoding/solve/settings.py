"""How ridge models are fitted: the grid of alphas, the solver, the score of cross-validation, machine and memory.

Nothing here calculates; contradictions are refused when settings are made, all at once.
"""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FitError

Solver = Literal["auto", "primal", "dual"]
CvScore = Literal["correlation", "r2"]
Precision = Literal["float32", "fast"]
Backend = Literal["own", "himalaya"]
Device = Literal["auto", "cpu", "cuda"]

MIN_MEMORY_BYTES = 96 * 2**20
LEAST_ALPHA, MOST_ALPHA = 1e-30, 1e30
"""What float32 holds with room for what alphas are added to."""


@dataclass(frozen=True, kw_only=True)
class RidgeSettings:
    """Settings of one ridge analysis.

    Attributes:
        alphas: the penalties that cross-validation tries, from 1e-30 to 1e30; kept sorted, smallest first.
        solver: ``primal`` works with features, ``dual`` with samples; ``auto`` takes the cheaper one.
        score: what cross-validation maximises per voxel: Pearson ``correlation`` or ``r2``.
        precision: ``float32``, or ``fast``: alphas are selected in low precision, weights are refitted in float32.
        backend: ``own``, or ``himalaya`` (the reference).
        device: ``auto`` takes a GPU where PyTorch finds one.
        tile: how many voxels are worked on at once; None: as many as memory and caches like.
        memory_bytes: what a fit may hold at once, its results included; inputs given as arrays are not counted.
    """

    alphas: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(-2, 6, 17))
    solver: Solver = "auto"
    score: CvScore = "correlation"
    precision: Precision = "float32"
    backend: Backend = "own"
    device: Device = "auto"
    tile: int | None = None
    memory_bytes: int = 8 * 10**9

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphas", tuple(sorted(float(alpha) for alpha in self.alphas)))
        wrong = self._wrong()
        if wrong:
            raise FitError("; ".join(wrong), where="ridge settings", next_step="correct the settings")

    def _wrong(self) -> list[str]:
        """Return a sentence for everything that is wrong."""
        wrong = [] if self.alphas else ["no alphas"]
        bad = [alpha for alpha in self.alphas if not LEAST_ALPHA <= alpha <= MOST_ALPHA]
        if bad:
            wrong.append(f"alphas must be above zero, from 1e-30 to 1e30, got {', '.join(map(repr, bad[:5]))}")
        twice = sorted({alpha for alpha in self.alphas if self.alphas.count(alpha) > 1})
        if twice:
            wrong.append(f"alphas that stand twice: {', '.join(map(repr, twice[:5]))}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                wrong.append(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")
        if self.tile is not None and self.tile < 1:
            wrong.append(f"tile must be at least 1, got {self.tile}")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            wrong.append(f"memory_bytes must be at least {MIN_MEMORY_BYTES}, got {self.memory_bytes}")
        return wrong

    @property
    def grid(self) -> npt.NDArray[np.float64]:
        """(n_alphas,) float64, smallest first."""
        return np.array(self.alphas, np.float64)

    def to_dict(self) -> dict:
        """Return what identifies a fit: everything but machine, tile and memory, which do not change results."""
        every = asdict(self) | {"alphas": list(self.alphas)}
        return {name: value for name, value in every.items() if name not in ("device", "tile", "memory_bytes")}


_CHOICES = {
    "solver": get_args(Solver),
    "score": get_args(CvScore),
    "precision": get_args(Precision),
    "backend": get_args(Backend),
    "device": get_args(Device),
}
