"""A study of two sizes, three steps, two layers and two seeds that is trained in seconds; a script to run it."""

from itertools import product
from pathlib import Path

WHO = {"The dog": "犬", "My sister": "妹", "The teacher": "先生", "A bird": "鳥", "The child": "子供", "Tom": "トム"}
WHAT = {
    "water": "水",
    "the book": "本",
    "a red flower": "赤い花",
    "the old house": "古い家",
    "fish": "魚",
    "music": "音楽",
}
DOES = {
    "likes": "が好きです",
    "sees": "を見ます",
    "wants": "が欲しいです",
    "buys": "を買います",
    "seeks": "を探しています",
}

WIDTHS = {"small": 16, "large": 24}
STUDY = """
schema_version: 1
name: small-study
text: {{source: pairs.tsv, n_held_out: 30, context: 24}}
language_model: {{vocab_size: 560, steps: 6, batch: 4, seq_len: 24, learning_rate: 0.01}}
models:
{models}
seeds: [0, 1]
sae: {{architecture: {architecture}, n_features: 48, k: 4, normalise: {normalise}{more}}}
training: {{tokens: 1280, batch: 64, warmup_steps: 3, checkpoint_every: 5, warm_start: {warm_start}}}
cache: {{kind: {cache}}}
classify: {{least_sentences: 2, nulls: {nulls}{classify}}}
intervene: {{variants: [add], strengths: [0.5], n_random: 1, sentences: 8, bootstrap: 20, classes: {classes}}}
"""


def write_study(
    folder: Path,
    *,
    architecture: str = "topk",
    normalise: str = "unit-norm",
    cache: str = "disk",
    warm_start: str = "none",
    nulls: str = "[random-model, permuted-languages]",
    classes: str = "[bilingual, all]",
    sizes: str = "small large",
    steps: str = "[0, 3, 6]",
    more: str = "",
    classify: str = "",
) -> Path:
    """Write ``sae.yaml``, its pairs and what their words mean to a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{number}\t{who[0]} {does[0]} {what[0]}.\t{who[1]}は{what[1]}{does[1]}。"
        for number, (who, what, does) in enumerate(product(WHO.items(), WHAT.items(), DOES.items()))
    ]
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [
        line
        for english, japanese in {**WHO, **WHAT}.items()
        for line in (f"{japanese}\ten\t{english.split()[-1]}", f"{japanese}\tja\t{japanese}")
    ]
    (folder / "words.tsv").write_text("\n".join(words) + "\n", encoding="utf-8")
    models = [
        f"  {one}: {{hidden_size: {WIDTHS[one]}, n_layers: 2, n_heads: 2, steps: {steps}}}" for one in sizes.split()
    ]
    text = STUDY.format(
        models="\n".join(models),
        architecture=architecture, normalise=normalise, cache=cache, warm_start=warm_start, nulls=nulls,
        classes=classes, more=more, classify=classify,
    )  # fmt: skip
    (folder / "sae.yaml").write_text(text, encoding="utf-8")
    return folder


def made_files(folder: Path) -> dict[str, bytes]:
    """Return every file of results: autoencoders, measures, interventions, tables."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for place in ("saes", "measures", "interventions", "tables")
        for path in sorted((folder / place).rglob("*"))
        if path.is_file()
    }
