"""Words of English and Japanese by what they mean: senses of JMdict, or a table of the user's.

A sense is one number, and the words that have it in either language share it. Which tokens are such words is
``classify/token_meanings.py``'s.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.core.hashing import hash_file
from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.jmdict import JMDICT_SHA256, SPOKEN, WRITTEN, elements, fetch_jmdict, read_jmdict
from release_kit.sae.prepare.pairs import normalise

JMDICT = "jmdict"
"""Name of the source that comes from a pinned package."""
WORDS_VERSION = 1
"""Raised when the same dictionary gives other words than before."""
LANGUAGES = ("en", "ja")
Words = Mapping[tuple[str, str], frozenset[int]]
"""(language, word) → numbers of the meanings that the word can have."""
_COMMON = frozenset({"news1", "ichi1", "spec1", "spec2", "gai1"})
"""Marks that make an entry a common one, as the dictionary's editors count."""
_ENTRY = re.compile(r"<entry>(.*?)</entry>", re.DOTALL)
_SENSE = re.compile(r"<sense>(.*?)</sense>", re.DOTALL)
_KANA_ALONE = "&uk;"
_ASIDE = re.compile(r"\([^()]*\)")
_LEADING = re.compile(r"^(?:to|a|an|the) ")
_ENGLISH_WORD = re.compile(r"[a-z][a-z'-]+")
_N_SHOWN = 3


def read_words(source: str | Path) -> Words:
    """Return the words of a source with their meanings.

    Args:
        source: ``"jmdict"``, or a table of tab-separated meaning, language, word without a head line.

    Raises:
        SaeError: a row of the table is malformed, or a language has no word.
        ReleaseKitError: the dictionary cannot be had.
    """
    return parse_jmdict(read_jmdict()) if source == JMDICT else _read_table(Path(source))


def ensure_words(source: str | Path) -> None:
    """Refuse a source that ``read_words`` would refuse; of the dictionary only that it can be had is looked at.

    Raises:
        SaeError: see ``read_words``.
        ReleaseKitError: the dictionary cannot be had.
    """
    if source == JMDICT:
        fetch_jmdict()
    else:
        _read_table(Path(source))


def words_digest(source: str | Path) -> str:
    """Return the sha256 (64 hex digits) that stands for ``read_words(source)``; the dictionary is not opened for it.

    Raises:
        SaeError: the table cannot be read.
    """
    try:
        digest = JMDICT_SHA256 if source == JMDICT else hash_file(Path(source)).sha256
    except ArtifactError as error:
        raise _unreadable(Path(source), error) from error
    return canonical.digest({"version": WORDS_VERSION, "source": digest})


def parse_jmdict(xml: str) -> Words:
    """Return the words of the common entries of JMdict; every sense is one meaning.

    Japanese words of a sense are the writings with kanji, and the readings where the entry has no kanji or the sense is
    usually written in kana alone: a reading of its own would have the meanings of all its homophones. English ones are
    the translations that are one word, without ``to``, articles and what stands in brackets.
    """
    found: dict[tuple[str, str], set[int]] = {}
    number = 0
    for entry in _ENTRY.finditer(xml):
        head, first, senses = entry[1].partition("<sense>")
        if _COMMON.isdisjoint([*elements(head, "ke_pri"), *elements(head, "re_pri")]):
            continue
        writings = [word for each in WRITTEN.findall(head) for word in elements(each, "keb")]
        readings = [word for each in SPOKEN.findall(head) for word in elements(each, "reb")]
        for sense in _SENSE.findall(first + senses):
            english = {word for gloss in elements(sense, "gloss") if (word := _single_word(gloss))}
            if not english:
                continue
            only = {*elements(sense, "stagk"), *elements(sense, "stagr")}
            kana = not writings or _KANA_ALONE in elements(sense, "misc")
            japanese = [word for word in (*writings, *(readings if kana else ())) if not only or word in only]
            for word in [*(("en", one) for one in english), *(("ja", one) for one in japanese)]:
                found.setdefault(word, set()).add(number)
            number += 1
    return {word: frozenset(numbers) for word, numbers in found.items()}


def _single_word(gloss: str) -> str:
    """Return a translation as one word, in small letters; empty where it is more, or none."""
    while gloss != (shorter := _ASIDE.sub(" ", gloss)):
        gloss = shorter
    plain = _LEADING.sub("", " ".join(gloss.casefold().split()))
    return plain if _ENGLISH_WORD.fullmatch(plain) else ""


def _read_table(path: Path) -> Words:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    rows = [(number, [normalise(field) for field in line.split("\t")]) for number, line in enumerate(lines, 1) if line]
    problems = list(_malformed(rows))
    if not problems:
        there = {fields[1] for _, fields in rows}
        problems = [f"holds no word in {language}" for language in LANGUAGES if language not in there]
    if problems:
        more = f"; and {len(problems) - _N_SHOWN} more" if len(problems) > _N_SHOWN else ""
        step = "each line is a meaning's name, a language (en, ja) and a word, with tabs between"
        raise SaeError("; ".join(problems[:_N_SHOWN]) + more, where=str(path), next_step=step)
    numbers = {name: number for number, name in enumerate(sorted({fields[0] for _, fields in rows}))}
    found: dict[tuple[str, str], set[int]] = {}
    for _, (name, language, word) in rows:
        found.setdefault((language, word.casefold() if language == "en" else word), set()).add(numbers[name])
    return {word: frozenset(those) for word, those in found.items()}


def _malformed(rows: list[tuple[int, list[str]]]) -> Iterator[str]:
    for number, fields in rows:
        if len(fields) != 3:
            yield f"line {number} has {counted(len(fields), 'column')}; expected 3"
        elif not all(fields):
            yield f"line {number} has an empty column"
        elif fields[1] not in LANGUAGES:
            yield f"line {number} has the language {fields[1]!r}; there are en and ja"


def _unreadable(path: Path, error: Exception) -> SaeError:
    step = f"name a UTF-8 table of meaning, language, word in classify.meanings, or {JMDICT!r}"
    reason = getattr(error, "strerror", None) or "it is not there, or not UTF-8 text"
    return SaeError(f"cannot be read ({reason})", where=str(path), next_step=step)
