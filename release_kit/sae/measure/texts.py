"""The texts that are counted beside the held-out ones: Japanese in Latin letters, and digits and punctuation."""

from collections.abc import Sequence

from release_kit.core.errors import ReleaseKitError
from release_kit.sae.activations.tokens import Text
from release_kit.sae.classify.nulls import digits_and_punctuation
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.documents import texts_of
from release_kit.sae.prepare.pairs import Pair
from release_kit.sae.prepare.romanise import Readings, read_readings, romanised_texts
from release_kit.sae.prepare.scripts import has_japanese


def null_texts(pairs: Sequence[Pair], nulls: Sequence[str], *, n_digit_documents: int, seed: int) -> dict[str, tuple]:
    """Return null → its texts, for those nulls that need texts of their own.

    Args:
        pairs: held-out ones. nulls: of the study. n_digit_documents, seed: of digits and punctuation.

    Raises:
        SaeError: readings of ideographs cannot be had.
    """
    found: dict[str, tuple] = {}
    if "romanised" in nulls:
        found["romanised"] = latin_texts(texts_of(pairs))
    if "digits" in nulls:
        found["digits"] = digits_and_punctuation(n_digit_documents, seed)
    return found


def latin_texts(texts: Sequence[Text]) -> tuple[Text, ...]:
    """Return the Japanese ones of texts in Latin letters; those with a character that has no reading are left out.

    Raises:
        SaeError: the dictionary of readings cannot be had, or no text could be read.
    """
    plain = romanised_texts(texts, Readings(by_core={}))
    if any(has_japanese(text.text) for text in plain):
        try:
            readings = read_readings()
        except ReleaseKitError as error:
            step = "leave `romanised` out of classify.nulls, or let the package be fetched once"
            what = f"readings of Japanese cannot be had: {error.what}"
            raise SaeError(what, where="null romanised", next_step=step) from error
        plain = romanised_texts(texts, readings)
    kept = tuple(text for text in plain if text.text.strip() and not has_japanese(text.text))
    if not kept:
        raise SaeError("no Japanese text could be written in Latin letters", where="null romanised")
    return kept
