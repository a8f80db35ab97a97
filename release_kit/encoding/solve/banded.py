"""Banded ridge: every band of features has a regularisation of its own, chosen per voxel by a random search.

A candidate is a weight for each band, summing to one; with weights ``g`` the model is ridge on features scaled by
``sqrt(g_b)`` (Dupré la Tour et al. 2022, doi 10.1016/j.neuroimage.2022.119728). Each candidate is one
cross-validation of ``ridge``; weights of features are formed once at the end, for the candidate that each voxel chose.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import Band, FloatArray, Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.checks import Inspected, check_problem, inspect_responses
from release_kit.encoding.solve.decompose import DUAL_MARGIN, kernel, largest_eigenvalue, needed_dtype
from release_kit.encoding.solve.dual import DualDesign
from release_kit.encoding.solve.engine import Responses, device_of, full_precision, tile_size, tiles, to_tensor
from release_kit.encoding.solve.primal import PrimalDesign
from release_kit.encoding.solve.ridge import cheaper_solver
from release_kit.encoding.solve.selection import choose, cross_validate
from release_kit.encoding.solve.settings import RidgeSettings

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class BandedSettings:
    """Settings of a banded model.

    Attributes:
        ridge: alphas, solver, score, machine.
        n_iter: candidates that are tried; the first weighs all bands equally.
        concentrations: of the Dirichlet distributions that the others come from, in turn: small ones favour few bands.
        seed: of the candidates.
        equal_bands: give all bands the same total variance first, so that equal weights mean equal shares.
    """

    ridge: RidgeSettings = field(default_factory=RidgeSettings)
    n_iter: int = 20
    concentrations: tuple[float, ...] = (0.1, 1.0)
    seed: int = 0
    equal_bands: bool = True

    def __post_init__(self) -> None:
        if self.n_iter < 1 or not self.concentrations or min(self.concentrations) <= 0:
            raise FitError("banded ridge needs n_iter of 1 or more and concentrations above 0", where="banded ridge")


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """How far a search is: enough to go on with the same result.

    Attributes:
        n_done: candidates that were tried.
        score: (n_voxels,) float64, the best so far.
        candidate: (n_voxels,) int32, which candidate that was.
        alpha: (n_voxels,) int32, the place of its alpha.
    """

    n_done: int
    score: npt.NDArray[np.float64]
    candidate: npt.NDArray[np.int32]
    alpha: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class BandedFit:
    """A banded model of every voxel.

    Attributes:
        bands: their names, and where their features stand among the rows of ``weights``.
        gamma: (n_bands, n_voxels) float32, the chosen weights of bands.
        alpha: (n_voxels,) float32; NaN for a constant voxel.
        cv_score: (n_voxels,) float32, mean over folds of the chosen candidate; NaN for a constant voxel.
        weights: (n_features of all bands, n_voxels) float32, of features as they were given.
        x_mean: (n_features of all bands,), y_mean: (n_voxels,).
        constant: (n_voxels,) bool.
    """

    bands: Mapping[str, slice]
    gamma: FloatArray
    alpha: FloatArray
    cv_score: FloatArray
    weights: FloatArray
    x_mean: FloatArray
    y_mean: FloatArray
    constant: npt.NDArray[np.bool_]

    @property
    def deltas(self) -> FloatArray:
        """(n_bands, n_voxels): ``log(gamma / alpha)``, as himalaya has it; -inf where a band has no weight."""
        with np.errstate(divide="ignore"):
            return np.log(self.gamma) - np.log(self.alpha)

    def predict(self, bands: Sequence[Band], *, split: bool = False) -> FloatArray:
        """Return predictions ``(n_samples, n_voxels)``, or each band's part ``(n_bands, n_samples, n_voxels)``.

        Parts are of centred features: they and the mean of the voxel add up to the prediction.

        Raises:
            FitError: other bands than those that were fitted, or another number of features.
        """
        given = {band.name: band.x for band in bands}
        sizes = {name: part.stop - part.start for name, part in self.bands.items()}
        if {name: x.shape[1] for name, x in given.items()} != sizes:
            raise FitError(f"bands {sorted(given)}, the model was fitted on {sizes}", where="predict")
        parts = [(given[name] - self.x_mean[part]) @ self.weights[part] for name, part in self.bands.items()]
        return np.stack(parts) if split else np.sum(parts, axis=0, dtype=np.float32) + self.y_mean


def draw_gammas(n_bands: int, settings: BandedSettings) -> npt.NDArray[np.float64]:
    """Return candidates ``(n_iter, n_bands)``: equal weights, then Dirichlet draws; a single band has one."""
    rng = np.random.default_rng([settings.seed, 5])
    found = np.full((settings.n_iter if n_bands > 1 else 1, n_bands), 1.0 / n_bands)
    for row in range(1, len(found)):
        concentration = settings.concentrations[row % len(settings.concentrations)]
        found[row] = rng.dirichlet(np.full(n_bands, concentration))
    return found


def fit_banded(
    bands: Sequence[Band],
    y: Array,
    folds: Sequence[Fold],
    settings: BandedSettings | None = None,
    *,
    gammas: npt.NDArray[np.float64] | None = None,
    search: Search | None = None,
    progress: Progress | None = None,
    keep: Callable[[Search], None] | None = None,
) -> BandedFit:
    """Fit banded ridge to every voxel.

    Args:
        bands: features of the training samples.
        y: (n_samples, n_voxels) training responses.
        folds: cross-validation over these rows.
        settings: what is tried.
        gammas: (n_candidates, n_bands) candidates, instead of those that ``settings`` draws.
        search: a search to go on with; candidates must be the same.
        progress: called with candidates done and candidates in all.
        keep: called after each candidate with the search so far, to be written down.

    Raises:
        FitError: everything that `fit_ridge` refuses; bands of one name; candidates that are no weights.
    """
    settings = settings or BandedSettings()
    places = _places(bands)
    x = np.concatenate([band.x for band in bands], axis=1)
    check_problem(x, y, folds, "+".join(places))
    gammas = draw_gammas(len(bands), settings) if gammas is None else np.asarray(gammas, np.float64)
    if gammas.ndim != 2 or gammas.shape[1] != len(bands) or not (gammas >= 0).all() or not gammas.any(axis=1).all():
        raise FitError(
            f"candidates of {gammas.shape} for {len(bands)} bands, expected weights of 0 or more", where="gammas"
        )
    problem = _Problem.of(x, y, places, folds, settings)
    search = search or _nothing_tried(y.shape[1])
    with full_precision():
        for row in range(search.n_done, len(gammas)):
            search = _try(problem, gammas, row, search)
            if keep is not None:
                keep(search)
            if progress is not None:
                progress(row + 1, len(gammas))
        weights = _refit(problem, gammas, search)
    constant = problem.found.constant
    alpha = settings.ridge.grid[search.alpha].astype(np.float32)
    alpha[constant] = np.nan
    return BandedFit(
        bands=places,
        gamma=gammas[search.candidate].T.astype(np.float32),
        alpha=alpha,
        cv_score=np.where(constant, np.nan, search.score).astype(np.float32),
        weights=weights,
        x_mean=problem.x_mean,
        y_mean=problem.found.mean.astype(np.float32),
        constant=constant,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """Centred features of all bands, and what every candidate shares."""

    x: "torch.Tensor"
    x_mean: FloatArray
    sizes: npt.NDArray[np.float64]
    places: Mapping[str, slice]
    responses: Responses
    found: Inspected
    folds: tuple[Fold, ...]
    settings: RidgeSettings
    dual: bool
    kernels: "list[torch.Tensor]"
    largest: npt.NDArray[np.float64]
    """(n_bands,): an upper bound of the eigenvalues of each band's kernel."""

    @classmethod
    def of(cls, x: Array, y: Array, places: Mapping[str, slice], folds: Sequence[Fold], settings: BandedSettings):
        """Centre features, scale bands, and form a kernel for each where samples are fewer."""
        ridge, device = settings.ridge, device_of(settings.ridge)
        found = inspect_responses(y, folds)
        x_mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = np.subtract(x, x_mean).astype(np.float32, copy=False)
        sizes = _band_sizes(centred, places) if settings.equal_bands else np.ones(x.shape[1])
        tensor = to_tensor(centred * sizes.astype(np.float32), device)
        solver = cheaper_solver(*x.shape, y.shape[1], folds, ridge) if ridge.solver == "auto" else ridge.solver
        with full_precision():
            parts = [tensor[:, part] for part in places.values()]
            return cls(
                x=tensor,
                x_mean=x_mean,
                sizes=sizes,
                places=places,
                responses=Responses(y=y, mean=found.mean, device=device),
                found=found,
                folds=tuple(folds),
                settings=ridge,
                dual=solver == "dual",
                kernels=[kernel(part, part.dtype) for part in parts] if solver == "dual" else [],
                largest=np.array([largest_eigenvalue(part) for part in parts]),
            )

    def scale(self, gamma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return by what each feature is multiplied: (n_features,)."""
        scale = np.empty(self.x.shape[1])
        for weight, part in zip(gamma, self.places.values(), strict=True):
            scale[part] = np.sqrt(weight)
        return scale

    def design(self, gamma: npt.NDArray[np.float64]) -> "PrimalDesign | DualDesign":
        """Return the ridge problem of one candidate."""
        if self.dual:
            return _Mixture(self, gamma)
        import torch

        scale = torch.from_numpy(self.scale(gamma)).to(self.x)
        return PrimalDesign(self.x * scale, self.folds, self.settings)


class _Mixture(DualDesign):
    """The kernel of a candidate: a weighted sum of the bands' kernels, which are formed once."""

    def __init__(self, problem: _Problem, gamma: npt.NDArray[np.float64]):
        import torch

        self.folds, self.settings, self.n = problem.folds, problem.settings, len(problem.x)
        self.largest = float(problem.largest @ gamma)
        self.dtype = needed_dtype(self.largest, self.settings.alphas[0], DUAL_MARGIN)
        self.x = problem.x * torch.from_numpy(problem.scale(gamma)).to(problem.x)
        if self.exact:
            self.kernel = torch.zeros_like(problem.kernels[0])
            for weight, part in zip(gamma, problem.kernels, strict=True):
                self.kernel.add_(part, alpha=float(weight))
        else:
            self.kernel = kernel(self.x, self.dtype)


def _try(problem: _Problem, gammas: npt.NDArray[np.float64], row: int, best: Search) -> Search:
    """Cross-validate one candidate and keep it where it is better; the earlier of equal ones stays."""
    design, y = problem.design(gammas[row]), problem.responses.y
    n_voxels = y.shape[1]
    products = np.empty((0 if problem.dual else problem.x.shape[1], n_voxels), np.float32)
    tile = _tile(problem, design, len(products))
    design.read(problem.responses, tile, products)
    scores = cross_validate(design.models(), problem.responses, problem.settings, tile, problem.found.constant)
    alpha, score = choose(scores, problem.settings.grid)
    better = np.nan_to_num(score, nan=-np.inf) > best.score
    return Search(
        n_done=row + 1,
        score=np.where(better, score, best.score),
        candidate=np.where(better, row, best.candidate).astype(np.int32),
        alpha=np.where(better, alpha, best.alpha).astype(np.int32),
    )


def _refit(problem: _Problem, gammas: npt.NDArray[np.float64], search: Search) -> FloatArray:
    """Return the weights ``(n_features, n_voxels)`` of features as they were given."""
    y = problem.responses.y
    weights = np.empty((problem.x.shape[1], y.shape[1]), np.float32)
    for row in np.unique(search.candidate):
        voxels = np.flatnonzero(search.candidate == row)
        # Voxels of one alpha side by side: one factor serves them all.
        voxels = voxels[np.argsort(search.alpha[voxels], kind="stable")]
        design = problem.design(gammas[row])
        scale = (problem.scale(gammas[row]) * problem.sizes).astype(np.float32)[:, None]
        in_samples = isinstance(design, DualDesign) and design.exact
        n_rows = design.n if in_samples else problem.x.shape[1]
        for part in _parts(voxels, problem, design, n_rows):
            out = np.empty((n_rows, len(part)), np.float32)
            mine = Responses(y=y[:, part], mean=problem.found.mean[part], device=problem.responses.device)
            design.read(mine, len(part), out)
            design.finish(mine, search.alpha[part].astype(np.int64), len(part), out)
            if in_samples:
                out = (design.x.T @ to_tensor(out, design.x.device)).cpu().numpy()
            weights[:, part] = scale * out
    return weights


def _parts(
    voxels: npt.NDArray[np.int64], problem: _Problem, design: "PrimalDesign | DualDesign", n_rows: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield voxels by as many as memory likes."""
    for part in tiles(len(voxels), _tile(problem, design, n_rows)):
        yield voxels[part]


def _tile(problem: _Problem, design: "PrimalDesign | DualDesign", n_rows: int) -> int:
    n_voxels = problem.responses.y.shape[1]
    kernels = sum(4.0 * part.numel() for part in problem.kernels)
    held = design.bytes_held + kernels + 4.0 * n_rows * n_voxels + n_voxels * (40 + 8 * len(problem.settings.alphas))
    return tile_size(problem.settings, fixed_bytes=held, voxel_bytes=design.bytes_per_voxel)


def _nothing_tried(n_voxels: int) -> Search:
    none = np.zeros(n_voxels, np.int32)
    return Search(n_done=0, score=np.full(n_voxels, -np.inf), candidate=none, alpha=none)


def _places(bands: Sequence[Band]) -> dict[str, slice]:
    names = [band.name for band in bands]
    if not names or len(set(names)) != len(names):
        raise FitError(f"bands {names}, expected at least one, each once", where="banded ridge")
    lengths = {band.name: len(band.x) for band in bands}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise FitError(f"bands of different length: {said} samples", where="banded ridge")
    ends = np.cumsum([0, *(band.x.shape[1] for band in bands)])
    return {name: slice(int(ends[k]), int(ends[k + 1])) for k, name in enumerate(names)}


def _band_sizes(centred: Array, places: Mapping[str, slice]) -> npt.NDArray[np.float64]:
    """Return factors ``(n_features,)`` that give each band the mean of all bands' total variances."""
    variance = (centred.astype(np.float64) ** 2).sum(axis=0)
    totals = {name: float(variance[part].sum()) for name, part in places.items()}
    if dead := [name for name, total in totals.items() if not total > 0]:
        raise FitError(f"the features of {', '.join(dead)} do not change over training samples", where="banded ridge")
    mean = float(np.mean(list(totals.values())))
    factors = np.empty(centred.shape[1])
    for name, part in places.items():
        factors[part] = np.sqrt(mean / totals[name])
    return factors
