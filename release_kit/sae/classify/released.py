"""The rule of the analysis released with llm-jp-sae, kept to the letter, its mistakes included.

Owns the decision from examples; they are collected by ``examples.py``. Two mistakes are kept so that the released
labels come out: everything that is no ASCII word counts as Japanese (colons, percent signs, Cyrillic), and a digit
at the first place of an example is judged by the example's last token.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ENGLISH = re.compile(r"^[a-zA-Z\s\"'(),.-]+$")
DIGITS = re.compile(r"^[0-9]+$")
MAX_EXAMPLES = 50
"""The first examples that are looked at."""
ABOVE_MAXIMUM = 0.7
"""An example's peak must exceed this share of the feature's largest activation."""
THRESHOLD = 0.9


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row of tokens in which a feature is active.

    Attributes:
        tokens: as text.
        activations: of the feature, one for each token.
    """

    tokens: Sequence[str]
    activations: Sequence[float]


def token_language(tokens: Sequence[str], place: int) -> Literal["en", "ja"]:
    """Return the language of a token without the blanks around it: ``en`` for ASCII words, else ``ja``.

    Digits have that of the nearest earlier token that is none. Before the first place comes the last: kept, the
    released labels were made so. Digits only, on which the released code fails, are ``ja``.
    """
    for _ in tokens:
        if not DIGITS.match(tokens[place].strip()):
            break
        place -= 1
    return "en" if ENGLISH.match(tokens[place].strip()) else "ja"


def released_counts(examples: Sequence[Example]) -> dict[str, int]:
    """Return language → number of examples whose largest activation is at a token of it; of equal ones the first."""
    counts = {"en": 0, "ja": 0}
    for example in examples[:MAX_EXAMPLES]:
        activations = list(example.activations)
        counts[token_language(example.tokens, activations.index(max(activations)))] += 1
    return counts


def released_rule(counts: dict[str, int]) -> Literal["en", "ja", "bilingual", "dead"]:
    """Return the class of a feature: one language above 0.9 of its examples, else bilingual; dead without an example.

    The released analysis calls bilingual ``mix`` and does not ask how many examples there are.
    """
    total = counts["en"] + counts["ja"]
    if not total:
        return "dead"
    for name in ("en", "ja"):
        if counts[name] / total > THRESHOLD:
            return name
    return "bilingual"
