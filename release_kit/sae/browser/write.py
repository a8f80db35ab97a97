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
        "chunk": CHUNK,
    }
    written.append(_write_script(folder / "data" / "index.js", "index", index))
    features, contexts = _by_cell(tables.features), _by_cell(tables.contexts)
    shown = {cell: {row["feature"] for row in features.get(cell, ())} for cell in cells}
    for series, links in _links(tables.links, shown).items():
        written.append(_write_script(folder / "data" / f"{series}_links.js", f"links/{series}", links))
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
    """Return size, step, layer, seed, metric, value, row and table of every figure."""
    columns = [table.column(name).to_pylist() for name in (*CELL, "metric", "value")]
    named = table.column("table").to_pylist() if "table" in table.schema.names else ["saes"] * table.num_rows
    rows = zip(*columns, _places(table), named, strict=True)
    return [[*cell_and_metric, _short(value), row, name] for *cell_and_metric, value, row, name in rows]


def _links(table: "pa.Table", shown: Mapping[tuple, set[int]]) -> dict[str, list]:
    """Return the links with an end that is shown, by size, layer and seed.

    A link is from step, from feature, to step, to feature, cosine, row, and which ends are shown: 1 the first, 2 the
    second, 3 both.
    """
    names = ("size", "layer", "seed", "from_step", "from_feature", "to_step", "to_feature", "cosine")
    found: dict[str, list] = {f"{size}_layer-{layer}_seed-{seed}": [] for size, _, layer, seed in shown}
    rows = zip(*(table.column(name).to_pylist() for name in names), _places(table), strict=True)
    for size, layer, seed, early, one, late, two, cosine, row in rows:
        ends = (one in shown.get((size, early, layer, seed), ())) + 2 * (
            two in shown.get((size, late, layer, seed), ())
        )
        if ends:
            series = found.setdefault(f"{size}_layer-{layer}_seed-{seed}", [])
            series.append([early, one, late, two, _short(cosine), row, ends])
    return {key: found[key] for key in sorted(found)}


def _places(table: "pa.Table") -> Sequence[int]:
    """Return the row of each row in its file: the column ``row`` if there is one."""
    return table.column("row").to_pylist() if "row" in table.schema.names else range(table.num_rows)


def _cells(tables: BrowserTables) -> list[tuple]:
    """Return every autoencoder that has a figure or a feature, in order."""
    seen = {cell for table in (tables.saes, tables.features) for cell in _cell_keys(table)}
    return sorted(seen)


def _cell_keys(table: "pa.Table") -> Iterator[tuple]:
    return zip(*(table.column(name).to_pylist() for name in CELL), strict=True)


def _by_cell(table: "pa.Table") -> dict[tuple, list[dict]]:
    found: dict[tuple, list[dict]] = {}
    for number, row in enumerate(table.to_pylist()):
        found.setdefault(tuple(row[name] for name in CELL), []).append({"row": number, **row})
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
