"""The features whose contexts are kept for people, with the activation at every token of the window.

A second, small pass over the documents that are shown. It is made for each autoencoder alone, so that what else is
measured at the same time changes no rounding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.classify.counts import FeatureCounts, layer_activations, rows_of_documents
from release_kit.sae.classify.languages import Classified
from release_kit.sae.classify.table import context_rows
from release_kit.sae.dictionary import Sae
from release_kit.sae.measure.settings import MeasureSettings
from release_kit.sae.models.load import LanguageModel

_ORDER = ("bilingual", "en", "ja", "none")


def choose_shown(classified: Classified, mass: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.int64]:
    """Return the numbers of features that are shown, ascending: by turns those of each class with the most mass.

    Args:
        classified: classes. mass: (n_features,). n: how many at most.
    """
    queues = []
    for name in _ORDER:
        inside = np.flatnonzero(classified.mask(name) & (mass > 0))
        queues.append(inside[np.argsort(-mass[inside], kind="stable")].tolist())
    longest = max((len(queue) for queue in queues), default=0)
    turns = [queue[place] for place in range(longest) for queue in queues if place < len(queue)]
    return np.array(sorted(turns[:n]), np.int64)


def shown_contexts(
    sae: Sae, lm: LanguageModel, layer: int, tokens: TokenBatches, counts: FeatureCounts,
    features: npt.NDArray[np.int64], settings: MeasureSettings, *, texts: dict[int, str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the contexts of features as rows: feature, language, rank, tokens, activations, peak, pair_text.

    Args:
        sae: of ``layer`` of ``lm``. tokens: that were counted. counts: of them. features: that are shown.
        settings: how many contexts, how wide.
        texts: id → text of a token; filled as tokens are met.
    """
    wanted = counts.top.tokens[features, :, : settings.n_contexts]
    numbers = wanted[wanted >= 0]
    if not len(numbers):
        return []
    documents = np.unique(tokens.document[numbers]).astype(np.int64)
    index, indices, values = [], [], []
    for rows in rows_of_documents(tokens, documents, settings.group_tokens):
        x, places = layer_activations(lm, layer, tokens, rows)
        codes = sae.encode(x)
        index.append(places)
        indices += list(codes.indices.cpu().numpy())
        values += list(codes.values.cpu().numpy())
    place_of = np.concatenate(index)
    rows = context_rows(
        counts, tokens, features, lm.tokenizer, around=settings.around, n_contexts=settings.n_contexts, texts=texts
    )
    for row in rows:
        first = int(np.searchsorted(place_of, row.pop("first_token")))
        row["activations"] = [
            float(values[one][indices[one] == row["feature"]].max(initial=0.0))
            for one in range(first, first + len(row["tokens"]))
        ]
        del row["value"]
    return rows
