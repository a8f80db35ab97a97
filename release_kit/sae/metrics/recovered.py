"""What a model loses when a layer is replaced by an autoencoder's reconstruction, beside losing the layer altogether.

Definitions are those of SAELens 6.54: cross-entropy and divergence of the next token with the residual as it is, with
its reconstruction, and with zeros at all places. Start tokens and padding keep their residual, and are not scored from.
"""

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
    if sae.config.d_in != lm.d_model:
        what = f"the autoencoder takes width {sae.config.d_in}, the model has {lm.d_model}"
        raise SaeError(what, where=lm.label(), next_step="take the autoencoder of this model")
    sums = np.zeros((len(LANGUAGES), 7))
    for batch in tokens.batches(batch_tokens):
        sums += _batch_sums(sae, lm, layer, batch, tokens)
    if not sums[:, 0].sum():
        raise SaeError("no row of tokens has two tokens: there is nothing to predict", where=lm.label())
    groups = {ALL: sums.sum(0), **{name: sums[code] for code, name in enumerate(LANGUAGES) if name}}
    return {name: _figures(row) for name, row in groups.items() if row[0]}


def _figures(row: np.ndarray) -> Recovered:
    ce, divergences = row[2:5] / row[0], row[5:] / row[1]
    return Recovered(
        n_tokens=int(row[0]), n_kl_tokens=int(row[1]), ce=float(ce[0]), ce_sae=float(ce[1]), ce_zero=float(ce[2]),
        kl_sae=float(divergences[0]), kl_zero=float(divergences[1]),
    )  # fmt: skip


def _batch_sums(sae: Sae, lm: LanguageModel, layer: int, batch: Batch, tokens: TokenBatches) -> np.ndarray:
    """Return (n_languages, 7): tokens with a next one, tokens, three sums of cross-entropy, two of divergence."""
    import torch

    kept = batch.kept().to(lm.device)

    def rebuilt(h: "torch.Tensor") -> "torch.Tensor":
        new = h.clone()
        new[kept] = sae.decode(sae.encode(h[kept])).to(h.dtype)
        return new

    base = _log_probabilities(lm, batch)
    with replaced(lm, layer, rebuilt):
        with_sae = _log_probabilities(lm, batch)
    with replaced(lm, layer, torch.zeros_like):
        with_zeros = _log_probabilities(lm, batch)
    code = torch.from_numpy(tokens.language.astype(np.int64))[batch.index.clamp(min=0)].to(lm.device)
    scored = kept[:, :-1] & kept[:, 1:]
    following = batch.input_ids[:, 1:].to(lm.device)
    columns = [(code[:, :-1][scored], torch.ones(int(scored.sum()))), (code[kept], torch.ones(int(kept.sum())))]
    for logs in (base, with_sae, with_zeros):
        each = -logs[:, :-1].gather(2, following.unsqueeze(2)).squeeze(2)[scored]
        columns.append((code[:, :-1][scored], each))
    for logs in (with_sae, with_zeros):
        columns.append((code[kept], (base.exp() * (base - logs)).sum(2)[kept]))
    found = np.zeros((len(LANGUAGES), len(columns)))
    for place, (group, values) in enumerate(columns):
        weights = values.cpu().double().numpy()
        found[:, place] = np.bincount(group.cpu().numpy(), weights=weights, minlength=len(LANGUAGES))
    return found


def _log_probabilities(lm: LanguageModel, batch: Batch) -> "torch.Tensor":
    import torch

    with torch.no_grad():
        mask = batch.mask.to(lm.device)
        logits = lm.model(input_ids=batch.input_ids.to(lm.device), attention_mask=mask, use_cache=False).logits
        return torch.log_softmax(logits.float(), dim=-1)
