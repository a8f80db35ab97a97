"""What every feature did on labelled texts, from one pass: sums by language and script, peaks, pairs.

Owns the counter, running it over a model, and merging parts. Memory: a few numbers for each feature, and for each pair
of sentences the features that were active in it. Classes are ``languages.py``'s, files ``table.py``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import LANGUAGES, TokenBatches
from release_kit.sae.classify.contexts import TopContexts, document_peaks
from release_kit.sae.classify.scripts import SCRIPTS, token_scripts
from release_kit.sae.classify.tally import Tally
from release_kit.sae.dictionary import Codes, Sae
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch

N_TOP = 8
"""Contexts that are kept of each feature and language."""
MAX_PAIRS = 4096
"""Pairs of sentences whose active features are kept."""
_Sets = dict[int, npt.NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureCounts:
    """What features did.

    Attributes:
        languages: sums by the language of the document; groups are ``LANGUAGES``.
        scripts: sums by the script of the token; groups are ``SCRIPTS``.
        top: peaks by language.
        max_activation: (n_features,) float32, 0 where it was never active.
        pairs: (n_pairs, 2) documents in English and in Japanese that say the same.
        sets: document of a pair → int32 features that were active in it, ascending.
    """

    languages: Tally
    scripts: Tally
    top: TopContexts
    max_activation: npt.NDArray[np.float32]
    pairs: npt.NDArray[np.int32]
    sets: _Sets

    @property
    def n_features(self) -> int:
        """Features, dead ones too."""
        return len(self.max_activation)

    def merged(self, other: "FeatureCounts") -> "FeatureCounts":
        """Return the counts of the documents of both parts; in another order only rounding of mass differs.

        Raises:
            SaeError: another number of features, other pairs, or a document that is in both.
        """
        if self.n_features != other.n_features or not np.array_equal(self.pairs, other.pairs):
            raise SaeError("counts of other texts or of another autoencoder cannot be added", where="feature counts")
        if twice := sorted(self.sets.keys() & other.sets.keys()):
            raise SaeError(f"document {twice[0]} was counted in both parts", where="feature counts")
        return FeatureCounts(
            languages=self.languages.merged(other.languages), scripts=self.scripts.merged(other.scripts),
            top=self.top.merged(other.top), max_activation=np.maximum(self.max_activation, other.max_activation),
            pairs=self.pairs, sets={**self.sets, **other.sets},
        )  # fmt: skip


class FeatureCounter:
    """Adds up codes of whole documents.

    Args:
        n_features: of the autoencoder.
        language: (n_tokens,) places in ``LANGUAGES``, of all tokens of the texts.
        document: (n_tokens,) their documents.
        script: (n_tokens,) places in ``SCRIPTS``; none of them if None.
        pairs: (n_pairs, 2) documents that say the same.
        n_top: contexts of each feature and language.
    """

    def __init__(
        self,
        n_features: int,
        *,
        language: npt.NDArray[np.int8],
        document: npt.NDArray[np.int32],
        script: npt.NDArray[np.int8] | None = None,
        pairs: npt.NDArray[np.int32] | None = None,
        n_top: int = N_TOP,
    ) -> None:
        self._language, self._document = language, document
        self._script = np.zeros(len(language), np.int8) if script is None else script
        self._seen = np.zeros(int(document.max(initial=-1)) + 1, bool)
        chosen = np.empty((0, 2), np.int32) if pairs is None else np.asarray(pairs, np.int32)
        self._paired = set(chosen.ravel().tolist())
        self.counts = FeatureCounts(
            languages=Tally.empty(LANGUAGES, n_features), scripts=Tally.empty(SCRIPTS, n_features),
            top=TopContexts.empty(n_features, len(LANGUAGES), n_top),
            max_activation=np.zeros(n_features, np.float32), pairs=chosen, sets={},
        )  # fmt: skip

    def add(self, codes: Codes, index: npt.NDArray[np.int64]) -> None:
        """Add the codes of all tokens of some documents.

        Args:
            codes: of m tokens.
            index: (m,) their numbers.

        Raises:
            SaeError: a document was added before: documents must come whole.
            ActivationError: an activation is no number.
        """
        document = self._document[index]
        present = np.unique(document)
        if self._seen[present].any():
            number = int(present[self._seen[present]][0])
            raise SaeError(f"document {number} comes in parts or twice", where="feature counts")
        values = codes.values.cpu().numpy()
        if not np.isfinite(values).all():
            raise ActivationError("activations of features are not finite", where=f"document {int(document[0])}")
        self._seen[present] = True
        row, column = np.nonzero(values > 0)
        feature, value = codes.indices.cpu().numpy()[row, column], values[row, column]
        for tally, group in ((self.counts.languages, self._language), (self.counts.scripts, self._script)):
            tally.add(feature, row, value.astype(np.float64), group=group[index].astype(np.int64), document=document)
        np.maximum.at(self.counts.max_activation, feature, value)
        peaks = document_peaks(feature, index[row], value, document[row])
        cell = feature[peaks] * len(LANGUAGES) + self._language[index[row[peaks]]]
        self.counts.top.offer(cell, value[peaks], index[row[peaks]])
        self._keep_sets(present, feature[peaks], document[row[peaks]])

    def _keep_sets(
        self, present: npt.NDArray[np.int32], feature: npt.NDArray[np.int64], document: npt.NDArray[np.int32]
    ) -> None:
        for number in self._paired.intersection(present.tolist()):
            self.counts.sets[number] = np.sort(feature[document == number]).astype(np.int32)


def count_features(
    sae: Sae,
    lm: LanguageModel,
    layer: int,
    tokens: TokenBatches,
    *,
    documents: Sequence[int] | None = None,
    n_top: int = N_TOP,
    max_pairs: int = MAX_PAIRS,
    group_tokens: int = 8192,
) -> FeatureCounts:
    """Return what the features of an autoencoder did on texts.

    Args:
        sae: the autoencoder.
        lm: the model; ``layer``: whose residual stream the autoencoder takes.
        tokens: of the texts, by the model's tokenizer.
        documents: places in ``tokens.texts``; all if None. Parts of them can be counted apart and merged.
        n_top: contexts of each feature and language.
        max_pairs: pairs of texts whose sets of features are kept, the first ones.
        group_tokens: tokens that are in memory together, one document at least.

    Raises:
        SaeError: the autoencoder takes activations of another width.
        ActivationError: there is no such layer, or activations are not finite.
    """
    if sae.config.d_in != lm.d_model:
        what = f"the autoencoder takes width {sae.config.d_in}, the model has {lm.d_model}"
        raise SaeError(what, where=lm.label(), next_step="take the autoencoder of this model")
    script = token_scripts(lm.tokenizer)[tokens.ids]
    counter = FeatureCounter(
        sae.config.n_features, language=tokens.language, document=tokens.document, script=script,
        pairs=text_pairs(tokens)[:max_pairs], n_top=n_top,
    )  # fmt: skip
    wanted = np.arange(len(tokens.texts)) if documents is None else np.asarray(sorted(documents))
    for rows in rows_of_documents(tokens, wanted, group_tokens):
        x, index = layer_activations(lm, layer, tokens, rows)
        counter.add(sae.encode(x), index)
    return counter.counts


def text_pairs(tokens: TokenBatches) -> npt.NDArray[np.int32]:
    """Return (n_pairs, 2) places of texts that are the English and the Japanese side of a pair, in their order."""
    sides: dict[str, dict[str, int]] = {}
    for place, text in enumerate(tokens.texts):
        if text.pair is not None:
            sides.setdefault(text.pair, {})[text.language] = place
    return np.array([[s["en"], s["ja"]] for s in sides.values() if {"en", "ja"} <= s.keys()], np.int32).reshape(-1, 2)


def rows_of_documents(
    tokens: TokenBatches, documents: npt.NDArray[np.int64], group_tokens: int
) -> list[npt.NDArray[np.int64]]:
    """Return the rows of documents in groups that cut none of them."""
    row_document = tokens.document[tokens.row_starts[:-1]]
    rows = np.flatnonzero(np.isin(row_document, documents))
    lengths = tokens.row_lengths()
    groups: list[list[int]] = [[]]
    held, last = 0, -1
    for row in rows.tolist():
        fresh = row_document[row] != last
        if fresh and held >= group_tokens:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += int(lengths[row])
        last = row_document[row]
    return [np.array(group, np.int64) for group in groups if group]


def layer_activations(
    lm: LanguageModel, layer: int, tokens: TokenBatches, rows: npt.NDArray[np.int64]
) -> "tuple[torch.Tensor, npt.NDArray[np.int64]]":
    """Return (m, d) float32 activations of the tokens of rows and (m,) their numbers, ascending."""
    found, index = layers_activations(lm, [layer], tokens, rows)
    return found[layer], index


def layers_activations(
    lm: LanguageModel, layers: Sequence[int], tokens: TokenBatches, rows: npt.NDArray[np.int64]
) -> "tuple[dict[int, torch.Tensor], npt.NDArray[np.int64]]":
    """Return layer → (m, d) float32 activations of the tokens of rows from one pass, and (m,) their numbers, ascending.

    Raises:
        ActivationError: there is no such layer, or activations are not finite.
    """
    import torch

    from release_kit.sae.models.hooks import residuals

    by_length = rows[np.argsort(-tokens.row_lengths()[rows], kind="stable")]
    parts: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    numbers = []
    for batch in tokens.batches(rows=by_length):
        seen = residuals(lm, batch.input_ids, batch.mask, layers)
        kept = batch.kept()
        for layer in layers:
            parts[layer].append(seen[layer][kept.to(lm.device)].float())
        numbers.append(batch.index[kept])
    index = torch.cat(numbers)
    order = torch.argsort(index)
    found = {}
    for layer in layers:
        x = torch.cat(parts.pop(layer))[order.to(lm.device)]
        if not torch.isfinite(x).all():
            raise ActivationError("activations are not finite", where=f"{lm.label()}, layer {layer}")
        found[layer] = x
    return found, index[order].numpy()
