"""Counts and classes of features as a Parquet file: one row for each feature, what holds for all in its metadata.

Written with sorted columns and no clock, so that the same counts give the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from release_kit.core import canonical
from release_kit.core.files import open_atomic
from release_kit.sae.activations.tokens import LANGUAGES, TokenBatches
from release_kit.sae.classify.counts import FeatureCounts
from release_kit.sae.classify.languages import Classified, Selectivity, selectivity
from release_kit.sae.classify.tally import Tally

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"release_kit.sae.counts"
_SUMS = ("fired", "documents", "mass")


def feature_table(counts: FeatureCounts, rules: Mapping[str, Classified]) -> "pa.Table":
    """Return one row for each feature: sums by language and script, selectivity, and what every rule says.

    Args:
        counts: of the features.
        rules: name, as in ``rate_count`` → classes; columns are ``class_<name>``, ``share_<name>``, ``low_…``,
            ``high_…``.

    Returns:
        A table; tokens and documents of each group stand in its metadata as JSON under ``METADATA_KEY``.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {"feature": np.arange(counts.n_features, dtype=np.int32)}
    columns["max_activation"] = counts.max_activation
    columns["density"] = counts.languages.fired.sum(1) / max(int(counts.languages.n_tokens.sum()), 1)
    for tally in (counts.languages, counts.scripts):
        columns |= _sums(tally)
    columns |= _selective(selectivity(counts.languages))
    for name, found in sorted(rules.items()):
        columns |= {f"class_{name}": found.classes.tolist(), f"share_{name}": found.share}
        columns |= {f"low_{name}": found.low, f"high_{name}": found.high}
    facts = {
        kind: {name: {"n_tokens": int(tally.n_tokens[k]), "n_documents": int(tally.n_documents[k])}
               for k, name in enumerate(tally.groups)}
        for kind, tally in (("languages", counts.languages), ("scripts", counts.scripts))
    }  # fmt: skip
    return pa.table(columns).replace_schema_metadata({METADATA_KEY: canonical.canonical_bytes(facts)})


def context_rows(
    counts: FeatureCounts, tokens: TokenBatches, features: "np.ndarray", tokenizer: Any, *, around: int = 8,
    n_contexts: int | None = None, texts: dict[int, str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the top contexts of some features as rows: feature, language, rank, tokens, peak, value, pair_text.

    Args:
        counts: of the features. tokens: that were counted.
        features: numbers of those that are shown.
        tokenizer: of the tokens.
        around: tokens on each side of the peak, within its document.
        n_contexts: of each language; all that were kept if None.
        texts: id → text of a token, filled as tokens are met: give the same one to several calls.

    Returns:
        Rows in order of feature, language and rank; ``peak`` is the place of the peak in ``tokens``, ``pair_text`` the
        other side of the pair, empty where there is none. ``activations`` of the other tokens are not known from one
        pass.
    """
    other = _other_sides(tokens)
    texts = {} if texts is None else texts
    rows = []
    for feature in np.asarray(features).tolist():
        for place, language in enumerate(LANGUAGES):
            for rank, number in enumerate(counts.top.tokens[feature, place, :n_contexts].tolist()):
                if number < 0:
                    break
                start, stop = _window(tokens, number, around)
                shown = [_text(one, tokenizer, texts) for one in tokens.ids[start:stop].tolist()]
                rows.append(
                    {"feature": feature, "language": language, "rank": rank, "tokens": shown, "peak": number - start,
                     "value": float(counts.top.values[feature, place, rank]),
                     "first_token": start, "pair_text": other.get(int(tokens.document[number]), "")}
                )  # fmt: skip
    return rows


def write_features(table: "pa.Table", path: Path) -> None:
    """Write a table of features; the file appears whole or not at all."""
    import pyarrow.parquet as pq

    with open_atomic(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def _sums(tally: Tally) -> dict[str, Any]:
    return {
        f"{what}_{group or 'none'}{'_script' if 'latin' in tally.groups else ''}": getattr(tally, what)[:, place]
        for what in _SUMS
        for place, group in enumerate(tally.groups)
    }


def _selective(found: Selectivity) -> dict[str, Any]:
    return {
        "probability_en": found.probability[:, 0], "probability_ja": found.probability[:, 1],
        "entropy": found.entropy, "monolinguality_en": found.monolinguality[:, 0],
    }  # fmt: skip


def _text(number: int, tokenizer: Any, texts: dict[int, str]) -> str:
    """Return the text of a token inside a text, read as the second of two: tokenizers drop the blank before a first."""
    if number not in texts:
        texts[number] = tokenizer.decode([number, number])[len(tokenizer.decode([number])) :]
    return texts[number]


def _window(tokens: TokenBatches, number: int, around: int) -> tuple[int, int]:
    document = tokens.document[number]
    start, stop = max(number - around, 0), min(number + around + 1, tokens.n_tokens)
    inside = np.flatnonzero(tokens.document[start:stop] == document)
    return start + int(inside[0]), start + int(inside[-1]) + 1


def _other_sides(tokens: TokenBatches) -> dict[int, str]:
    by_pair: dict[str, list[int]] = {}
    for place, text in enumerate(tokens.texts):
        if text.pair is not None:
            by_pair.setdefault(text.pair, []).append(place)
    found = {}
    for places in by_pair.values():
        if len(places) == 2:
            one, two = places
            found |= {one: tokens.texts[two].text, two: tokens.texts[one].text}
    return found
