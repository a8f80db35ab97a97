"""Shares beside their nulls over the whole study: those of each autoencoder, and the model with random weights.

The random model is the study's own step 0: autoencoders that were trained on it as on every other step, of the same
size, layer and seed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from release_kit.sae.classify.nulls import told_apart
from release_kit.sae.measure import write
from release_kit.sae.measure.write import Recorded

RANDOM_MODEL = "random-model"


def null_rows(measured: Sequence[Recorded]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``nulls.parquet``, in the order of autoencoders.

    Args:
        measured: all of the study.
    """
    rows = {one.key: one.table(write.NULLS).to_pylist() for one in measured}
    random = {
        (key.size, key.layer, key.seed): {(row["rule"], row["by"], row["class"]): row for row in own if not row["null"]}
        for key, own in rows.items()
        if key.step == 0
    }
    for key, own in rows.items():
        head = {"size": key.size, "step": key.step, "layer": key.layer, "seed": key.seed}
        beside = random.get((key.size, key.layer, key.seed), {}) if key.step else {}
        for row in own:
            if row["null"]:
                yield {**head, **row}
            elif other := beside.get((row["rule"], row["by"], row["class"])):
                yield {**head, **row, **_random(row, other)}


def _random(row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        "null": RANDOM_MODEL, "null_share": other["share"], "null_low": other["low"], "null_high": other["high"],
        "null_n": other["n"],
        "verdict": told_apart((row["low"], row["high"]), (other["low"], other["high"])),
    }  # fmt: skip
