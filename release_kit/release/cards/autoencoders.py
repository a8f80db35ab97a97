"""What cards say of sparse autoencoders: the settings in SAELens' ``cfg.json``, how to load one, its languages.

An artifact is one when it holds ``cfg.json`` and ``sae_weights.safetensors`` and the former says widths and
architecture. Shares of languages come from ``tables/language_shares.parquet``; nothing is computed here.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.release.cards.fact_table import fact_table
from release_kit.release.cards.inputs import CardInputs
from release_kit.release.cards.markdown import NOTHING, escaped
from release_kit.release.cards.trace import NumberRow, NumbersTable

CFG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
AUTOENCODER_FILES = {CFG_FILE, WEIGHTS_FILE}
SHARES_TABLE = "tables/language_shares.parquet"
_SETTINGS = ("architecture", "d_in", "d_sae", "k", "apply_b_dec_to_input", "normalize_activations", "dtype")
_ORIGIN = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path")
_SHARE_COLUMNS = (
    "cell_id", "rule", "by", "class", "null", "share", "low", "high", "null_share", "null_low", "null_high", "verdict",
)  # fmt: skip


def autoencoder_settings(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``cfg.json`` where it describes an autoencoder, else nothing."""
    whole = isinstance(cfg.get("architecture"), str) and all(isinstance(cfg.get(key), int) for key in ("d_in", "d_sae"))
    return cfg if whole else {}


def hook_meaning(cfg: Mapping[str, Any]) -> str | None:
    """Return in words which activations the autoencoder is of, as its own file says it."""
    meaning = _metadata(cfg).get("hook_meaning")
    return escaped(meaning) if isinstance(meaning, str) and meaning.strip() else None


def autoencoder_table(cfg: Mapping[str, Any]) -> NumbersTable:
    """Return the table of what an autoencoder is and what it was trained on."""
    said = {key: cfg[key] for key in _SETTINGS if key in cfg}
    said |= {key: value for key in _ORIGIN if (value := _metadata(cfg).get(key)) is not None}
    return fact_table("autoencoder", said, CFG_FILE)


def saelens_code(name: str) -> str:
    """Return Python that loads a downloaded autoencoder with SAELens."""
    return "\n".join(
        [
            "from sae_lens import SAE",
            "",
            f"sae = SAE.load_from_disk({json.dumps(f'cells/{name}')})  # in the folder of the download",
            "# activations: (tokens, d_in) float32, of the hook above",
            "# features = sae.encode(activations)",
            "# restored = sae.decode(features)",
        ]
    )


def plain_code(name: str, cfg: Mapping[str, Any]) -> str | None:
    """Return Python that encodes and decodes with NumPy alone; None for settings that it has no words for."""
    if cfg.get("architecture") not in ("topk", "jumprelu") or cfg.get("rescale_acts_by_decoder_norm"):
        return None
    by_length = {"constant_norm_rescale": True, "none": False}.get(cfg.get("normalize_activations", "none"))
    if by_length is None:
        return None
    lines = [
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "",
        f"t = load_file({json.dumps(f'cells/{name}/{WEIGHTS_FILE}')})  # in the folder of the download",
        "",
        "",
        "def encode(x):  # (tokens, d_in) float32, of the hook above",
    ]
    if by_length:
        lines.append("    x = x * (x.shape[1] ** 0.5 / np.linalg.norm(x, axis=1, keepdims=True))")
    centred = '(x - t["b_dec"])' if cfg.get("apply_b_dec_to_input", True) else "x"
    lines.append(f'    before = {centred} @ t["W_enc"] + t["b_enc"]')
    if cfg["architecture"] == "jumprelu":
        lines.append('    return np.where(before > t["threshold"], np.maximum(before, 0), 0)')
    else:
        k = int(cfg.get("k", 1))
        lines += [
            f"    top = np.argpartition(before, -{k}, axis=1)[:, -{k}:]",
            "    features = np.zeros_like(before)",
            "    np.put_along_axis(features, top, np.maximum(np.take_along_axis(before, top, 1), 0), 1)",
            "    return features",
        ]
    lines += ["", "", f"def decode(features{', x' if by_length else ''}):"]
    if by_length:
        lines.append("    length = np.linalg.norm(x, axis=1, keepdims=True) / x.shape[1] ** 0.5")
        lines.append('    return (features @ t["W_dec"] + t["b_dec"]) * length')
    else:
        lines.append('    return features @ t["W_dec"] + t["b_dec"]')
    return "\n".join(lines)


def language_shares(inputs: CardInputs) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return cell id → its rows of the table of language shares; nothing where the study has no such table.

    Raises:
        RecordError: the table lacks a column.
    """
    if SHARES_TABLE not in inputs.measured:
        return {}
    import pyarrow.parquet as pq

    path = inputs.study.folder / SHARES_TABLE
    file = pq.ParquetFile(path)
    if missing := [name for name in _SHARE_COLUMNS if name not in file.schema_arrow.names]:
        raise RecordError(f"has no column {missing[0]!r}", where=str(path))
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in file.read(columns=list(_SHARE_COLUMNS)).to_pylist():
        found[row["cell_id"]].append(row)
    return found


def languages_table(rows: Sequence[Mapping[str, Any]]) -> NumbersTable:
    """Return the table of shares beside their nulls."""
    listed = sorted(rows, key=lambda row: tuple(str(row[key]) for key in ("class", "by", "rule", "null")))
    shown = [
        NumberRow(
            keys=tuple(escaped(str(row[key])) for key in ("class", "by", "rule", "null")),
            shown=(
                _interval(row["share"], row["low"], row["high"]),
                _interval(row["null_share"], row["null_low"], row["null_high"]),
                escaped(str(row["verdict"])),
            ),
        )
        for row in listed
    ]
    return NumbersTable(
        name="languages", keys=("Class", "By", "Rule", "Null"), columns=("Share", "Share under the null", "Verdict"),
        rows=shown, source=f"results/sources/{SHARES_TABLE}",
    )  # fmt: skip


def languages_by_cell(inputs: CardInputs) -> NumbersTable:
    """Return the table of a whole release: one row for each cell, rule and measure, one column for each null."""
    shares = language_shares(inputs)
    rows = [(cell.name, row) for cell in inputs.cells for row in shares.get(cell.cell_id, ())]
    nulls = sorted({row["null"] for _, row in rows})
    grouped: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for name, row in rows:
        grouped[name, row["class"], row["by"], row["rule"]][row["null"]] = row
    shown = []
    for keys, by_null in grouped.items():
        first = next(iter(by_null.values()))
        texts = [_interval(first["share"], first["low"], first["high"])]
        for null in nulls:
            row = by_null.get(null)
            texts.append(NOTHING if row is None else f"{_percent(row['null_share'])} ({escaped(str(row['verdict']))})")
        shown.append(NumberRow(keys=tuple(map(escaped, keys)), shown=tuple(texts)))
    return NumbersTable(
        name="languages", keys=("Cell", "Class", "By", "Rule"), columns=("Share", *(f"Null: {null}" for null in nulls)),
        rows=shown, source=f"results/sources/{SHARES_TABLE}",
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return NOTHING
    bounds = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f} %{bounds}"


def _metadata(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    found = cfg.get("metadata")
    return found if isinstance(found, dict) else {}
