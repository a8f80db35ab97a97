"""Examples for the released rule, by the second pass that it takes: rows in which a feature comes near its maximum.

The released code takes the maximum of a feature over all pre-activations; here it is that of its activity, which is
the same unless a feature is largest at a token where ``k`` others are larger still.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.classify.counts import layer_activations, rows_of_documents
from release_kit.sae.classify.languages import Classified
from release_kit.sae.classify.released import ABOVE_MAXIMUM, MAX_EXAMPLES, released_rule, token_language
from release_kit.sae.dictionary import Codes, Sae
from release_kit.sae.models.load import LanguageModel


class ReleasedCounter:
    """Counts, for every feature, the languages of the peaks of its first examples.

    Args:
        max_activation: (n_features,) of the first pass.
        ids: (n_tokens,) of all tokens. text_of: id → its text.
        row_starts: (n_rows + 1,) where rows of tokens begin.
    """

    def __init__(
        self,
        max_activation: npt.NDArray[np.float32],
        *,
        ids: npt.NDArray[np.int32],
        text_of: Sequence[str],
        row_starts: npt.NDArray[np.int64],
    ) -> None:
        self._least = ABOVE_MAXIMUM * max_activation.astype(np.float64)
        self._ids, self._text_of, self._starts = ids, text_of, row_starts
        self._language: dict[int, int] = {}
        self.counts = np.zeros((len(max_activation), 2), np.int64)
        """(n_features, 2) examples that peak at English and at Japanese tokens."""

    def add(self, codes: Codes, index: npt.NDArray[np.int64]) -> None:
        """Add the codes of whole rows; rows must come in their order, for the first examples are the ones that count.

        Args:
            codes: of m tokens. index: (m,) their numbers, ascending.
        """
        values = codes.values.cpu().numpy()
        at, column = np.nonzero(values > 0)
        feature, value = codes.indices.cpu().numpy()[at, column], values[at, column]
        near = value > self._least[feature]
        feature, value, token = feature[near], value[near], index[at[near]]
        row = np.searchsorted(self._starts, token, side="right") - 1
        order = np.lexsort((token, -value, row, feature))
        feature, row, token = feature[order], row[order], token[order]
        ahead = np.ones(len(order), bool)
        ahead[1:] = (np.diff(feature) != 0) | (np.diff(row) != 0)
        for one, r, t in zip(feature[ahead].tolist(), row[ahead].tolist(), token[ahead].tolist(), strict=True):
            if self.counts[one].sum() < MAX_EXAMPLES:
                self.counts[one, self._place(r, t)] += 1

    def _place(self, row: int, token: int) -> int:
        if token not in self._language:
            start, stop = self._starts[row : row + 2]
            tokens = [self._text_of[number] for number in self._ids[start:stop]]
            self._language[token] = ("en", "ja").index(token_language(tokens, token - int(start)))
        return self._language[token]

    def classified(self) -> Classified:
        """Return the classes; ``share`` is that of English examples, without an interval: the rule has none."""
        counts = self.counts
        classes = [released_rule({"en": int(en), "ja": int(ja)}) for en, ja in counts]
        total = counts.sum(1)
        share = np.divide(counts[:, 0], total, out=np.full(len(counts), np.nan), where=total > 0)
        return Classified(
            classes=np.array(classes, dtype="<U9"), share=share, low=np.zeros(len(counts)), high=np.ones(len(counts))
        )


def released_classes(
    sae: Sae,
    lm: LanguageModel,
    layer: int,
    tokens: TokenBatches,
    max_activation: npt.NDArray[np.float32],
    *,
    group_tokens: int = 8192,
) -> Classified:
    """Return the classes of the released rule on texts, from the pass that follows ``count_features``.

    Args:
        sae, lm, layer, tokens: as for ``count_features``.
        max_activation: of its counts.
        group_tokens: tokens in memory together.
    """
    text_of = [lm.tokenizer.decode([number]) for number in range(len(lm.tokenizer))]
    counter = ReleasedCounter(max_activation, ids=tokens.ids, text_of=text_of, row_starts=tokens.row_starts)
    for rows in rows_of_documents(tokens, np.arange(len(tokens.texts)), group_tokens):
        x, index = layer_activations(lm, layer, tokens, rows)
        counter.add(sae.encode(x), index)
    return counter.classified()
