"""Tables of a small made-up study, with texts that would break a page that trusts them."""

from itertools import pairwise

import numpy as np
import pyarrow as pa

from release_kit.sae.browser.tables import BrowserTables

SIZES, STEPS, LAYERS = ("small", "larger"), (0, 100, 1000), (1, 2)
HOSTILE = ["</script>", "<b>", "\u202eabc", "🙂", "\u2028", "&amp;", '"', "it's", "\\"]
CLASSES = ("en", "ja", "bilingual", "none")


def make_tables(n_features: int = 12, n_contexts: int = 3, length: int = 9) -> BrowserTables:
    """Return the tables of 2 sizes x 3 steps x 2 layers with ``n_features`` features each."""
    rng = np.random.default_rng(0)
    saes, features, contexts, links = [], [], [], []
    for size in SIZES:
        for step in STEPS:
            for layer in LAYERS:
                cell = {"size": size, "step": step, "layer": layer, "seed": 0}
                share = 0.97 if step == 0 else 0.2 + 0.1 * layer + 0.0002 * step
                figures = {
                    "bilingual_count": share,
                    "bilingual_count_null": 0.95,
                    "bilingual_mass": share / 2,
                    "fvu": 0.1,
                }
                saes += [{**cell, "metric": name, "value": value} for name, value in figures.items()]
                for feature in range(n_features):
                    features.append(_feature(cell, feature, rng))
                    contexts += _contexts({**cell, "feature": feature}, n_contexts, length, rng)
        for layer in LAYERS:
            for early, late in pairwise(STEPS):
                links += [
                    {"size": size, "layer": layer, "seed": 0, "from_step": early, "from_feature": k, "to_step": late,
                     "to_feature": (k + 1) % n_features, "cosine": 0.9}
                    for k in range(n_features)
                ]  # fmt: skip
    return BrowserTables(
        saes=pa.Table.from_pylist(saes),
        features=pa.Table.from_pylist(features),
        contexts=pa.Table.from_pylist(contexts),
        links=pa.Table.from_pylist(links),
        languages=("en", "ja"),
        sources={name: f"tables/{name}.parquet" for name in ("saes", "features", "contexts", "links")},
    )


def _feature(cell: dict, feature: int, rng: np.random.Generator) -> dict:
    share = float(rng.random())
    return {
        **cell,
        "feature": feature * 7,
        "class": CLASSES[feature % 4],
        "granularity": "token" if feature % 2 else "concept",
        "share": share,
        "low": max(share - 0.1, 0.0),
        "high": min(share + 0.1, 1.0),
        "density": float(rng.random() / 10),
        "max_activation": float(rng.random() * 5),
    }


def _contexts(key: dict, n: int, length: int, rng: np.random.Generator) -> list[dict]:
    words = {"en": ["The ", "cat ", "sat ", "on ", "the ", "mat "], "ja": ["猫", "は", "マット", "の", "上", "に"]}
    rows = []
    for language, own in words.items():
        for rank in range(n):
            tokens = [own[int(k)] for k in rng.integers(0, len(own), length - 1)] + [HOSTILE[rank % len(HOSTILE)]]
            values = np.where(rng.random(length) > 0.7, rng.random(length) * 5, 0).astype(float)
            row = {**key, "feature": key["feature"] * 7, "language": language, "rank": rank, "tokens": tokens}
            pair = "".join(words["ja" if language == "en" else "en"])
            rows.append({**row, "activations": values.tolist(), "pair_text": pair + " </span>"})
    return rows
