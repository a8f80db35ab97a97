"""Kana in Latin letters: Hepburn's system, by rule alone.

Vowels are written as the kana have them (``toukyou``), so that nothing has to be known of the word; the mark of long
vowels repeats the vowel. Particles keep the letters of their kana, except that を is ``o``.
"""

_PLAIN = {
    "": "あaいiうuえeおo", "k": "かaきiくuけeこo", "g": "がaぎiぐuげeごo", "s": "さaすuせeそo", "z": "ざaずuぜeぞo",
    "t": "たaてeとo", "d": "だaでeどo", "n": "なaにiぬuねeのo", "h": "はaひiへeほo", "b": "ばaびiぶuべeぼo",
    "p": "ぱaぴiぷuぺeぽo", "m": "まaみiむuめeもo", "y": "やaゆuよo", "r": "らaりiるuれeろo", "w": "わa",
}  # fmt: skip
_IRREGULAR = {
    "し": "shi", "じ": "ji", "ち": "chi", "ぢ": "ji", "つ": "tsu", "づ": "zu", "ふ": "fu", "ゐ": "i", "ゑ": "e",
    "を": "o", "ゔ": "vu", "ぁ": "a", "ぃ": "i", "ぅ": "u", "ぇ": "e", "ぉ": "o", "ゃ": "ya", "ゅ": "yu", "ょ": "yo",
    "ゎ": "wa", "ゕ": "ka", "ゖ": "ke", "うぃ": "wi", "うぇ": "we", "うぉ": "wo", "しぇ": "she", "じぇ": "je",
    "ちぇ": "che", "てぃ": "ti", "でぃ": "di", "とぅ": "tu", "どぅ": "du", "でゅ": "dyu", "てゅ": "tyu", "いぇ": "ye",
    "つぁ": "tsa", "つぃ": "tsi", "つぇ": "tse", "つぉ": "tso", "ふぁ": "fa", "ふぃ": "fi", "ふぇ": "fe", "ふぉ": "fo",
    "ふゅ": "fyu", "ゔぁ": "va", "ゔぃ": "vi", "ゔぇ": "ve", "ゔぉ": "vo", "くぁ": "kwa", "ぐぁ": "gwa",
}  # fmt: skip
_SMALL = {"ゃ": "a", "ゅ": "u", "ょ": "o"}
_BEFORE_SMALL = {
    "き": "ky", "ぎ": "gy", "し": "sh", "じ": "j", "ち": "ch", "ぢ": "j", "に": "ny", "ひ": "hy", "び": "by",
    "ぴ": "py", "み": "my", "り": "ry",
}  # fmt: skip
SYLLABLES = {
    **{row[i]: consonant + row[i + 1] for consonant, row in _PLAIN.items() for i in range(0, len(row), 2)},
    **_IRREGULAR,
    **{kana + small: letters + vowel for kana, letters in _BEFORE_SMALL.items() for small, vowel in _SMALL.items()},
}
"""One or two hiragana → Latin letters."""
_SIGNS = {
    "。": ". ", "、": ", ", "「": '"', "」": '" ', "『": '"', "』": '" ', "・": " ", "〜": "~", "…": "...",
    "\u3000": " ", "ゝ": "", "ゞ": "", "ヽ": "", "ヾ": "", "(": " (", ")": ") ",
}  # fmt: skip


def as_hiragana(text: str) -> str:
    """Return ``text`` with its katakana as hiragana; everything else stays."""
    return "".join(chr(ord(each) - 0x60) if "ァ" <= each <= "ヶ" else each for each in text)


def romaji_of_kana(text: str) -> str:
    """Return ``text`` with its kana in Latin letters and its punctuation in ASCII; everything else stays.

    A doubled consonant follows っ (``tch`` before ``ch``); ん is ``n``, with an apostrophe before a vowel or y.
    ``romaji_of_kana("がっこう、まっちゃ。") == "gakkou, matcha."``
    """
    kana, letters, at, doubled = as_hiragana(text), [], 0, False
    while at < len(kana):
        step = 2 if kana[at : at + 2] in SYLLABLES else 1
        syllable = SYLLABLES.get(kana[at : at + step])
        if syllable:
            letters.append(_doubled(syllable) if doubled else syllable)
        else:
            letters.append(_other(kana, at, letters))
        doubled = kana[at] == "っ"
        at += step
    return " ".join("".join(letters).split())


def _doubled(syllable: str) -> str:
    if syllable[0] in "aiueo":
        return syllable
    return f"t{syllable}" if syllable.startswith("ch") else f"{syllable[0]}{syllable}"


def _other(kana: str, at: int, before: list[str]) -> str:
    """Return what stands for a character that is no syllable: ん, ー, っ, a sign, or itself."""
    if kana[at] == "ん":
        following = SYLLABLES.get(kana[at + 1 : at + 2], "")
        return "n'" if following[:1] in tuple("aiueoy") else "n"
    if kana[at] == "ー":
        vowel = before[-1][-1:] if before else ""
        return vowel if vowel in tuple("aiueo") else ""
    if kana[at] == "っ":
        return ""
    if "\uff01" <= kana[at] <= "\uff5e":
        half = chr(ord(kana[at]) - 0xFEE0)
        return _SIGNS.get(half, half)
    return _SIGNS.get(kana[at], kana[at])
