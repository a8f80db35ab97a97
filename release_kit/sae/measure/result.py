"""The tables of one measured autoencoder, from its counts: metrics, features, contexts, nulls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from release_kit.sae.activations.tokens import TokenBatches
from release_kit.sae.classify.examples import released_classes
from release_kit.sae.classify.granularity import GRANULARITIES, granularity, peak_ids
from release_kit.sae.classify.languages import Classified, class_shares
from release_kit.sae.classify.parallel import parallel_overlap
from release_kit.sae.classify.table import feature_table
from release_kit.sae.classify.token_meanings import TokenMeanings
from release_kit.sae.dictionary import Sae
from release_kit.sae.measure import write
from release_kit.sae.measure.counting import SaeCounter
from release_kit.sae.measure.documents import DocumentCounts, document_languages, document_tokens
from release_kit.sae.measure.nulls import Rule, english_beside, mass_weights, own_rows, permuted_rows, text_null_rows
from release_kit.sae.measure.settings import MeasureSettings
from release_kit.sae.measure.shown import choose_shown, shown_contexts
from release_kit.sae.metrics.reconstruction import ALL
from release_kit.sae.metrics.recovered import Recovered
from release_kit.sae.models.load import LanguageModel
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.spec.model import ClassifyUse
from release_kit.sae.tables.schema import CONTEXT_ROW, METRIC_ROW, NULL_ROW

if TYPE_CHECKING:
    import pyarrow as pa

_SCRIPTS = ("latin", "japanese")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One autoencoder, what was counted of it, and what it was counted with.

    Attributes:
        key, sae, counter: which one, its tensors, its counts on held-out texts.
        nulls: null → its sums by document on that null's texts, ``null_tokens``.
        lm, tokens: the model and the held-out texts.
        recovered: by language (and ``all``), what predictions keep.
        classify, settings: rules and bounds.
        texts: id → text of a token, filled as tokens are met.
        meanings: of tokens; None where the study names no dictionary.
    """

    key: SaeKey
    sae: Sae
    counter: SaeCounter
    nulls: Mapping[str, DocumentCounts]
    lm: LanguageModel
    tokens: TokenBatches
    null_tokens: Mapping[str, TokenBatches]
    recovered: Mapping[str, Recovered]
    classify: ClassifyUse
    settings: MeasureSettings
    texts: dict[int, str]
    meanings: TokenMeanings | None = None


def measured_tables(measured: Measured) -> "dict[str, pa.Table]":
    """Return file name → table.

    Raises:
        SaeError: a language has no token, or nothing can be predicted.
    """
    rule = Rule(share=measured.classify.share, least_documents=measured.classify.least_sentences)
    counts = measured.counter.counts
    rate, script = rule.rate(counts.languages), rule.script(counts.scripts)
    mass = mass_weights(counts.languages)
    peaks = peak_ids(counts.top, measured.tokens.ids)
    known = measured.meanings
    wide = granularity(peaks, meanings=known and known.of, words=known and known.words)
    rules = {"rate_count": rate, "rate_mass": rule.rate_mass(counts.languages), "script_count": script}
    released = _released(measured)
    own = {"rate": (rate, mass), "script": (script, mass_weights(counts.scripts, _SCRIPTS))}
    shares = dict(own)
    if released is not None:
        rules["released"] = released
        own["released"] = (released, mass)
    features = _with_class(feature_table(counts, rules), rate, wide)
    shown = choose_shown(rate, mass, measured.settings.n_shown)
    contexts = shown_contexts(
        measured.sae, measured.lm, measured.key.layer, measured.tokens, counts, shown, measured.settings,
        texts=measured.texts,
    )  # fmt: skip
    metrics = [
        *_metrics(measured),
        *_shares(shares),
        *_widths(measured, peaks, wide, rate),
        *_released_shares(released),
    ]
    return {
        write.METRICS: write.typed([_metric(*one) for one in metrics], METRIC_ROW),
        write.FEATURES: features,
        write.CONTEXTS: write.typed(contexts, CONTEXT_ROW),
        write.NULLS: write.typed([*own_rows(own), *_null_rows(measured, rule)], NULL_ROW),
    }


def _metrics(measured: Measured) -> Iterator[tuple[str, str, float]]:
    for name, figures in measured.counter.reconstruction().items():
        for metric, value in figures.to_dict().items():
            yield metric, "" if name == ALL else name, float(value)
    counts = measured.counter.counts
    alive = counts.languages.fired.sum(1) > 0
    yield "n_features", "", float(len(alive))
    yield "n_alive", "", float(alive.sum())
    for name, figures in measured.recovered.items():
        for metric, value in figures.to_dict().items():
            metric = "n_predicted_tokens" if metric == "n_tokens" else metric
            yield metric, "" if name == ALL else name, float(value)
    if len(counts.pairs) >= 2:
        overlap = parallel_overlap(counts, seed=measured.settings.seed, n_resamples=200)
        yield "parallel_jaccard", "", overlap.jaccard
        yield "parallel_jaccard_low", "", overlap.low
        yield "parallel_jaccard_high", "", overlap.high
        yield "parallel_jaccard_random", "", overlap.random


def _shares(own: Mapping[str, tuple[Classified, np.ndarray]]) -> Iterator[tuple[str, str, float]]:
    for rule, (classified, mass) in own.items():
        head = "" if rule == "rate" else f"{rule}_"
        for by, weights in (("count", None), ("mass", mass)):
            for name, share in class_shares(classified, weights).items():
                yield f"{head}{name}_{by}", "", share


def _released(measured: Measured) -> Classified | None:
    """Return the classes of the released rule from a pass of its own; None where the study does not ask for it."""
    if "released" not in measured.classify.rules:
        return None
    largest = measured.counter.counts.max_activation
    return released_classes(
        measured.sae, measured.lm, measured.key.layer, measured.tokens, largest,
        group_tokens=measured.settings.group_tokens,
    )  # fmt: skip


def _released_shares(released: Classified | None) -> Iterator[tuple[str, str, float]]:
    for name, share in class_shares(released).items() if released is not None else ():
        yield f"released_{name}_count", "", share


def _widths(
    measured: Measured, peaks: np.ndarray, wide: np.ndarray, rate: Classified
) -> Iterator[tuple[str, str, float]]:
    """Yield shares of kinds; with a dictionary those of synonyms too, and as many as shuffled meanings make."""
    known = measured.meanings
    said = np.isin(wide, GRANULARITIES) & np.isin(rate.classes, ("en", "ja", "bilingual"))
    for name in GRANULARITIES:
        if name != "synonym" or known is not None:
            yield f"granularity_{name}", "", _share(wide[said] == name)
    if known is not None:
        rng = np.random.default_rng(measured.settings.seed)
        by_chance = [
            _share(granularity(peaks[said], meanings=known.shuffled(rng), words=known.words) == "synonym")
            for _ in range(measured.settings.n_permutations)
        ]
        yield "granularity_synonym_shuffled", "", float(np.mean(by_chance))


def _share(there: np.ndarray) -> float:
    return float(there.mean()) if len(there) else float("nan")


def _metric(name: str, language: str, value: float) -> dict[str, Any]:
    return {"metric": name, "language": language, "value": value}


def _null_rows(measured: Measured, rule: Rule) -> Iterator[dict[str, Any]]:
    documents, tokens = measured.counter.documents, measured.tokens
    language = document_languages(tokens.texts)
    n_tokens = document_tokens(tokens.document, len(tokens.texts))
    real = measured.counter.counts.languages
    if "permuted-languages" in measured.classify.nulls:
        settings = measured.settings
        yield from permuted_rows(
            documents, language, n_tokens, rule, n_permutations=settings.n_permutations, seed=settings.seed
        )
    for null, counted in sorted(measured.nulls.items()):
        given = measured.null_tokens[null]
        there = document_tokens(given.document, len(given.texts))
        tally = counted.tally(document_languages(given.texts), there)
        if null == "romanised":
            n_documents = 2 * measured.settings.romanised_pairs
            tally = english_beside(documents, language, n_tokens, n_documents).merged(tally)
        yield from text_null_rows(null, real, tally, rule)


def _with_class(table: "pa.Table", rate: Classified, wide: np.ndarray) -> "pa.Table":
    import pyarrow as pa

    more = {"class": rate.classes.tolist(), "granularity": wide.tolist(), "share": rate.share, "low": rate.low,
            "high": rate.high}  # fmt: skip
    for place, (name, values) in enumerate(more.items(), start=1):
        table = table.add_column(place, name, pa.array(values))
    return table
