"""The encoder of a feature space by its kind, and what decides its values besides model and texts.

Imports of torch and transformers happen here, when an encoder is opened: a store that is complete needs neither.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.bag import BagOfWords, Vocabulary, fit_vocabulary
from release_kit.encoding.features.items import Encoder
from release_kit.encoding.features.spec import TEXT_MODELS, FeatureSpec
from release_kit.encoding.features.static import StaticVectors
from release_kit.encoding.features.texts import BinnedTexts

TrainBins = Mapping[str, npt.NDArray[np.bool_]] | None
"""Stimulus → (n_bins,) True for bins that training samples see."""


def open_encoder(spec: FeatureSpec, binned: Sequence[BinnedTexts], train_bins: TrainBins) -> Encoder:
    """Return what computes the features of ``spec``.

    Raises:
        FeatureError: the model cannot be read, or training texts are asked for and not given.
    """
    if spec.kind in TEXT_MODELS:
        from release_kit.encoding.features.latents import TextModel

        return TextModel(spec)
    if spec.kind == "static":
        return StaticVectors(spec, binned)
    if spec.kind == "bag-of-words":
        return BagOfWords(spec, _vocabulary(spec, binned, train_bins))
    from release_kit.encoding.features.media import open_media_model

    return open_media_model(spec)


def private_identity(spec: FeatureSpec, binned: Sequence[BinnedTexts], train_bins: TrainBins) -> dict[str, Any]:
    """Return what decides values of one kind only, as JSON: the vocabulary of a bag of words."""
    if spec.kind != "bag-of-words":
        return {}
    vocabulary = _vocabulary(spec, binned, train_bins)
    return {"vocabulary": list(vocabulary.words), "rarity": [float(value) for value in vocabulary.weights]}


def _vocabulary(spec: FeatureSpec, binned: Sequence[BinnedTexts], train_bins: TrainBins) -> Vocabulary:
    return fit_vocabulary(spec, _train_texts(spec, binned, train_bins), binned[0].language)


def _train_texts(spec: FeatureSpec, binned: Sequence[BinnedTexts], train_bins: TrainBins) -> list[str]:
    """Return every different text of a bin that training samples see."""
    where = f"features.{spec.name}"
    if train_bins is None:
        step = "give train_bins, so that held-out texts decide nothing"
        raise FeatureError("a bag of words takes its vocabulary from training texts, and none are named", where=where,
                           next_step=step)  # fmt: skip
    wrong = [
        f"{each.stim_id} has {each.n_bins} bins, {len(mask)} are marked"
        for each in binned
        if (mask := train_bins.get(each.stim_id)) is not None and len(mask) != each.n_bins
    ]
    if wrong:
        raise FeatureError("; ".join(wrong), where=where)
    found = {
        text
        for each in binned
        if (mask := train_bins.get(each.stim_id)) is not None
        for texts in each.texts
        for text, train in zip(texts, mask, strict=True)
        if train and text is not None
    }
    return sorted(found)
