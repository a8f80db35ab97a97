"""What tests of autoencoders start from: bilingual pairs made of templates, and models trained on them in seconds."""

from itertools import product
from pathlib import Path

import pytest

from release_kit.sae.activations.tokens import TokenBatches, tokenise
from release_kit.sae.models.load import LanguageModel, open_model
from release_kit.sae.prepare.documents import texts_of
from release_kit.sae.prepare.language_models import train_language_model
from release_kit.sae.prepare.pairs import Pair, SplitPairs, split_pairs
from release_kit.sae.prepare.recipes import TINY_RECIPE
from release_kit.sae.prepare.series import LmSeries

_WHO = {"The dog": "犬", "My sister": "妹", "The teacher": "先生", "A bird": "鳥", "The child": "子供",
        "Our friend": "友達", "The doctor": "医者", "His cat": "猫", "Tom": "トム", "Mary": "メアリー"}  # fmt: skip
_WHAT = {"water": "水", "the book": "本", "a red flower": "赤い花", "the old house": "古い家", "fish": "魚",
         "music": "音楽", "the picture": "絵", "a new car": "新しい車", "bread": "パン", "the sea": "海"}  # fmt: skip
_DOES = {"likes": "が好きです", "sees": "を見ます", "wants": "が欲しいです", "buys": "を買います",
         "does not like": "が嫌いです", "remembers": "を覚えています", "seeks": "を探しています"}  # fmt: skip


@pytest.fixture(scope="session")
def bilingual_pairs() -> SplitPairs:
    """Return 700 pairs in English and Japanese, 100 of them held out."""
    pairs = [
        Pair(id=str(number), en=f"{who[0]} {does[0]} {what[0]}.", ja=f"{who[1]}は{what[1]}{does[1]}。")
        for number, (who, what, does) in enumerate(product(_WHO.items(), _WHAT.items(), _DOES.items()))
    ]
    return split_pairs(pairs, 100)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that tiny models are trained into."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def small_series(bilingual_pairs: SplitPairs, models_folder: Path) -> LmSeries:
    """Return checkpoints of 2 blocks, width 32, at steps 0, 4, 16 and 64."""
    return train_language_model(TINY_RECIPE, "small", bilingual_pairs.train, bilingual_pairs.held_out, models_folder)


@pytest.fixture(scope="session")
def large_series(bilingual_pairs: SplitPairs, models_folder: Path) -> LmSeries:
    """Return checkpoints of 3 blocks, width 48, at steps 0, 4, 16 and 64."""
    return train_language_model(TINY_RECIPE, "large", bilingual_pairs.train, bilingual_pairs.held_out, models_folder)


@pytest.fixture(scope="session")
def tiny_lm(small_series: LmSeries, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Return the finished tiny model: 2 blocks, width 32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        return open_model(small_series.checkpoints[-1].folder)


@pytest.fixture(scope="session")
def held_out_tokens(tiny_lm: LanguageModel, bilingual_pairs: SplitPairs) -> TokenBatches:
    """Return the tokens of the held-out sentences of both languages."""
    return tokenise(texts_of(bilingual_pairs.held_out), tiny_lm.tokenizer, 32)
