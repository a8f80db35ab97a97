"""Japanese in Latin letters, for the control that tells a language from its script.

Kanji need readings, which come from JMdict inside the archive that the pairs come from: the longest word that stands in
the text, of several readings the one whose inflected ending fits, then the commonest. This is no morphological
analysis; how often it agrees with one is recorded in ``docs/sae-data.md``. Kana are ``kana.py``'s.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from release_kit.sae.activations.tokens import Text
from release_kit.sae.prepare.jmdict import SPOKEN, WRITTEN, elements, read_jmdict
from release_kit.sae.prepare.kana import SYLLABLES, as_hiragana, romaji_of_kana

_KANJI = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々〆]")
_ENTRY = re.compile(r"<entry>(.*?)<sense>", re.DOTALL)
_USUAL = frozenset(
    {("彼", "かれ"), ("明日", "あした"), ("今日", "きょう"), ("昨日", "きのう"), ("国", "くに"), ("木", "き"),
     ("塩", "しお"), ("文", "ぶん"), ("円", "えん"), ("行", "い"), ("人", "ひと"), ("何", "なに"), ("家", "いえ"),
     ("方", "ほう"), ("私", "わたし"), ("日本", "にほん"), ("後", "あと"), ("間", "あいだ"), ("母", "はは"),
     ("父", "ちち")}
)  # fmt: skip
"""Cores whose commonest reading the dictionary's marks of commonness do not tell from a rarer one."""
_LONGEST = 8
"""Characters of the longest word that is looked for."""
_NO_FIT = -1


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to read a core of kanji: what follows it in the dictionary's form decides where it fits."""

    kana: str
    ending: str
    """Kana after the core in the dictionary's form, empty where there are none."""
    rank: int
    """Marks of commonness; more is commoner."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Cores of words, from their first kanji to their last, and how they are read."""

    by_core: Mapping[str, tuple[Reading, ...]]

    def at(self, text: str, place: int) -> tuple[int, str] | None:
        """Return how many characters from ``place`` on are one core, and its kana; None if no word is known there."""
        spare = None
        for length in range(min(_LONGEST, len(text) - place), 0, -1):
            known = self.by_core.get(text[place : place + length])
            if not known:
                continue
            after = as_hiragana(text[place + length : place + length + _LONGEST])
            best = max(known, key=lambda one: (_fit(one.ending, after), one.rank))
            if _fit(best.ending, after) > _NO_FIT:
                return length, best.kana
            spare = spare or (length, best.kana)
        return spare


@dataclass(kw_only=True)
class Romanised:
    """A text in Latin letters."""

    text: str
    unread: list[str] = field(default_factory=list)
    """Kanji for which no reading is known; they stay in the text."""


@functools.cache
def read_readings() -> Readings:
    """Return the readings of JMdict's words, out of the pinned archive; read once in a process.

    Raises:
        ReleaseKitError: the package cannot be had.
        IntegrityError: its dictionary is not the known one.
    """
    return parse_readings(read_jmdict())


def parse_readings(xml: str) -> Readings:
    """Return the readings in a JMdict file."""
    cores: dict[str, dict[tuple[str, str], int]] = {}
    for entry in _ENTRY.finditer(xml):
        written = [(elements(each, "keb")[0], len(elements(each, "ke_pri"))) for each in WRITTEN.findall(entry[1])]
        for place, spoken in enumerate(SPOKEN.findall(entry[1])):
            if "<re_nokanji/>" in spoken:
                continue
            only, kana = elements(spoken, "re_restr"), as_hiragana(elements(spoken, "reb")[0])
            for word, rank in written:
                if only and word not in only:
                    continue
                core = _core(word, kana)
                if core:
                    marks = 4 * (rank + len(elements(spoken, "re_pri"))) + (place == 0) + 100 * (core[:2] in _USUAL)
                    known = cores.setdefault(core[0], {})
                    known[core[1:]] = max(marks, known.get(core[1:], 0))
    return Readings(
        by_core={
            core: tuple(Reading(kana=kana, ending=ending, rank=rank) for (kana, ending), rank in known.items())
            for core, known in cores.items()
        }
    )


def romanise(text: str, readings: Readings) -> Romanised:
    """Return ``text`` in Latin letters, a space before each word that begins with a kanji.

    Args:
        text: Japanese; what is neither kana nor kanji stays, full-width forms become ASCII.
        readings: of kanji.
    """
    kana: list[str] = []
    unread: list[str] = []
    place = 0
    while place < len(text):
        found = readings.at(text, place) if _KANJI.match(text[place]) else None
        if found:
            kana.append(f" {found[1]}")
            place += found[0]
            continue
        if _KANJI.match(text[place]):
            unread.append(text[place])
        kana.append(text[place])
        place += 1
    return Romanised(text=romaji_of_kana("".join(kana)), unread=unread)


def romanised_texts(texts: Iterable[Text], readings: Readings) -> tuple[Text, ...]:
    """Return the Japanese ones of ``texts`` in Latin letters, still called Japanese, ids end in ``-romaji``."""
    return tuple(
        replace(text, id=f"{text.id}-romaji", text=romanise(text.text, readings).text)
        for text in texts
        if text.language == "ja"
    )


def _core(word: str, kana: str) -> tuple[str, str, str] | None:
    """Return (core, its kana, ending) of a word: what comes after its last kanji is the ending, read as it stands."""
    last = max((match.end() for match in _KANJI.finditer(word)), default=0)
    ending = as_hiragana(word[last:])
    if not last or not _KANJI.match(word) or len(ending) >= len(kana) or not kana.endswith(ending):
        return None
    return word[:last], kana[: len(kana) - len(ending)], ending


def _fit(ending: str, after: str) -> int:
    """Return how well what follows fits an ending: twice its kana, or less by one where only the last is inflected."""
    if not ending:
        return 0
    if after.startswith(ending):
        return 2 * len(ending)
    stem, last = ending[:-1], ending[-1]
    if not after.startswith(stem):
        return _NO_FIT
    rest = after[len(stem) :]
    if rest and (_consonant(rest[0]) == _consonant(last) or rest.startswith(_SOUND_CHANGE.get(last, ()))):
        return 2 * len(stem) + 1
    return 2 * len(stem) - 1 if stem else _NO_FIT


_SOUND_CHANGE = {
    "う": ("って", "った", "わ", "い", "え", "お"),
    "つ": ("って", "った"),
    "る": ("って", "った"),
    "む": ("んで", "んだ"),
    "ぶ": ("んで", "んだ"),
    "ぬ": ("んで", "んだ"),
    "く": ("いて", "いた", "って", "った"),
    "ぐ": ("いで", "いだ"),
    "い": ("か", "く", "け", "さ", "そ"),
}
"""Last kana of a dictionary form → what its inflected forms put there besides its own row of kana."""


def _consonant(kana: str) -> str:
    letters = SYLLABLES.get(kana, "")
    return {"sh": "s", "ch": "t", "ts": "t", "j": "z", "f": "h"}.get(letters.rstrip("aiueo"), letters.rstrip("aiueo"))
