"""The facts of one cell's card: what it is, its numbers, how it was made, its files.

Owns the decision what a cell's card says and where each number of it comes from. The words around it stand in
``dataset_cards/cell.md.jinja``.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from release_kit.core.grid import level_text
from release_kit.core.results import Result
from release_kit.release.cards.artifact_facts import ArtifactFacts, artifact_facts
from release_kit.release.cards.front_matter import cell_metadata, front_matter, task_of
from release_kit.release.cards.inputs import CELL_FIGURE, CardCell, CardInputs
from release_kit.release.cards.markdown import code, escaped, fenced
from release_kit.release.cards.model_index import ModelIndex
from release_kit.release.cards.numbers import (
    NOTHING,
    Grid,
    Population,
    fixed,
    is_baseline,
    key_of,
    signed,
)
from release_kit.release.cards.trace import NumberRow, NumbersTable
from release_kit.release.cards.usage import HUB_ADDRESS, cell_results_code, download_commands, load_code

ENVIRONMENT_KEYS = ("versions", "hardware", "platform", "environment", "python")
"""Keys of a cell's provenance that say where it ran; all others say what it was made from."""

MAX_LIST, MAX_TEXT = 24, 160

EVALUATION_RULES = {
    "Value": "value of `row`",
    "Std. error": "standard error of `row`",
    "n": "number of samples behind `row`",
    "Base model": "value of the same benchmark, shots and metric in the cell `base`",
    "Difference": "value of `row` minus that of the cell `base`, before rounding",
    "Grid median": "median over all cells that are not baselines",
    "Cells": "number of cells behind the median",
}

_row_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=True).encode


class CellCards:
    """Makes the facts of any cell of one release.

    Args:
        inputs: the release.
        grid: its results, grouped.
    """

    def __init__(self, inputs: CardInputs, grid: Grid):
        self._inputs, self._grid, self._study = inputs, grid, inputs.study
        self._index = ModelIndex(grid)
        self._names = {cell.cell_id: cell.name for cell in inputs.cells}
        self._shared = shared_sources(inputs.results)

    def facts(self, cell: CardCell) -> dict[str, Any]:
        """Return what the template of a cell's card is filled with; absent facts are absent or empty."""
        artifact = artifact_facts(self._study.folder, cell)
        rows = self._grid.rows[cell.cell_id]
        base = self._grid.base_of(cell.cell_id)
        metadata = cell_metadata(self._study, cell, artifact)
        index = self._index.lines(cell.name, rows, task_of(self._study, cell.levels, artifact))
        tables = [
            _levels_table(cell),
            self._evaluation(cell, rows, base),
            *_made_tables(cell, artifact),
            _files_table(cell),
        ]
        commands = download_commands(self._study, cell.levels)
        loading = load_code(self._study, cell, artifact)
        return {
            "front_matter": front_matter(metadata, index),
            "name": escaped(cell.name),
            "kind": cell.kind,
            "is_baseline": is_baseline(self._study, cell.levels),
            "base_model": _link(self._study.level_properties(cell.levels, "base_model").get("hub_id")),
            "base_cell": None if base is None else code(base.name),
            "has_value": any(row.value is not None for row in rows),
            "no_value": [code(self._grid.populations[key_of(row)].label) for row in rows if row.value is None],
            "figure": CELL_FIGURE,
            "load": fenced("python", loading) if loading and cell.kind != "results-only" else None,
            "read_results": fenced("python", cell_results_code(self._study, cell.cell_id)) if rows else None,
            "verify": fenced("bash", commands),
            "cell_id": cell.cell_id,
            "tables": {table.name: table for table in tables if table is not None and table.rows},
            "sources": self._sources(cell, rows),
        }

    def _evaluation(self, cell: CardCell, rows: Sequence[Result], base: CardCell | None) -> NumbersTable | None:
        """Return the table of results; columns in which nothing is known are left out."""
        wanted = ["Value"]
        wanted += ["Std. error"] if any(row.stderr is not None for row in rows) else []
        wanted += ["n"] if any(row.n is not None for row in rows) else []
        wanted += ["Base model", "Difference"] if base is not None else []
        wanted += ["Grid median", "Cells"] if self._grid.populations else []
        lines = [self._evaluation_row(cell, row, base, wanted) for row in rows]
        return NumbersTable(
            name="evaluation",
            keys=("Benchmark", "Shots", "Metric"),
            columns=tuple(wanted),
            rows=lines,
            rules={column: EVALUATION_RULES[column] for column in wanted},
        )

    def _evaluation_row(self, cell: CardCell, row: Result, base: CardCell | None, wanted: list[str]) -> NumberRow:
        population = self._grid.populations[key_of(row)]
        other = None if base is None else self._grid.value(base.cell_id, population.key)
        texts = _evaluation_texts(row, population, other)
        origin: dict[str, Any] = {
            "row": [row.cell_id, row.benchmark, row.n_shot, row.metric],
            "value": row.value,
            "sha256": row_digest(row),
            "source": [source_path(row, self._names), row.source_row, row.source_key],
            "decimals": population.decimals,
        }
        if other is not None and base is not None:
            origin["base"] = base.cell_id
        shots = NOTHING if row.n_shot is None else str(row.n_shot)
        return NumberRow(
            keys=(escaped(row.benchmark), shots, escaped(row.metric)),
            shown=tuple(texts[column] for column in wanted),
            origin=origin,
        )

    def _sources(self, cell: CardCell, rows: Sequence[Result]) -> dict[str, str | None]:
        """Return file → sha256; a file that many cells share has its digest in the index's card and in the table.

        Otherwise one new row in a shared table would change every card of a release.
        """
        paths = {row.source: row for row in rows if row.source}
        return {
            source_path(row, self._names): None if path in self._shared else row.source_sha256 or None
            for path, row in sorted(paths.items())
        }


def row_digest(row: Result) -> str:
    """Return the first 16 hex digits of the sha256 over what a result says: key, value, error, n, place in source."""
    value = [row.cell_id, row.benchmark, row.n_shot, row.metric, row.value, row.stderr, row.n, row.source]
    return hashlib.sha256(_row_text([*value, row.source_row, row.source_key]).encode()).hexdigest()[:16]


def source_path(row: Result, names: Mapping[str, str]) -> str:
    """Return where the file that a result came from lies in the release tree."""
    own = f"cells/{row.cell_id}/"
    if row.source.startswith(own) and row.cell_id in names:
        return f"cells/{names[row.cell_id]}/{row.source.removeprefix(own)}"
    return f"results/sources/{row.source}" if row.source else ""


def _evaluation_texts(row: Result, population: Population, base: float | None) -> dict[str, str]:
    decimals, value = population.decimals, row.value
    both = value is not None and base is not None
    return {
        "Value": NOTHING if value is None else f"**{fixed(value, decimals)}**",
        "Std. error": NOTHING if row.stderr is None else fixed(row.stderr, decimals),
        "n": NOTHING if row.n is None else str(row.n),
        "Base model": NOTHING if base is None else fixed(base, decimals),
        "Difference": signed(value - base, decimals) if both else NOTHING,
        "Grid median": population.median_text,
        "Cells": str(len(population.values)),
    }


def shared_sources(results: Sequence[Result]) -> frozenset[str]:
    """Return the files that hold results of more than one cell."""
    owner: dict[str, str] = {}
    return frozenset(row.source for row in results if owner.setdefault(row.source, row.cell_id) != row.cell_id)


def _levels_table(cell: CardCell) -> NumbersTable:
    rows = [
        NumberRow(keys=(escaped(name),), shown=(code(level_text(level)),), origin={"level": name})
        for name, level in cell.levels.items()
    ]
    return NumbersTable(name="levels", keys=("Factor",), columns=("Level",), rows=rows, align="left")


def _made_tables(cell: CardCell, artifact: ArtifactFacts) -> list[NumbersTable]:
    """Return the tables of settings, environment and provenance, each fact with its key in ``cell.json``."""
    record = cell.cell
    settings = record.config.get("settings", {}) if record else {}
    provenance = dict(record.provenance) if record else {}
    training = [("config.settings", key, value) for key, value in settings.items()]
    training += [("adapter_config.json", key, value) for key, value in artifact.adapter_settings.items()]
    ran = [("provenance", key, provenance[key]) for key in ENVIRONMENT_KEYS if key in provenance]
    made = [("provenance", key, provenance[key]) for key in sorted(provenance) if key not in ENVIRONMENT_KEYS]
    return [fact_table(name, facts) for name, facts in
            (("training", training), ("environment", ran), ("provenance", made))]  # fmt: skip


def fact_table(name: str, facts: Sequence[tuple[str, str, Any]]) -> NumbersTable:
    """Return a table of keys and values as they stand in a JSON or YAML file.

    Args:
        name: name of the table.
        facts: (where the key lies, top key, value); mappings are written with dotted keys.
    """
    rows = [
        NumberRow(keys=(escaped(key),), shown=(code(shown),), origin={"key": f"{place}.{key}"})
        for place, top, value in facts
        for key, shown in _flattened(top, value)
    ]
    return NumbersTable(name=name, keys=("Key",), columns=("Value",), rows=rows, align="left")


def _flattened(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and texts; what is unknown (null) or too long to read is left to ``cell.json``."""
    if isinstance(value, dict):
        for inner in sorted(value, key=str):
            yield from _flattened(f"{key}.{inner}", value[inner])
    elif isinstance(value, list):
        if 0 < len(value) <= MAX_LIST and not any(isinstance(item, (dict, list)) for item in value):
            yield key, ", ".join(map(_plain, value))
    elif value is not None and value != "":
        yield key, _plain(value)


def _plain(value: Any) -> str:
    shown = level_text(value) if isinstance(value, bool) else str(value)
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"


def _files_table(cell: CardCell) -> NumbersTable:
    rows = [
        NumberRow(
            keys=(code(file.path),), shown=(f"{file.size_bytes:,}", f"`{file.sha256}`"), origin={"manifest": file.path}
        )
        for file in cell.files
    ]
    return NumbersTable(name="files", keys=("File",), columns=("Bytes", "sha256"), rows=rows)


def _link(hub_id: Any) -> str | None:
    return f"[{escaped(hub_id)}]({HUB_ADDRESS}/{hub_id})" if isinstance(hub_id, str) and hub_id else None
