"""Sentences that interventions are scored on: one language, or a translation of which only the second half counts.

Owns ids, what of them is scored, and batches of like length. Scores are sums of negative log-likelihoods, so that any
mean over sentences or tokens can be taken later.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch

ARROW = ">"


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence, or one translation.

    Attributes:
        id: of the pair that it comes from.
        kind: its language (``en``), or both with an arrow (``en>ja``): the second one is scored.
        ids: token ids, the start token first where the model has one.
        first: place in ``ids`` of the first token that is scored, at least 1.
    """

    id: str
    kind: str
    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceBatch:
    """Sentences that go through a model together.

    Attributes:
        rows: (b,) places in the list of sentences.
        input_ids: (b, t) int64, padded on the right.
        mask: (b, t) int64, 0 for padding.
        scored: (b, t - 1) bool: whether the token that place predicts counts.
    """

    rows: npt.NDArray[np.int64]
    input_ids: "torch.Tensor"
    mask: "torch.Tensor"
    scored: "torch.Tensor"


def make_sentences(
    lm: LanguageModel, pairs: Sequence[tuple[str, str, str]], languages: tuple[str, str], *, separator: str = "\n"
) -> list[Sentence]:
    """Return each side of each pair, and its translation both ways.

    Args:
        lm: whose tokenizer is used.
        pairs: id, text in the first language, text in the second.
        languages: their codes.
        separator: between the two halves of a translation, as the model's training text has it.

    Raises:
        SaeError: a sentence without a token that could be scored.
    """
    bos = [lm.tokenizer.bos_token_id] if lm.tokenizer.bos_token_id is not None else []
    first, second = languages

    def ids_of(text: str) -> list[int]:
        return lm.tokenizer(text, add_special_tokens=False)["input_ids"]

    found = []
    for name, one, other in pairs:
        sides = {first: ids_of(one), second: ids_of(other)}
        for language, ids in sides.items():
            found.append(_sentence(name, language, [*bos, *ids], max(len(bos), 1)))
        for early, late in ((first, second), (second, first)):
            prompt = [*bos, *sides[early], *ids_of(separator)]
            found.append(_sentence(name, f"{early}{ARROW}{late}", [*prompt, *sides[late]], len(prompt)))
    return found


def batches(sentences: Sequence[Sentence], *, n_tokens: int = 4096, pad: int = 0) -> Iterator[SentenceBatch]:
    """Yield all sentences, long ones first, in batches of at most ``n_tokens`` places, padding counted."""
    import torch

    order = sorted(range(len(sentences)), key=lambda row: (-len(sentences[row].ids), row))
    start = 0
    while start < len(order):
        longest = len(sentences[order[start]].ids)
        rows = order[start : start + max(1, n_tokens // longest)]
        start += len(rows)
        ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
        mask, scored = torch.zeros_like(ids), torch.zeros((len(rows), longest - 1), dtype=torch.bool)
        for place, row in enumerate(rows):
            sentence = sentences[row]
            ids[place, : len(sentence.ids)] = torch.tensor(sentence.ids)
            mask[place, : len(sentence.ids)] = 1
            scored[place, sentence.first - 1 : len(sentence.ids) - 1] = True
        yield SentenceBatch(rows=np.array(rows), input_ids=ids, mask=mask, scored=scored)


def negative_log_likelihoods(lm: LanguageModel, batch: SentenceBatch) -> npt.NDArray[np.float64]:
    """Return (b,) sums over the scored tokens of each sentence, in nats; replacements of layers hold meanwhile."""
    import torch

    with torch.inference_mode():
        device = lm.device
        given = {"input_ids": batch.input_ids.to(device), "attention_mask": batch.mask.to(device)}
        logits = lm.model(**given, use_cache=False).logits
        scored = batch.scored.to(device)
        told = torch.nn.functional.cross_entropy(
            logits[:, :-1][scored].float(), given["input_ids"][:, 1:][scored], reduction="none"
        )
        sums = torch.zeros(len(scored), dtype=torch.float64, device=device)
        return sums.index_add_(0, scored.nonzero()[:, 0], told.double()).cpu().numpy()


def _sentence(name: str, kind: str, ids: list[int], first: int) -> Sentence:
    if len(ids) <= first:
        raise SaeError("has no token that can be scored", where=f"sentence {name} ({kind})")
    return Sentence(id=name, kind=kind, ids=tuple(ids), first=first)
