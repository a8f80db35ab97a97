"""The texts that are counted beside the held-out ones: Japanese in Latin letters, and digits and punctuation.

Reading the dictionary of readings takes many times as long as writing the texts, so they are kept in the study's folder
of state, under the digest of what they were made from.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.sae.activations.tokens import Text
from release_kit.sae.classify.nulls import digits_and_punctuation
from release_kit.sae.errors import SaeError
from release_kit.sae.measure.settings import MeasureSettings
from release_kit.sae.prepare.documents import texts_of
from release_kit.sae.prepare.pairs import Pair, pairs_digest
from release_kit.sae.prepare.romanise import Readings, read_readings, romanised_texts
from release_kit.sae.prepare.scripts import has_japanese
from release_kit.sae.spec.model import SaeStudy

ROMANISED = "romanised"
ROMANISING_VERSION = 1
"""Raised when the same texts become other letters than before."""
_readings = functools.lru_cache(maxsize=1)(read_readings)


def null_texts(study: SaeStudy, pairs: Sequence[Pair], settings: MeasureSettings) -> dict[str, tuple[Text, ...]]:
    """Return null → its texts, for those nulls of a study that need texts of their own.

    Args:
        study: its nulls and its folder. pairs: held-out ones. settings: how many.

    Raises:
        SaeError: readings of ideographs cannot be had.
    """
    found: dict[str, tuple[Text, ...]] = {}
    if ROMANISED in study.classify.nulls:
        found[ROMANISED] = _kept(study.folder / STATE_FOLDER / ROMANISED, pairs[: settings.romanised_pairs])
    if "digits" in study.classify.nulls:
        found["digits"] = digits_and_punctuation(settings.n_digit_documents, settings.seed)
    return found


def _kept(folder: Path, pairs: Sequence[Pair]) -> tuple[Text, ...]:
    """Return texts in Latin letters, from disk where they were written before."""
    digest = canonical.digest({"version": ROMANISING_VERSION, "pairs": pairs_digest(tuple(pairs))})
    path = folder / f"{digest[:32]}.json"
    try:
        return tuple(Text(**one) for one in canonical.read_json(path))
    except (OSError, RecordError, TypeError):
        texts = latin_texts(texts_of(pairs))
    write_atomic(path, canonical.document_bytes([asdict(text) for text in texts]))
    return texts


def latin_texts(texts: Sequence[Text]) -> tuple[Text, ...]:
    """Return the Japanese ones of texts in Latin letters; those with a character that has no reading are left out.

    Raises:
        SaeError: the dictionary of readings cannot be had, or no text could be read.
    """
    plain = romanised_texts(texts, Readings(by_core={}))
    if any(has_japanese(text.text) for text in plain):
        try:
            readings = _readings()
        except ReleaseKitError as error:
            step = "leave `romanised` out of classify.nulls, or let the package be fetched once"
            what = f"readings of Japanese cannot be had: {error.what}"
            raise SaeError(what, where="null romanised", next_step=step) from error
        plain = romanised_texts(texts, readings)
    kept = tuple(text for text in plain if text.text.strip() and not has_japanese(text.text))
    if not kept:
        raise SaeError("no Japanese text could be written in Latin letters", where="null romanised")
    return kept
