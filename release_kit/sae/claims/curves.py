"""Shares of bilingual features as arrays over seeds, steps and layers, and the contrasts that claims are made of.

A contrast is a weight for every share. The same weights on a null's shares say what the contrast would be without what
it is taken to show, so every claim is judged beyond its nulls, seed by seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from release_kit.sae.claims.read import StudyTables

MEASURES = ("count", "mass")
NEEDED_NULLS = ("random-model", "permuted-languages")
"""No training at all, and no languages at all: a claim that does not go beyond these is none."""
SHOWN_NULLS = ("romanised", "digits")
"""What classes follow (letters, marks) is another question: shown beside, not needed."""
NULLS = (*NEEDED_NULLS, *SHOWN_NULLS)
_RULE, _CLASS = "rate", "bilingual"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Shares of one size by one measure.

    Attributes:
        steps, layers, seeds: what the axes are; step 0 is a model with random weights.
        real: (n_seeds, n_steps, n_layers) share of features with a language that are bilingual; NaN where unknown.
        nulls: null → the same shares under it; those that were measured.
    """

    steps: tuple[int, ...]
    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    real: Array
    nulls: Mapping[str, Array]

    @property
    def trained(self) -> tuple[int, ...]:
        """Places of the steps after step 0."""
        return tuple(k for k, step in enumerate(self.steps) if step > 0)

    def contrast(self, weights: Array, null: str = "") -> Array:
        """Return (n_seeds,) the sum of weights times shares, of the real shares or of a null's.

        Args:
            weights: (n_seeds, n_steps, n_layers). null: its name; empty: the real shares.
        """
        shares = self.nulls[null] if null else self.real
        return np.where(weights != 0, weights * shares, 0.0).sum((1, 2))


def read_curves(tables: StudyTables, by: str) -> dict[str, Curves]:
    """Return size → shares of bilingual features by ``count`` or ``mass``, beside every null that was measured.

    The random model is the study's own step 0 of the same size, layer and seed where ``nulls`` does not name it.
    """
    real: dict[str, dict[tuple, float]] = {}
    under: dict[str, dict[str, dict[tuple, float]]] = {}
    for row in tables.saes:
        if row["metric"] == f"{_CLASS}_{by}" and not row["language"]:
            real.setdefault(row["size"], {})[_place(row)] = _number(row["value"])
    for row in tables.nulls:
        if (row["rule"], row["by"], row["class"]) == (_RULE, by, _CLASS):
            real.setdefault(row["size"], {}).setdefault(_place(row), _number(row["share"]))
            own = under.setdefault(row["size"], {}).setdefault(row["null"], {})
            own[_place(row)] = _number(row["null_share"])
    return {size: _curves(real[size], under.get(size, {})) for size in tables.sizes if size in real}


def _curves(real: Mapping[tuple, float], under: Mapping[str, Mapping[tuple, float]]) -> Curves:
    steps, layers, seeds = (tuple(sorted({place[k] for place in real})) for k in range(3))

    def array(shares: Mapping[tuple, float]) -> Array:
        return np.array([[[shares.get((t, x, s), np.nan) for x in layers] for t in steps] for s in seeds])

    nulls = {name: array(under[name]) for name in NULLS if name in under}
    shares = array(real)
    if steps[0] == 0:
        first = np.broadcast_to(shares[:, :1], shares.shape)
        given = nulls.get("random-model", np.full(shares.shape, np.nan))
        nulls = {"random-model": np.where(np.isnan(given), first, given), **nulls_without(nulls, "random-model")}
    return Curves(steps=steps, layers=layers, seeds=seeds, real=shares, nulls=nulls)


def nulls_without(nulls: Mapping[str, Array], name: str) -> dict[str, Array]:
    """Return the nulls but one."""
    return {null: shares for null, shares in nulls.items() if null != name}


def weights_at(curves: Curves, place: int) -> Array:
    """Return the weights of the mean over layers at one step.

    Args:
        curves: whose. place: among ``steps``.
    """
    weights = np.zeros(curves.real.shape)
    weights[:, place] = 1 / len(curves.layers)
    return weights


def between(curves: Curves) -> tuple[int, ...]:
    """Return the places of the trained steps between the first and the last one."""
    return curves.trained[1:-1]


def trough(curves: Curves) -> int:
    """Return the place of the step between the first trained one and the last with the lowest mean share.

    A minimum lies too low by chance: what is measured there allows for ``len(between(curves))`` choices.
    """
    means = curves.real.mean(axis=(0, 2))
    known = [place for place in between(curves) if np.isfinite(means[place])]
    return min(known or between(curves), key=lambda place: means[place])


def layer_parts(layers: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """Return places of early, middle and late layers; the middle half by depth, (k - 1/2) / n of n measured layers.

    Without three layers there is no middle: all three are empty then.
    """
    depth = [(k + 0.5) / len(layers) for k in range(len(layers))]
    if len(layers) < 3:
        return [], [], []
    return (
        [k for k, at in enumerate(depth) if at <= 0.25],
        [k for k, at in enumerate(depth) if 0.25 < at < 0.75],
        [k for k, at in enumerate(depth) if at >= 0.75],
    )


def weights_of_layers(curves: Curves, places: list[int], step: int = -1) -> Array:
    """Return the weights of the mean over some layers at one step.

    Args:
        curves: whose. places: of layers. step: place among ``steps``.
    """
    weights = np.zeros(curves.real.shape)
    weights[:, step, places] = 1 / len(places)
    return weights


def onsets(curves: Curves, null: str = "") -> Array:
    """Return (n_seeds,) log2 of the step at which the share has made half its way from the lowest to the last.

    Between steps the way is straight over log2 of the step. NaN for a seed whose share does not rise.

    Args:
        curves: whose. null: its share is subtracted; empty: none.
    """
    means = (curves.real - curves.nulls[null] if null else curves.real).mean(axis=2)
    found, start = [], trough(curves)
    x = np.log2(np.array(curves.steps[start:], float))
    for curve in means:
        rest = curve[start:]
        half = (rest[0] + rest[-1]) / 2
        over = np.flatnonzero(rest >= half)
        if not rest[-1] > rest[0] or not len(over) or not over[0]:
            found.append(np.nan)
            continue
        k = int(over[0])
        found.append(float(x[k - 1] + (x[k] - x[k - 1]) * (half - rest[k - 1]) / (rest[k] - rest[k - 1])))
    return np.array(found)


def _place(row: Mapping) -> tuple[int, int, int]:
    return row["step"], row["layer"], row["seed"]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
