"""How much is looked at when an autoencoder is measured: part of the identity of what comes out."""

from dataclasses import asdict, dataclass
from typing import Any

from release_kit.sae.measure.dictionary import meanings_source
from release_kit.sae.pipeline.read import FinishedSae
from release_kit.sae.prepare.meanings import words_digest
from release_kit.sae.spec.model import SaeStudy

MEASURE_VERSION = 3
"""Raised when the same settings give other files than before."""


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Bounds of one measurement.

    Attributes:
        group_tokens: tokens that are in memory together, at all layers.
        n_top: contexts of each feature and language that granularity is told from.
        n_permutations: draws of languages for documents.
        romanised_pairs: held-out pairs that are counted in Latin letters: the first ones.
        n_digit_documents: documents of digits and punctuation.
        recovered_pairs: held-out pairs on which cross-entropy and divergence are taken: the first ones.
        max_pairs: pairs whose active features are compared.
        n_shown: features of an autoencoder whose contexts are kept.
        n_contexts: contexts of each of them and language; ``around``: tokens on each side of the peak.
        seed: of everything that is drawn.
    """

    group_tokens: int = 8192
    n_top: int = 8
    n_permutations: int = 20
    romanised_pairs: int = 600
    n_digit_documents: int = 200
    recovered_pairs: int = 48
    max_pairs: int = 1000
    n_shown: int = 40
    n_contexts: int = 3
    around: int = 8
    seed: int = 0


SETTINGS = MeasureSettings()


def measure_identity(study: SaeStudy, sae: FinishedSae, text_digest: str, settings: MeasureSettings) -> dict[str, Any]:
    """Return everything that decides what a measurement says, as JSON.

    Args:
        study: whose ``classify`` decides classes and nulls.
        sae: its identity, with model and layer in it, and its bytes: the same recipe gives other roundings elsewhere.
        text_digest: of the held-out texts.
        settings: how much is looked at.

    Raises:
        SaeError: the study's table of meanings cannot be read.
    """
    use = study.classify
    classify = {"share": use.share, "least_sentences": use.least_sentences, "nulls": sorted(use.nulls)}
    if use.rules:
        classify["rules"] = sorted(set(use.rules))
    if use.meanings:
        classify["meanings"] = words_digest(meanings_source(study))
    return {
        "version": MEASURE_VERSION, "sae": sae.identity_digest, "sae_files": sae.files_digest, "text": text_digest,
        "classify": classify, "settings": asdict(settings),
    }  # fmt: skip
