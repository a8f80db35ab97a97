"""Writes the browser: one folder with a page, its scripts and style, and the data as scripts loaded when needed.

A page that is opened from disk may not read files, but it may load scripts: so every piece of data is one. Text of
users stands in strings of JSON only, in which no ``<`` is left, and the page puts it in as text.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core.files import write_atomic
from release_kit.sae.browser.tables import CELL, BrowserTables

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 100
"""Features whose contexts are loaded together."""
_STATIC = ("index.html", "app.js", "page.js", "style.css")
_FEATURE = ("feature", "class", "granularity", "share", "low", "high", "density", "max_activation")


def write_browser(tables: BrowserTables, folder: Path, *, title: str, description: str = "") -> list[Path]:
    """Write a browser that opens from disk: ``folder/index.html``; the same tables give the same bytes.

    Args:
        tables: what is shown.
        folder: made if it is missing; files of these names are replaced.
        title: heading.
        description: a sentence or two below it.

    Returns:
        The files that were written.

    Raises:
        SaeError: tables that lack columns or do not fit each other.
    """
    tables.check()
    written = []
    for name in _STATIC:
        written.append(_write(folder / name, files("release_kit.sae.browser").joinpath("static", name).read_bytes()))
    cells = _cells(tables)
    index = {
        "title": title,
        "description": description,
        "languages": list(tables.languages),
        "sources": dict(tables.sources),
        "cells": [dict(zip(CELL, cell, strict=True)) for cell in cells],
        "metrics": _metrics(tables.saes),
        "links": _links(tables.links),
        "chunk": CHUNK,
    }
    written.append(_write_script(folder / "data" / "index.js", "index", index))
    features, contexts = _by_cell(tables.features), _by_cell(tables.contexts)
    for cell in cells:
        written += _write_cell(folder, cell, features.get(cell, []), contexts.get(cell, []))
    return written


def cell_name(cell: Sequence[Any]) -> str:
    """Return the name of an autoencoder's files: ``small_step-100_layer-2_seed-0``."""
    size, step, layer, seed = cell
    return f"{size}_step-{step}_layer-{layer}_seed-{seed}"


def _write_cell(folder: Path, cell: tuple, features: list[dict], contexts: list[dict]) -> Iterator[Path]:
    """Write the list of an autoencoder's features, and their contexts by chunks."""
    name = cell_name(cell)
    features = sorted(features, key=lambda row: row["feature"])
    columns = {column: [_short(row[column]) for row in features] for column in _FEATURE}
    columns["row"] = [row["row"] for row in features]
    yield _write_script(folder / "data" / f"{name}.js", f"features/{name}", columns)
    place = {row["feature"]: number for number, row in enumerate(features)}
    chunks: dict[int, dict[str, list]] = {}
    for row in sorted(contexts, key=lambda row: (row["feature"], row["language"], row["rank"])):
        chunk = chunks.setdefault(place[row["feature"]] // CHUNK, {})
        chunk.setdefault(str(row["feature"]), []).append(_context(row))
    for number, chunk in sorted(chunks.items()):
        path = folder / "data" / f"{name}_{number}.js"
        yield _write_script(path, f"contexts/{name}/{number}", chunk)


def _context(row: Mapping[str, Any]) -> list:
    """Return language, tokens, activations that are not 0 as place and value, the other sentence, and the row."""
    fired = [[k, _short(value)] for k, value in enumerate(row["activations"]) if value]
    return [row["language"], row["tokens"], fired, row["pair_text"] or "", row["row"]]


def _metrics(table: "pa.Table") -> list[list]:
    """Return size, step, layer, seed, metric, value and row of every figure."""
    columns = [table.column(name).to_pylist() for name in (*CELL, "metric", "value")]
    rows = zip(*columns, range(table.num_rows), strict=True)
    return [[*cell_and_metric, _short(value), row] for *cell_and_metric, value, row in rows]


def _links(table: "pa.Table") -> dict[str, list]:
    """Return ``size_layer_seed`` → rows of from step, from feature, to step, to feature, cosine and row."""
    names = ("size", "layer", "seed", "from_step", "from_feature", "to_step", "to_feature", "cosine")
    found: dict[str, list] = {}
    rows = zip(*(table.column(name).to_pylist() for name in names), range(table.num_rows), strict=True)
    for size, layer, seed, *link, cosine, row in rows:
        found.setdefault(f"{size}_{layer}_{seed}", []).append([*link, _short(cosine), row])
    return {key: found[key] for key in sorted(found)}


def _cells(tables: BrowserTables) -> list[tuple]:
    """Return every autoencoder that has a figure or a feature, in order."""
    seen = {cell for table in (tables.saes, tables.features) for cell in _cell_keys(table)}
    return sorted(seen)


def _cell_keys(table: "pa.Table") -> Iterator[tuple]:
    return zip(*(table.column(name).to_pylist() for name in CELL), strict=True)


def _by_cell(table: "pa.Table") -> dict[tuple, list[dict]]:
    found: dict[tuple, list[dict]] = {}
    for number, row in enumerate(table.to_pylist()):
        found.setdefault(tuple(row[name] for name in CELL), []).append({**row, "row": number})
    return found


def _short(value: Any) -> Any:
    """Return a number with four significant digits, which is what a page shows; NaN is nothing."""
    if not isinstance(value, float):
        return value
    return None if value != value else float(f"{value:.4g}")


def _write_script(path: Path, key: str, value: Any) -> Path:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character, escape in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(character, escape)
    return _write(path, f"browserData({json.dumps(key).replace('<', chr(92) + 'u003c')},{text});\n".encode())


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, durable=False)
    return path
