"""The facts of the card of the results dataset: its tables, their columns, and the files behind them."""

import collections
from pathlib import PurePosixPath
from typing import Any

from release_kit.release.cards.front_matter import front_matter, results_metadata
from release_kit.release.cards.index_card import index_sources
from release_kit.release.cards.inputs import CardInputs
from release_kit.release.cards.markdown import code, fenced
from release_kit.release.cards.numbers import Grid
from release_kit.release.cards.templates import column_meanings
from release_kit.release.cards.trace import NumberRow, NumbersTable
from release_kit.release.cards.usage import results_code

TABLES = ("results", "cells")


def results_facts(inputs: CardInputs, grid: Grid) -> dict[str, Any]:
    """Return what the template of the results dataset's card is filled with."""
    tables = [_counts_table(inputs), _sources_table(inputs, grid)]
    return {
        "front_matter": front_matter(results_metadata(inputs.study, len(inputs.results), _files(inputs))),
        "load": fenced("python", results_code(inputs.study)),
        "columns": [_columns(inputs, name) for name in _files(inputs)],
        "verify": fenced("bash", "release-kit verify " + ("copy" if inputs.study.namespace else ".")),
        "tables": {table.name: table for table in tables if table.rows},
        "sources": index_sources(inputs, grid),
    }


def _files(inputs: CardInputs) -> dict[str, str]:
    """Return table → file in the dataset, those of every release first."""
    measured = {PurePosixPath(path).stem: f"sources/{path}" for path in inputs.measured}
    return {**{name: f"{name}.parquet" for name in TABLES}, **measured}


def _counts_table(inputs: CardInputs) -> NumbersTable:
    counts = [("results.parquet", len(inputs.results)), ("cells.parquet", len(inputs.cells))]
    counts += [(f"sources/{path}", count) for path, count in inputs.measured.items()]
    rows = [
        NumberRow(keys=(code(name),), shown=(f"{count:,}",), origin={"count": f"rows of {name}"})
        for name, count in counts
    ]
    return NumbersTable(name="counts", keys=("Table",), columns=("Rows",), rows=rows)


def _sources_table(inputs: CardInputs, grid: Grid) -> NumbersTable:
    shared = grid.shared_sources - {""}
    counts = collections.Counter(row.source for row in inputs.results if row.source in shared)
    digests = {row.source: row.source_sha256 for row in inputs.results if row.source in shared}
    rows = [
        NumberRow(
            keys=(code(f"sources/{source}"),),
            shown=(f"{counts[source]:,}", f"`{digests[source]}`"),
            origin={"count": "rows", "source": source},
        )
        for source in sorted(counts)
    ]
    return NumbersTable(name="sources", keys=("File",), columns=("Rows", "sha256"), rows=rows)


def _columns(inputs: CardInputs, name: str) -> dict[str, Any]:
    """Return the columns of one table in their order: factors stand after the identity of the cell."""
    meanings = column_meanings()[name]
    factors = {factor.name: f"level of the factor {code(factor.name)}" for factor in inputs.study.factors}
    known = list(meanings["columns"].items())
    behind = {"results": "cell_id", "cells": "kind"}.get(name)
    at = len(known) if behind is None else 1 + [column for column, _ in known].index(behind)
    ordered = known if behind is None else known[:at] + list(factors.items()) + known[at:]
    return {
        "name": name,
        "text": meanings["text"],
        "columns": [{"name": column, "meaning": meaning} for column, meaning in ordered],
    }
