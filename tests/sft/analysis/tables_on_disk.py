"""A small study on disk whose tables hold planted effects; shared by the tests of the analysis."""

import math
from pathlib import Path

import numpy as np

from release_kit.core.files import write_atomic
from release_kit.core.grid import cell_id, iter_levels
from release_kit.core.results import Result, parquet_bytes, write_results
from release_kit.core.study import Study, read_study

STUDY = """
schema_version: 1
name: planted
version: 1.0.0
factors:
  base_model: [base-a, base-b, base-c, base-d, base-e]
  dataset: [none, d1, d2, d3, d4, d5, d6, d7, d8]
  method: [none, full, lora]
  epoch: [0, 1, 2]
seeds: [0, 1]
include:
  - {dataset: none, method: none, epoch: 0, seed: 0}
  - {dataset: [d1, d2, d3, d4, d5, d6, d7, d8], method: [full, lora], epoch: [1, 2]}
baseline: {method: none}
benchmarks:
  gsm8k: {acc: {range: [0, 1]}}
  mmlu: {acc: {range: [0, 1], chance: 0.25}}
  jmmlu: {acc: {range: [0, 1], chance: 0.25}}
  perplexed: {perplexity: {higher_is_better: false}}
"""
SLOPE = -0.04
PEAK = 0.6
N_LAYERS = {"base-a": 4, "base-b": 6, "base-c": 8, "base-d": 12, "base-e": 16}


def planted_study(folder: Path, *, layers: bool = True, properties: bool = True, seed: int = 0) -> Study:
    """Write a study in which perplexity lowers gains, LoRA adds 0.03 to MMLU and gain follows layers at depth 0.6."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(STUDY)
    study = read_study(folder)
    rng = np.random.default_rng(seed)
    bases, datasets = study.factor("base_model").levels, study.factor("dataset").levels[1:]
    log_perplexity = {(b, d): rng.normal(2, 0.5) for b in bases for d in datasets}
    skill = {b: 0.35 + 0.02 * i for i, b in enumerate(bases)}
    rows, changes = [], []
    for levels in iter_levels(study):
        cell = cell_id(study, levels)
        base, data, lora = levels["base_model"], levels["dataset"], levels["method"] == "lora"
        gain = 0.0
        if data != "none":
            gain = 0.1 + SLOPE * (log_perplexity[base, data] - 2) + rng.normal(0, 0.004)
            changes += _changes(cell, base, gain, rng)
        knowledge = gain + (0.03 if lora else 0.0)
        rows += [
            _row(cell, "gsm8k", "acc", skill[base] + gain + rng.normal(0, 0.004)),
            _row(cell, "mmlu", "acc", skill[base] + 0.01 + knowledge),
            _row(cell, "jmmlu", "acc", skill[base] - 0.03 + 0.7 * knowledge + rng.normal(0, 0.004)),
            _row(cell, "perplexed", "perplexity", 20 - 10 * gain + skill[base]),
        ]
    write_results(folder / "tables" / "results.parquet", rows)
    if properties:
        _write_properties(folder, log_perplexity, rng)
    if layers:
        _write_layers(folder, changes)
    return study


def _row(cell: str, benchmark: str, metric: str, value: float) -> Result:
    return Result(cell_id=cell, benchmark=benchmark, metric=metric, value=float(value), n=1000, n_shot=0, stderr=0.015)


def _changes(cell: str, base: str, gain: float, rng: np.random.Generator) -> list[dict]:
    n_layers = N_LAYERS[base]
    rows = []
    for layer in range(n_layers):
        depth = layer / (n_layers - 1)
        # Change carries gain near PEAK and noise elsewhere; it grows with depth.
        signal = 20 * (gain - 0.1) * math.exp(-(((depth - PEAK) / 0.2) ** 2))
        change = 0.01 * math.exp(0.5 * depth + signal + rng.normal(0, 0.1))
        for kind, size in (("mlp.down_proj", 300), ("self_attn.q_proj", 100)):
            rows.append(
                {
                    "cell_id": cell,
                    "tensor": f"layers.{layer}.{kind}",
                    "kind": kind,
                    "layer": layer,
                    "depth": depth,
                    "n_elements": size,
                    "relative_frobenius": change,
                }
            )
    rows.append(
        {
            "cell_id": cell,
            "tensor": "embed",
            "kind": "embed",
            "layer": None,
            "depth": None,
            "n_elements": 50,
            "relative_frobenius": 0.5,
        }
    )
    return rows


def _write_layers(folder: Path, rows: list[dict]) -> None:
    import pyarrow as pa

    write_atomic(folder / "tables" / "layer_changes.parquet", parquet_bytes(pa.Table.from_pylist(rows)))


def _write_properties(folder: Path, log_perplexity: dict, rng: np.random.Generator) -> None:
    import pyarrow as pa

    rows = [
        {
            "dataset": data,
            "base_model": base,
            "benchmark": None,
            "property": "perplexity_completion",
            "value": math.exp(v),
        }
        for (base, data), v in log_perplexity.items()
    ]
    for data in sorted({data for _, data in log_perplexity}):
        length = {"dataset": data, "base_model": None, "benchmark": None, "property": "tokens_mean"}
        rows.append({**length, "value": float(rng.uniform(50, 300))})
        for benchmark in ("gsm8k", "mmlu", "jmmlu", "perplexed"):
            similar = {"dataset": data, "base_model": None, "benchmark": benchmark, "property": "embedding_similarity"}
            rows.append({**similar, "value": float(rng.uniform(0, 1))})
            rows.append({**similar, "property": "contamination", "value": 0.0})
    write_atomic(folder / "tables" / "dataset_properties.parquet", parquet_bytes(pa.Table.from_pylist(rows)))
