"""What the tokens of a study's models mean, by the dictionary or the table that the study names.

Reading a dictionary takes many seconds, so what it says of a vocabulary is kept in the study's folder of state, under
the digest of both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.sae.classify.token_meanings import TokenMeanings, token_meanings
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.meanings import JMDICT, read_words, words_digest
from release_kit.sae.spec.model import SaeStudy

MEANINGS = "meanings"


def meanings_source(study: SaeStudy) -> str | Path:
    """Return the name of the dictionary, or the table's path: relative ones are relative to the study."""
    use = study.classify.meanings
    assert use is not None
    return use if use == JMDICT else study.folder / use


def study_meanings(study: SaeStudy, tokenizer: Any) -> TokenMeanings | None:
    """Return what the tokens of a vocabulary mean, None where the study names no dictionary.

    Raises:
        SaeError: the dictionary cannot be had, the table is malformed, or no token of a language is a word of it.
    """
    if study.classify.meanings is None:
        return None
    source = meanings_source(study)
    vocabulary = canonical.digest(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    digest = canonical.digest({"words": words_digest(source), "vocabulary": vocabulary})
    path = study.folder / STATE_FOLDER / MEANINGS / f"{digest[:32]}.json"
    try:
        return _from_json(canonical.read_json(path))
    except (OSError, RecordError, LookupError, TypeError, ValueError, AttributeError):
        found = _looked_up(study, tokenizer, source)
    write_atomic(path, canonical.document_bytes(_to_json(found)))
    return found


def _looked_up(study: SaeStudy, tokenizer: Any, source: str | Path) -> TokenMeanings:
    where = f"{study.file}: classify.meanings"
    try:
        words = read_words(source)
    except SaeError:
        raise
    except ReleaseKitError as error:
        step = "leave classify.meanings out, or let the package be fetched once"
        raise SaeError(f"the dictionary cannot be had: {error.what}", where=where, next_step=step) from error
    found = token_meanings(tokenizer, words)
    for language, known in found.by_language.items():
        if not known:
            step = "name a dictionary with words that are tokens by themselves, or leave it out"
            raise SaeError(f"no token is a word in {language} of {source}", where=where, next_step=step)
    return found


def _to_json(found: TokenMeanings) -> dict[str, Any]:
    by_language = {
        language: {str(token): sorted(those) for token, those in sorted(known.items())}
        for language, known in found.by_language.items()
    }
    return {"by_language": by_language, "words": {str(token): word for token, word in sorted(found.words.items())}}


def _from_json(value: Mapping[str, Any]) -> TokenMeanings:
    return TokenMeanings(
        by_language={
            language: {int(token): frozenset(those) for token, those in known.items()}
            for language, known in value["by_language"].items()
        },
        words={int(token): word for token, word in value["words"].items()},
    )
