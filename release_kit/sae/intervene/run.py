"""Interventions at one layer of a model: a finished model's features go in, its own come out, losses are kept.

One forward pass of each model per batch decomposes its residuals; each intervention is one more pass of the model that
it is made in. Scores stay sums over sentences, so that intervals can be taken over sentences.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.intervene.contributions import Decomposed, with_length_of
from release_kit.sae.intervene.plan import Intervention
from release_kit.sae.intervene.sentences import Sentence, SentenceBatch, batches, negative_log_likelihoods
from release_kit.sae.models.hooks import replaced, residuals
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch

BASE = ("none", "", 0.0, "", 0)
"""The key of scores without an intervention."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """A model and the autoencoder of the layer in question."""

    lm: LanguageModel
    sae: Sae


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """Negative log-likelihoods of sentences.

    Attributes:
        keys: of the interventions, ``BASE`` first.
        nll: (n_keys, n_sentences) float64, sums over scored tokens in nats.
        n_tokens: (n_sentences,) scored tokens.
        kinds: (n_sentences,) language or translation of each.
        ids: (n_sentences,) ids of pairs.
    """

    keys: tuple[tuple[str, str, float, str, int], ...]
    nll: npt.NDArray[np.float64]
    n_tokens: npt.NDArray[np.int64]
    kinds: tuple[str, ...]
    ids: tuple[str, ...]


def intervene(
    middle: Side,
    donor: Side,
    layer: int,
    sentences: Sequence[Sentence],
    interventions: Sequence[Intervention],
    *,
    n_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Losses:
    """Score every sentence without and with every intervention.

    Args:
        middle: the model that is changed, with its own autoencoder.
        donor: the model whose features are put in, with its autoencoder; the same tokenizer.
        layer: of both.
        sentences: what is scored.
        interventions: what is done, one after the other.
        n_tokens: places of a batch; it decides memory.
        progress: called with batches done and batches in all.

    Raises:
        SaeError: models whose tokens or widths differ, an autoencoder of another width.
        ActivationError: there is no such layer.
    """
    _check(middle, donor)
    keys = (BASE, *(one.key for one in interventions))
    nll = np.zeros((len(keys), len(sentences)))
    pad = middle.lm.tokenizer.pad_token_id or 0
    work = list(batches(sentences, n_tokens=n_tokens, pad=pad))
    for done, batch in enumerate(work, start=1):
        nll[0, batch.rows] = negative_log_likelihoods(middle.lm, batch)
        parts = _Parts.of(middle, donor, layer, batch)
        for place, one in enumerate(interventions, start=1):
            with replaced(middle.lm, layer, parts.change(one)):
                nll[place, batch.rows] = negative_log_likelihoods(middle.lm, batch)
        if progress is not None:
            progress(done, len(work))
    return Losses(
        keys=keys,
        nll=nll,
        n_tokens=np.array([len(one.ids) - one.first for one in sentences]),
        kinds=tuple(one.kind for one in sentences),
        ids=tuple(one.id for one in sentences),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """One batch, decomposed: residuals of real tokens by features of both autoencoders."""

    real: "torch.Tensor"
    lengths: "torch.Tensor"
    own: Decomposed
    final: Decomposed

    @classmethod
    def of(cls, middle: Side, donor: Side, layer: int, batch: SentenceBatch) -> "_Parts":
        real = batch.mask.bool()
        found = [
            residuals(side.lm, batch.input_ids, batch.mask, [layer])[layer][real.to(side.lm.device)].float()
            for side in (middle, donor)
        ]
        return cls(
            real=real.to(middle.lm.device),
            lengths=found[0].norm(dim=1, keepdim=True),
            own=Decomposed.of(middle.sae, found[0]),
            final=Decomposed.of(donor.sae, found[1]),
        )

    def change(self, one: Intervention) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Return the replacement of the residual (b, t, d) that an intervention asks for."""
        added = self._added(one)

        def replace(h: "torch.Tensor") -> "torch.Tensor":
            new = h.clone()
            new[self.real] += (one.strength * added).to(h)
            return new

        return replace

    def _added(self, one: Intervention) -> "torch.Tensor":
        """Return what is added for a strength of 1, (m, d)."""
        terms = []
        if one.variant != "ablate":
            terms.append(self._matched(self._given, one.final, one.like_final, one.control))
        if one.variant != "add":
            own = self.own.contribution
            terms.append(-self._matched(own, one.own, one.like_own, one.control))
        return sum(terms[1:], terms[0])

    def _given(self, chosen: "torch.Tensor") -> "torch.Tensor":
        """Return what the donor's features contribute, at the length of the residual that takes it.

        An autoencoder of inputs of length 1 says which share of a residual a feature is: the share is taken of the
        residual that it is put into.
        """
        if self.final.sae.config.normalise == "unit-norm":
            return self.final.unit_contribution(chosen) * self.lengths
        return self.final.contribution(chosen)

    def _matched(self, contribution, chosen: "torch.Tensor", like: "torch.Tensor", control: str) -> "torch.Tensor":
        found = contribution(chosen)
        return with_length_of(found, contribution(like)) if control == "norm" else found


def loss_rows(losses: Losses) -> Iterator[dict]:
    """Yield one row for each intervention and sentence: what tables keep."""
    for key, sums in zip(losses.keys, losses.nll, strict=True):
        variant, name, strength, control, draw = key
        common = {"variant": variant, "class": name, "strength": strength, "control": control, "draw": draw}
        for place, value in enumerate(sums):
            sentence = {"sentence": losses.ids[place], "kind": losses.kinds[place]}
            yield {**common, **sentence, "nll": float(value), "n_tokens": int(losses.n_tokens[place])}


def _check(middle: Side, donor: Side) -> None:
    for side in (middle, donor):
        if side.sae.config.d_in != side.lm.d_model:
            what = f"its width is {side.lm.d_model}, its autoencoder's {side.sae.config.d_in}"
            raise SaeError(what, where=side.lm.label())
    if middle.lm.d_model != donor.lm.d_model:
        what = f"its width is {donor.lm.d_model}, that of {middle.lm.label()} is {middle.lm.d_model}"
        raise SaeError(what, where=donor.lm.label(), next_step="take two checkpoints of one model")
    if middle.lm.tokenizer.get_vocab() != donor.lm.tokenizer.get_vocab():
        what = f"its tokens are not those of {middle.lm.label()}"
        raise SaeError(what, where=donor.lm.label(), next_step="take two checkpoints of one model")
