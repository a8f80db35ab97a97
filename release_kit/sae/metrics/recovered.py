"""What a model loses when a layer is replaced by an autoencoder's reconstruction, beside losing the layer altogether.

Definitions are those of SAELens 6.54: cross-entropy and divergence of the next token with the residual as it is, with
its reconstruction, and with zeros at all places. Start tokens and padding keep their residual, and are not scored from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from release_kit.sae.activations.tokens import LANGUAGES, Batch, TokenBatches
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.metrics.reconstruction import ALL
from release_kit.sae.models.hooks import replaced
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """Losses in nats, means over tokens.

    Attributes:
        n_tokens: tokens that have a next one. n_kl_tokens: tokens.
        ce: cross-entropy of the next token. ce_sae: with the reconstruction. ce_zero: with zeros.
        kl_sae: divergence of the prediction with the reconstruction from that without. kl_zero: with zeros.
    """

    n_tokens: int
    n_kl_tokens: int
    ce: float
    ce_sae: float
    ce_zero: float
    kl_sae: float
    kl_zero: float

    @property
    def ce_score(self) -> float:
        """(ce_zero - ce_sae) / (ce_zero - ce): 1 nothing is lost, 0 as bad as zeros; NaN where zeros change nothing."""
        gap = self.ce_zero - self.ce
        return (self.ce_zero - self.ce_sae) / gap if gap else float("nan")

    @property
    def kl_score(self) -> float:
        """(kl_zero - kl_sae) / kl_zero; NaN where zeros change nothing."""
        return (self.kl_zero - self.kl_sae) / self.kl_zero if self.kl_zero else float("nan")

    def to_dict(self) -> dict[str, float]:
        """Return every figure by its name, both scores too."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**found, "ce_score": self.ce_score, "kl_score": self.kl_score}


def recovered(
    sae: Sae, lm: LanguageModel, layer: int, tokens: TokenBatches, *, batch_tokens: int = 4096
) -> dict[str, Recovered]:
    """Return what is recovered, over all tokens (``all``) and over the tokens of each language.

    Args:
        sae: of ``layer``.
        lm: the model.
        layer: 0 to ``lm.n_layers``.
        tokens: texts by the model's tokenizer.
        batch_tokens: places of a batch; it decides memory.

    Raises:
        SaeError: the autoencoder takes another width, or no row has two tokens.
        ActivationError: there is no such layer.
    """
    return recovered_of([sae], lm, layer, tokens, batch_tokens=batch_tokens)[0]


def recovered_of(
    saes: Sequence[Sae], lm: LanguageModel, layer: int, tokens: TokenBatches, *, batch_tokens: int = 4096
) -> list[dict[str, Recovered]]:
    """Return the same for several autoencoders of one layer, which share the passes without any of them.

    Args:
        saes: of ``layer``. lm, layer, tokens, batch_tokens: as for ``recovered``.

    Raises:
        SaeError: an autoencoder takes another width, or no row has two tokens.
        ActivationError: there is no such layer.
    """
    for sae in saes:
        if sae.config.d_in != lm.d_model:
            what = f"the autoencoder takes width {sae.config.d_in}, the model has {lm.d_model}"
            raise SaeError(what, where=lm.label(), next_step="take the autoencoder of this model")
    sums = np.zeros((len(saes), len(LANGUAGES), 7))
    for batch in tokens.batches(batch_tokens):
        sums += _batch_sums(saes, lm, layer, batch, tokens)
    if len(saes) and not sums[0, :, 0].sum():
        raise SaeError("no row of tokens has two tokens: there is nothing to predict", where=lm.label())
    return [_by_language(one) for one in sums]


def _by_language(sums: np.ndarray) -> dict[str, Recovered]:
    groups = {ALL: sums.sum(0), **{name: sums[code] for code, name in enumerate(LANGUAGES) if name}}
    return {name: _figures(row) for name, row in groups.items() if row[0]}


def _figures(row: np.ndarray) -> Recovered:
    ce, divergences = row[2:5] / row[0], row[5:] / row[1]
    return Recovered(
        n_tokens=int(row[0]), n_kl_tokens=int(row[1]), ce=float(ce[0]), ce_sae=float(ce[1]), ce_zero=float(ce[2]),
        kl_sae=float(divergences[0]), kl_zero=float(divergences[1]),
    )  # fmt: skip


def _batch_sums(saes: Sequence[Sae], lm: LanguageModel, layer: int, batch: Batch, tokens: TokenBatches) -> np.ndarray:
    """Return (n_saes, n_languages, 7): tokens with a next one, tokens, three cross-entropies, two divergences."""
    import torch

    kept = batch.kept().to(lm.device)
    code = torch.from_numpy(tokens.language.astype(np.int64)[batch.index[batch.kept()].numpy()]).to(lm.device)
    scored = kept & kept.roll(-1, dims=1)
    scored[:, -1] = False
    following = batch.input_ids.roll(-1, dims=1).to(lm.device)[kept]
    scored = scored[kept]

    def entropies(logs: "torch.Tensor") -> np.ndarray:
        return _summed(code[scored], -logs.gather(1, following.unsqueeze(1)).squeeze(1)[scored])

    def rebuilt(sae: Sae) -> "Callable[[torch.Tensor], torch.Tensor]":
        def fn(h: "torch.Tensor") -> "torch.Tensor":
            new = h.clone()
            new[kept] = sae.decode(sae.encode(h[kept])).to(h.dtype)
            return new

        return fn

    base = _log_probabilities(lm, batch, kept)
    weight = base.exp()

    def divergences(logs: "torch.Tensor") -> np.ndarray:
        return _summed(code, (weight * (base - logs)).sum(1))

    with replaced(lm, layer, torch.zeros_like):
        with_zeros = _log_probabilities(lm, batch, kept)
    ones = torch.ones(len(code))
    found = np.zeros((len(saes), len(LANGUAGES), 7))
    found[:, :, 0], found[:, :, 1] = _summed(code[scored], ones[scored.cpu()]), _summed(code, ones)
    found[:, :, 2], found[:, :, 4], found[:, :, 6] = entropies(base), entropies(with_zeros), divergences(with_zeros)
    del with_zeros
    for place, sae in enumerate(saes):
        with replaced(lm, layer, rebuilt(sae)):
            with_sae = _log_probabilities(lm, batch, kept)
        found[place, :, 3], found[place, :, 5] = entropies(with_sae), divergences(with_sae)
    return found


def _summed(group: "torch.Tensor", values: "torch.Tensor") -> np.ndarray:
    weights = values.cpu().double().numpy()
    return np.bincount(group.cpu().numpy(), weights=weights, minlength=len(LANGUAGES))


def _log_probabilities(lm: LanguageModel, batch: Batch, kept: "torch.Tensor") -> "torch.Tensor":
    """Return (m, n_ids) of the places that are kept."""
    import torch

    with torch.no_grad():
        mask = batch.mask.to(lm.device)
        logits = lm.model(input_ids=batch.input_ids.to(lm.device), attention_mask=mask, use_cache=False).logits
        return torch.log_softmax(logits[kept].float(), dim=-1)
