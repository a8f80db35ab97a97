"""A map of models: vectors laid out by PCA and t-SNE, who lies beside whom, and how far that can be trusted.

Rows and columns are centred (a model that is surer everywhere, and a document that is easier for all, say nothing).
Neighbours are sought in the full space, not on the picture, and only among models of other runs: epochs of one run lie
together whatever the map is worth. Fixed initialisation, seed and one thread: the same vectors give the same bytes.
The only file that imports scikit-learn.
"""

from collections.abc import Sequence

import numpy as np

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.cells import CellFacts
from release_kit.sft.analysis.distances import named_distances
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.intervals import make_estimate, mean_estimate, percentile_interval, rounded
from release_kit.sft.analysis.records import MapPoint, ModelMap
from release_kit.sft.analysis.vectors import Vectors

N_NEIGHBOURS = 10
N_RESAMPLES = 20
N_COMPONENTS = 50
"""Components of the PCA that t-SNE starts from."""
FEWEST_MODELS = 8
FACTORS = ("base_model", "dataset", "method")
BASE_LESS_DATASET = "base_model less dataset"
"""Among neighbours that share at most one of the two, else both shares are 1 where a base x dataset has many models."""


def model_map(vectors: Vectors, *, seed: int = 0) -> ModelMap | None:
    """Return the map of the models; None with fewer than eight.

    Args:
        vectors: one row a model.
        seed: of t-SNE and of the resampling of documents.
    """
    cells = vectors.cells
    if len(cells) < FEWEST_MODELS:
        return None
    centred = double_centred(vectors.matrix)
    components, shares = principal_components(centred, N_COMPONENTS)
    picture = tsne(components, seed)
    squared = squared_distances(centred)
    strangers = _strangers(cells)
    neighbours = nearest(squared, strangers)
    purity = {factor: _purity(neighbours, cells, factor) for factor in FACTORS if _varies(cells, factor)}
    if "base_model" in purity and "dataset" in purity:
        others = nearest(squared, strangers & ~_alike(cells, "base_model", "dataset"))
        purity[BASE_LESS_DATASET] = _purity(others, cells, "base_model", less="dataset")
    return ModelMap(
        vectors=vectors.kind,
        n_documents=vectors.matrix.shape[1],
        points=tuple(_point(cell, components[i], picture[i]) for i, cell in enumerate(cells)),
        pca_shares=tuple(rounded(share) for share in shares[:10]),
        purity=purity,
        chance_purity={factor: _chance(strangers, cells, factor) for factor in purity if factor in FACTORS},
        stability=stability(vectors.matrix, neighbours, strangers, seed),
        distances=named_distances(np.sqrt(squared), cells),
    )


def double_centred(matrix: np.ndarray) -> np.ndarray:
    """Return (n_models, n_documents) with the mean of each row and of each column taken out."""
    return matrix - matrix.mean(axis=0) - matrix.mean(axis=1, keepdims=True) + matrix.mean()


def principal_components(centred: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ((n_models, at most n) scores, shares of all components); the largest loading of each is positive."""
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(vt[np.arange(len(vt)), np.argmax(np.abs(vt), axis=1)])
    shares = s**2 / max(float((s**2).sum()), 1e-300)
    return (u * s * np.where(signs == 0, 1.0, signs))[:, :n], shares


def tsne(components: np.ndarray, seed: int) -> np.ndarray:
    """Return (n_models, 2) by t-SNE (van der Maaten & Hinton 2008), started from the first two components."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(components) - 1) / 3)
    if not components.any() or components.shape[1] < 2:
        return np.zeros((len(components), 2))
    start = components[:, :2] / max(float(components[:, 0].std()), 1e-300) * 1e-4
    layout = TSNE(perplexity=perplexity, init=start, learning_rate="auto", random_state=seed, n_jobs=1)
    return layout.fit_transform(components).astype(np.float64)


def squared_distances(matrix: np.ndarray) -> np.ndarray:
    """Return (n_models, n_models) squared Euclidean distances, exactly symmetric with a zero diagonal."""
    gram = matrix @ matrix.T
    squares = np.diag(gram)
    squared = np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0.0)
    squared = (squared + squared.T) / 2
    np.fill_diagonal(squared, 0.0)
    return squared


def nearest(squared: np.ndarray, allowed: np.ndarray, k: int = N_NEIGHBOURS) -> np.ndarray:
    """Return (n_models, k) nearest allowed models, -1 where there are fewer; ties by place."""
    k = min(k, len(squared) - 1)
    order = np.argsort(np.where(allowed, squared, np.inf), axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(allowed, order, axis=1), order, -1)


def stability(matrix: np.ndarray, neighbours: np.ndarray, allowed: np.ndarray, seed: int) -> Estimate:
    """Return the mean overlap of nearest neighbours with those under resampled documents, 1 when all stay.

    Args:
        matrix: (n_models, n_documents), not centred.
        neighbours: (n_models, k) of all documents.
        allowed: (n_models, n_models) who may be a neighbour.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    n_documents = matrix.shape[1]
    own = _membership(neighbours)
    overlaps = []
    for _ in range(N_RESAMPLES):
        drawn = np.sort(rng.integers(n_documents, size=n_documents))
        other = _membership(nearest(squared_distances(double_centred(matrix[:, drawn])), allowed, neighbours.shape[1]))
        overlaps.append(float((own & other).sum() / max(1, own.sum())))
    low, high = percentile_interval(np.array(overlaps))
    value = float(np.mean(overlaps))
    method = "percentile of resampled documents"
    return make_estimate(value, low, high, n=len(matrix), n_units=n_documents, over="document", method=method, p=None)


def _membership(neighbours: np.ndarray) -> np.ndarray:
    member = np.zeros((len(neighbours), len(neighbours)), bool)
    rows, columns = np.nonzero(neighbours >= 0)
    member[rows, neighbours[rows, columns]] = True
    return member


def _strangers(cells: Sequence[CellFacts]) -> np.ndarray:
    """Return (n_models, n_models): true for models of other runs."""
    return ~_alike(cells, "run")


def _alike(cells: Sequence[CellFacts], *factors: str) -> np.ndarray:
    """Return (n_models, n_models): true where all these levels are the same."""
    codes, _ = codes_of([tuple(getattr(cell, factor) for factor in factors) for cell in cells])
    return codes[:, None] == codes[None, :]


def _varies(cells: Sequence[CellFacts], factor: str) -> bool:
    return len({getattr(cell, factor) for cell in cells}) > 1


def _purity(neighbours: np.ndarray, cells: Sequence[CellFacts], factor: str, less: str | None = None) -> Estimate:
    """Return the share of neighbours with a model's own level, less that of the factor ``less``."""
    known = neighbours >= 0
    rows = np.flatnonzero(known.any(axis=1))
    share = _shares(neighbours, known, cells, factor)[rows]
    if less is not None:
        share = share - _shares(neighbours, known, cells, less)[rows]
    bases, _ = codes_of([cells[i].base_model for i in rows])
    return mean_estimate(share, bases, over="base_model", clip=(0.0, 1.0) if less is None else (-1.0, 1.0))


def _shares(neighbours: np.ndarray, known: np.ndarray, cells: Sequence[CellFacts], factor: str) -> np.ndarray:
    levels, _ = codes_of([getattr(cell, factor) for cell in cells])
    same = (levels[neighbours] == levels[:, None]) & known
    return same.sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _chance(allowed: np.ndarray, cells: Sequence[CellFacts], factor: str) -> float:
    levels, _ = codes_of([getattr(cell, factor) for cell in cells])
    same = (levels[:, None] == levels[None, :]) & allowed
    return rounded(float(np.mean(same.sum(axis=1) / np.maximum(allowed.sum(axis=1), 1))))


def _point(cell: CellFacts, component: np.ndarray, place: np.ndarray) -> MapPoint:
    second = float(component[1]) if len(component) > 1 else 0.0
    return MapPoint(
        cell_id=cell.cell_id,
        base_model=cell.base_model,
        dataset=cell.dataset,
        method=cell.method,
        data_size=cell.data_size,
        seed=cell.seed,
        epoch=cell.epoch,
        pca=(round(float(component[0]), 4), round(second, 4)),
        tsne=(round(float(place[0]), 3), round(float(place[1]), 3)),
    )
