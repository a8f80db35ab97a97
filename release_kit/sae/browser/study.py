"""The tables of a study as the browser takes them: the features that are shown, figures with their language and null.

Rows keep the number that they have in their file. Of every autoencoder the most frequent features of each class are
shown, by turns, so that a study of a hundred stays small.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from release_kit.sae.browser.tables import CELL, LINK_COLUMNS, BrowserTables
from release_kit.sae.claims.read import StudyTables, source

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FEATURES = 100
"""Shown of one autoencoder."""
_SHOWN_NULL = "random-model"


def browser_tables(tables: StudyTables, *, most: int = MAX_FEATURES) -> BrowserTables | None:
    """Return what the browser shows of a study; None where no contexts were measured.

    Args:
        tables: of the study. most: features of one autoencoder.
    """
    import pyarrow as pa

    if not {"contexts", "features"} <= tables.tables.keys() or not tables.tables["contexts"].num_rows:
        return None
    features, contexts = numbered(tables.tables["features"]), numbered(tables.tables["contexts"])
    features = _chosen(_of(features, contexts), most)
    names = {name: name for name in ("saes", "features", "contexts", "links", "nulls")}
    links = tables.tables.get(
        "links", pa.table({name: pa.array([], _kind(kind)) for name, kind in LINK_COLUMNS.items()})
    )
    return BrowserTables(
        saes=_figures(tables),
        features=features,
        contexts=_of(contexts, features),
        links=numbered(links),
        languages=tables.languages,
        sources={name: source(name) for name in names},
    )


def numbered(table: "pa.Table") -> "pa.Table":
    """Return the table with a column ``row``, the place in the file."""
    return table.append_column("row", [np.arange(table.num_rows)])


def _of(table: "pa.Table", others: "pa.Table") -> "pa.Table":
    """Return the rows whose feature is among the others, in their order."""
    key = [*CELL, "feature"]
    places = table.select(key).append_column("place", [np.arange(table.num_rows)])
    found = places.join(others.select(key).group_by(key).aggregate([]), key, join_type="left semi")
    return table.take(np.sort(found.column("place").to_numpy()))


def _chosen(features: "pa.Table", most: int) -> "pa.Table":
    """Return at most so many features of each autoencoder: by turns of each class, the most frequent first."""
    import pyarrow as pa

    columns = {name: features.column(name).to_pylist() for name in (*CELL, "class", "density", "feature")}
    order = sorted(
        range(features.num_rows), key=lambda k: (-(columns["density"][k] or 0.0), columns["feature"][k])
    )  # fmt: skip
    turns: dict[tuple, int] = {}
    ranked = []
    for k in order:
        cell = tuple(columns[name][k] for name in CELL)
        turn = turns[(*cell, columns["class"][k])] = turns.get((*cell, columns["class"][k]), 0) + 1
        ranked.append((turn, k, cell))
    taken: dict[tuple, int] = {}
    kept = []
    for _, k, cell in sorted(ranked, key=lambda one: (one[0], columns["class"][one[1]], one[1])):
        if taken.get(cell, 0) < most:
            taken[cell] = taken.get(cell, 0) + 1
            kept.append(k)
    return features.take(pa.array(sorted(kept), pa.int64()))


def _figures(tables: StudyTables) -> "pa.Table":
    """Return figures with their language in their name, and the random model's shares as ``…_null``."""
    import pyarrow as pa

    rows = [
        {**_cell(row), "metric": f"{row['metric']}_{row['language']}" if row["language"] else row["metric"],
         "value": row["value"], "row": n, "table": "saes"}
        for n, row in enumerate(tables.saes)
    ]  # fmt: skip
    rows += [
        {**_cell(row), "metric": f"{row['class']}_{row['by']}_null", "value": row["null_share"], "row": n,
         "table": "nulls"}
        for n, row in enumerate(tables.nulls) if (row["rule"], row["null"]) == ("rate", _SHOWN_NULL)
    ]  # fmt: skip
    first = ("bilingual_count", "bilingual_mass")
    rows.sort(key=lambda row: first.index(row["metric"]) if row["metric"] in first else len(first))
    kinds = {"size": pa.string(), "step": pa.int64(), "layer": pa.int32(), "seed": pa.int32(), "metric": pa.string(),
             "value": pa.float64(), "row": pa.int64(), "table": pa.string()}  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def _cell(row: Mapping) -> dict:
    return {name: row[name] for name in CELL}


def _kind(name: str) -> "pa.DataType":
    import pyarrow as pa

    return {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32(), "double": pa.float64()}[name]
