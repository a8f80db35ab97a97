"""What shares of classes would be without what they are taken to show: texts, models and labels for comparison.

A randomly initialised model has bilingual features, too. Owns making the four comparisons (a model that never learned,
labels put on documents at random, Japanese in Latin letters, digits and punctuation) and setting a share beside its
null. Counting is ``counts.py``'s.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from release_kit.core import canonical
from release_kit.sae.activations.tokens import Text, TokenBatches
from release_kit.sae.classify.intervals import wilson
from release_kit.sae.classify.languages import Classified
from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import LanguageModel

Null = Literal["random-init", "permuted-labels", "romanised", "digits-punctuation"]
Verdict = Literal["above", "below", "not told apart"]
Romanise = Callable[[str], str]
"""From Japanese text to the same in Latin letters."""
_MARKS = "0123456789.,:;!?()-/%+=*"


def random_init(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return a model of the same architecture and tokenizer with weights drawn as before training.

    Args:
        lm: any model. seed: of the weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = type(lm.model)(copy.deepcopy(lm.model.config))
    model = model.to(device=lm.device, dtype=lm.model.dtype).eval().requires_grad_(False)
    digest = canonical.digest({"random_init_of": lm.digest, "seed": seed})
    return replace(lm, model=model, digest=digest, source=f"{lm.label()} (random, seed {seed})", revision=None)


def permuted_labels(tokens: TokenBatches, seed: int) -> TokenBatches:
    """Return the same tokens with the languages of whole documents exchanged at random.

    As many documents have each language as before, and every token of a document has the same one.
    """
    rng = np.random.default_rng([seed, 17])
    languages = [text.language for text in tokens.texts]
    drawn = [languages[place] for place in rng.permutation(len(languages))]
    codes = np.array([("", "en", "ja").index(name) for name in drawn], np.int8)
    texts = tuple(replace(text, language=name, pair=None) for text, name in zip(tokens.texts, drawn, strict=True))
    return replace(tokens, language=codes[tokens.document], texts=texts)


def romanised(texts: Sequence[Text], romanise: Romanise) -> tuple[Text, ...]:
    """Return texts whose Japanese ones are in Latin letters: what still counts as Japanese follows no script.

    Args:
        texts: of both languages.
        romanise: the transliteration; it must leave no kana and no ideograph.

    Raises:
        SaeError: names a text that still has Japanese letters, or has become empty.
    """
    from release_kit.sae.prepare.scripts import has_japanese

    found = []
    for text in texts:
        if text.language != "ja":
            found.append(text)
            continue
        latin = romanise(text.text)
        if has_japanese(latin) or (text.text.strip() and not latin.strip()):
            what = f"romanising gave {latin[:40]!r}, expected Latin letters only"
            raise SaeError(what, where=f"text {text.id}", next_step="take a transliteration that reads ideographs")
        found.append(replace(text, text=latin))
    return tuple(found)


def digits_and_punctuation(n_documents: int, seed: int, length: tuple[int, int] = (10, 40)) -> tuple[Text, ...]:
    """Return texts without a letter, by turns labelled English and Japanese: no feature has a language on them.

    Args:
        n_documents: of both labels together.
        seed: decides the characters.
        length: fewest and most characters.
    """
    rng = np.random.default_rng([seed, 19])
    found = []
    for number in range(n_documents):
        marks = rng.choice(list(_MARKS + "   "), int(rng.integers(length[0], length[1] + 1)))
        text = "1" + "".join(marks.tolist())
        found.append(Text(id=f"marks-{number}", language=("en", "ja")[number % 2], text=text))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class BesideNull:
    """A share of features beside the same share under a null.

    Attributes:
        name: of the class. null: which one.
        share, low, high: of the features that have a language; 95 % interval.
        null_share, null_low, null_high: the same under the null.
        n, null_n: features (or effective number of features) that the shares are of.
        verdict: ``above`` or ``below`` if the intervals do not touch, else ``not told apart``.
    """

    name: str
    null: str
    share: float
    low: float
    high: float
    null_share: float
    null_low: float
    null_high: float
    n: float
    null_n: float
    verdict: Verdict


def told_apart(interval: tuple[float, float], null: tuple[float, float]) -> Verdict:
    """Return on which side of a null's interval another one lies, if they do not touch."""
    if interval[0] > null[1]:
        return "above"
    return "below" if interval[1] < null[0] else "not told apart"


def beside_null(
    name: str,
    null: str,
    real: Classified,
    under_null: Classified,
    *,
    weights: npt.ArrayLike | None = None,
    null_weights: npt.ArrayLike | None = None,
) -> BesideNull:
    """Return the share of a class beside its share under a null, with Wilson intervals over features.

    Features of one autoencoder are not independent draws from anything; the interval says what as many features could
    show by chance. Differences between seeds are seen between seeds.

    Args:
        name: class. null: name of the comparison.
        real: classes. under_null: classes of the comparison, by the same rule.
        weights: (n_features,) mass of the features; None counts each once. null_weights: of the comparison.
    """
    share, low, high, n = _share(real, name, weights)
    null_share, null_low, null_high, null_n = _share(under_null, name, null_weights)
    verdict = told_apart((low, high), (null_low, null_high))
    return BesideNull(
        name=name, null=null, share=share, low=low, high=high, null_share=null_share, null_low=null_low,
        null_high=null_high, n=n, null_n=null_n, verdict=verdict,
    )  # fmt: skip


def _share(classified: Classified, name: str, weights: npt.ArrayLike | None) -> tuple[float, float, float, float]:
    weight = np.ones(len(classified.classes)) if weights is None else np.asarray(weights, float)
    weight = np.where(np.isin(classified.classes, ("en", "ja", "bilingual")), weight, 0.0)
    total, squares = float(weight.sum()), float((weight**2).sum())
    if not total:
        return float("nan"), 0.0, 1.0, 0.0
    share, n = float(weight[classified.mask(name)].sum()) / total, total**2 / squares
    low, high = wilson(share, n)
    return share, float(low), float(high), n
