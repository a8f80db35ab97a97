"""One index of all autoencoders of a release: which, where, of which bytes, with which figures.

``index.json`` for programs without Parquet, ``index.parquet`` to filter; both say the same. What stands in them:
``docs/formats/sae-index.md``.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from release_kit.core import canonical
from release_kit.sae.formats.saelens import CFG_FILE, WEIGHTS_FILE
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.pipeline.read import FinishedSae
from release_kit.sae.publish.about import NAMES
from release_kit.sae.publish.metrics import short_name

SCHEMA_VERSION = 1
INDEX_JSON, INDEX_PARQUET = "index.json", "index.parquet"
_NUMBERS = ("step", "layer", "seed", "d_in", "n_features", "k", "tokens_seen", "size_bytes")


def folder_of(key: SaeKey) -> str:
    """Return where an autoencoder lies in the release: ``cells/small-step-16-layer-2-seed-0``."""
    name = NAMES.format(size=key.size, step=key.step, layer=key.layer, seed=key.seed)
    return "cells/" + re.sub(r"-{2,}", "-", name).strip("-.")


def index_rows(
    finished: Sequence[FinishedSae],
    cell_ids: Mapping[SaeKey, str],
    figures: Sequence[Mapping[str, Any]],
    shares: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return one row for each autoencoder, in the order of the study.

    Args:
        finished: the autoencoders.
        cell_ids: their identities in the release.
        figures: as ``read_figures`` gives them.
        shares: rows of ``read_shares``: each share becomes a figure, and so does each of its nulls.
    """
    found: dict[SaeKey, dict[str, float]] = defaultdict(dict)
    for row in figures:
        key = SaeKey(size=row["size"], step=row["step"], layer=row["layer"], seed=row["seed"])
        found[key][short_name(row)] = row["value"]
    beside: dict[str, dict[str, float]] = defaultdict(dict)
    for row in shares:
        head = f"{row['class']}_{row['by']}" + ("" if row["rule"] == "rate" else f"_{row['rule']}")
        beside[row["cell_id"]] |= {head: row["share"], f"{head}_null_{row['null']}": row["null_share"]}
    return [_row(one, cell_ids[one.key], found[one.key] | beside[cell_ids[one.key]]) for one in finished]


def index_json(name: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the index as JSON."""
    return canonical.document_bytes({"schema_version": SCHEMA_VERSION, "study": name, "autoencoders": list(rows)})


def index_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the index as Parquet: figures are columns of their own, null where one was not measured."""
    import pyarrow as pa

    from release_kit.sae.measure.write import table_bytes

    names = [name for name in rows[0] if name not in ("metrics", "sha256")]
    columns: dict[str, Any] = {
        name: pa.array([row[name] for row in rows], pa.int64() if name in _NUMBERS else pa.string()) for name in names
    }
    columns["weights_sha256"] = pa.array([row["sha256"][WEIGHTS_FILE] for row in rows], pa.string())
    columns["cfg_sha256"] = pa.array([row["sha256"][CFG_FILE] for row in rows], pa.string())
    for metric in sorted({metric for row in rows for metric in row["metrics"]}):
        columns[metric] = pa.array([row["metrics"].get(metric) for row in rows], pa.float64())
    return table_bytes(pa.table(columns))


def _row(one: FinishedSae, cell_id: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    key, files = one.key, one.record["files"]
    cfg = canonical.read_json(one.folder / CFG_FILE)
    return {
        "size": key.size, "step": key.step, "layer": key.layer, "seed": key.seed, "path": folder_of(key),
        "cell_id": cell_id, "architecture": cfg["architecture"], "d_in": cfg["d_in"], "n_features": cfg["d_sae"],
        "k": cfg.get("k"), "hook_name": cfg["metadata"].get("hook_name"),
        "model_name": cfg["metadata"].get("model_name"), "tokens_seen": one.record["tokens_seen"],
        "identity_digest": one.identity_digest, "size_bytes": sum(said["bytes"] for said in files.values()),
        "sha256": {name: said["sha256"] for name, said in sorted(files.items())},
        "metrics": dict(sorted(metrics.items())),
    }  # fmt: skip
