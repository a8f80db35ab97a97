"""How well an autoencoder gives back activations and how sparse it is: for all tokens and for each language.

Definitions are those of SAELens 6.54 where it has them, one of them under the name it has there although it is no
proportion of variance. Sums are float64; what the rest of a model makes of a reconstruction is ``recovered.py``'s.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.dictionary import Codes, Sae
from release_kit.sae.errors import ActivationError, SaeError

if TYPE_CHECKING:
    import torch

ALL = "all"
"""The name under which figures of all tokens stand, those without a language too."""
_SMALLEST_LENGTH = 1e-4


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Figures of some tokens, with x an activation, y its reconstruction and means over tokens.

    Attributes:
        n_tokens: that were looked at.
        explained_variance: ``1 - mean |x - y|² / (mean |x|² - |mean x|²)``.
        explained_variance_legacy: mean of ``1 - |x - y|² / |x - m|²``, m the mean of the token's batch.
        fvu: 1 - explained_variance.
        mse: mean |x - y|², summed over dimensions.
        cosine: mean of that between x and y.
        l0: mean number of active features. l1: mean sum of their values.
        l2_ratio: mean |y| / |x|, |x| taken as 1 below 1e-4.
        dead_share: features that no token activates.
    """

    n_tokens: int
    explained_variance: float
    explained_variance_legacy: float
    fvu: float
    mse: float
    cosine: float
    l0: float
    l1: float
    l2_ratio: float
    dead_share: float

    def to_dict(self) -> dict[str, float]:
        """Return every figure by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstructions:
    """Figures by language, and how often every feature fires.

    Attributes:
        by_language: language, or ``all`` → figures; a language without a token is not there.
        density: the same names → (n_features,) share of tokens at which each feature is active.
    """

    by_language: dict[str, Reconstruction]
    density: dict[str, npt.NDArray[np.float64]]

    def histogram(self, name: str = ALL, edges: Sequence[float] = tuple(range(-7, 1))) -> list[int]:
        """Return numbers of live features by the decimal logarithm of their density; those below the edges are first.

        Args:
            name: language, or ``all``.
            edges: ascending; bin i reaches from edge i to edge i + 1, the last one included.
        """
        live = self.density[name][self.density[name] > 0]
        counts, _ = np.histogram(np.clip(np.log10(live), edges[0], edges[-1]), bins=edges)
        return counts.tolist()


class _Sums:
    """What figures are calculated from, over tokens so far."""

    def __init__(self, n_features: int, d_in: int) -> None:
        self.n = 0
        self.x = np.zeros(d_in)
        self.square = self.residual = 0.0
        self.means = np.zeros(5)
        self.fired = np.zeros(n_features, np.int64)

    def add(self, x: npt.NDArray[np.float64], residual: npt.NDArray[np.float64], each: npt.NDArray[np.float64],
            fired: npt.NDArray[np.int64]) -> None:  # fmt: skip
        self.n += len(x)
        self.x += x.sum(0)
        self.square += float((x**2).sum())
        self.residual += float(residual.sum())
        self.means += each.sum(1)
        self.fired += fired

    def figures(self) -> Reconstruction:
        mse = self.residual / self.n
        variance = self.square / self.n - float(((self.x / self.n) ** 2).sum())
        explained = 1 - mse / variance if variance >= 1e-10 else float(mse < 1e-10)
        legacy, cosine, l0, l1, ratio = (float(value) for value in self.means / self.n)
        return Reconstruction(
            n_tokens=self.n, explained_variance=explained, explained_variance_legacy=legacy, fvu=1 - explained,
            mse=mse, cosine=cosine, l0=l0, l1=l1, l2_ratio=ratio, dead_share=float((self.fired == 0).mean()),
        )  # fmt: skip


def reconstruction(
    sae: Sae,
    batches: "Iterable[tuple[torch.Tensor, npt.NDArray[np.int64]]]",
    language: npt.NDArray[np.int8] | None = None,
    names: Sequence[str] = ("", "en", "ja"),
) -> Reconstructions:
    """Return figures of all tokens and of each language.

    Args:
        sae: the autoencoder.
        batches: (m, d_in) activations and (m,) numbers of their tokens; only ``explained_variance_legacy`` depends on
            how they are cut. For a language its mean is over the batch's tokens of that language.
        language: (n_tokens,) places in ``names``; None: there is one group, all.
        names: of languages; the empty one is left out.

    Raises:
        SaeError: there is no token.
        ActivationError: activations are not finite.
    """
    sums = ReconstructionSums(sae.config.n_features, sae.config.d_in, names)
    for x, index in batches:
        if not bool(x.isfinite().all()):
            raise ActivationError("activations are not finite", where=f"tokens from number {int(index[0])}")
        codes = sae.encode(x)
        sums.add(x, sae.decode(codes), codes, None if language is None else language[index])
    return sums.figures()


class ReconstructionSums:
    """Figures from codes that are there already, added up batch by batch.

    Args:
        n_features: of the autoencoder. d_in: width. names: of languages; the empty one is left out.
    """

    def __init__(self, n_features: int, d_in: int, names: Sequence[str] = ("", "en", "ja")) -> None:
        self._shape, self._names = (n_features, d_in), tuple(names)
        self._sums: dict[str, _Sums] = {}

    def add(
        self, x: "torch.Tensor", reconstructed: "torch.Tensor", codes: Codes, language: npt.NDArray[np.int8] | None
    ) -> None:
        """Add one batch.

        Args:
            x: (m, d_in) finite activations. reconstructed: (m, d_in). codes: of x.
            language: (m,) places in the names; None: there is one group, all.
        """
        values, out = x.cpu().double().numpy(), reconstructed.cpu().double().numpy()
        parts = codes.indices.cpu().numpy(), codes.values.cpu().double().numpy()
        groups = {ALL: np.ones(len(values), bool)}
        if language is not None:
            groups |= {name: language == place for place, name in enumerate(self._names) if name}
        for name, chosen in groups.items():
            if chosen.any():
                into = self._sums.setdefault(name, _Sums(*self._shape))
                _add(into, values[chosen], out[chosen], *(part[chosen] for part in parts))

    def figures(self) -> Reconstructions:
        """Return the figures of everything that was added.

        Raises:
            SaeError: there is no token.
        """
        if not self._sums:
            raise SaeError("there is no activation to measure", where="reconstruction")
        return Reconstructions(
            by_language={name: one.figures() for name, one in self._sums.items()},
            density={name: one.fired / one.n for name, one in self._sums.items()},
        )


def _add(
    sums: _Sums,
    x: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
    indices: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> None:
    residual = ((x - out) ** 2).sum(1)
    length, length_out = np.linalg.norm(x, axis=1), np.linalg.norm(out, axis=1)
    spread = ((x - x.mean(0)) ** 2).sum(1)
    # A token that is its batch's mean has no variance of its own: -inf or NaN there would take all other tokens along.
    legacy = 1 - np.divide(residual, spread, out=np.ones_like(residual), where=spread > 0)
    product = length * length_out
    cosine = np.divide((x * out).sum(1), product, out=np.zeros_like(product), where=product > 0)
    ratio = length_out / np.where(length < _SMALLEST_LENGTH, 1.0, length)
    active = values > 0
    fired = np.bincount(indices[active], minlength=len(sums.fired))
    sums.add(x, residual, np.stack([legacy, cosine, active.sum(1), values.sum(1), ratio]), fired)
