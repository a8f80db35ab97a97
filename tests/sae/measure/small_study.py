"""A study that takes seconds: pairs made of templates, a model of two blocks trained here, small autoencoders."""

from itertools import product
from pathlib import Path

from release_kit.sae.pipeline.models import train_series
from release_kit.sae.pipeline.plan import sizes, steps_of
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study
from release_kit.sae.train.cell import train_cell

_WHO = {"The dog": "いぬ", "My sister": "いもうと", "The teacher": "せんせい", "A bird": "とり", "The child": "こども",
        "Tom": "トム", "Mary": "メアリー"}  # fmt: skip
_WHAT = {"water": "みず", "the book": "ほん", "a red flower": "あかいはな", "fish": "さかな", "music": "おんがく",
         "bread": "パン", "the sea": "うみ"}  # fmt: skip
_DOES = {
    "likes": "がすきです",
    "sees": "をみます",
    "wants": "がほしいです",
    "buys": "をかいます",
    "seeks": "をさがしています",
}

STUDY = """
schema_version: 1
name: tiny
text: {{source: pairs.tsv, n_train: 180, n_held_out: {n_held_out}, context: 32, licence: CC0-1.0, attribution: made up}}
language_model: {{vocab_size: 520, steps: 8, batch: 8, seq_len: 32}}
models:
  small: {{hidden_size: 16, n_layers: 2, n_heads: 2, steps: [{steps}]}}
seeds: [{seeds}]
sae: {{architecture: topk, n_features: 48, k: 4}}
training: {{tokens: 1024, batch: 128, warmup_steps: 2, checkpoint_every: 4}}
classify: {{least_sentences: 3, nulls: [{nulls}]}}
intervene: {{variants: [add, replace, ablate], strengths: [0.5], n_random: 2, sentences: 8, bootstrap: 100}}
"""
NULLS = "random-model, permuted-languages, romanised, digits"


def make_study(
    folder: Path, *, steps: str = "0, 8", seeds: str = "0, 1", nulls: str = NULLS, n_held_out: int = 40
) -> SaeStudy:
    """Write a study with its pairs; kana only, so that Latin letters need no dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (who, does, what) in enumerate(product(_WHO.items(), _DOES.items(), _WHAT.items())):
        lines.append(f"{number}\t{who[0]} {does[0]} {what[0]}.\t{who[1]}は{what[1]}{does[1]}。")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = STUDY.format(steps=steps, seeds=seeds, nulls=nulls, n_held_out=n_held_out)
    (folder / "sae.yaml").write_text(text, encoding="utf-8")
    return read_study(folder / "sae.yaml")


def train(study: SaeStudy) -> None:
    """Train its models and autoencoders."""
    for size in sizes(study):
        train_series(study, size)
        for step in steps_of(study, size):
            train_cell(study, size, step, report=lambda *_: None)
