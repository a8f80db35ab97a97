"""The facts of one cell's card: what it is, its numbers, how it was made, its files.

Owns the decision what a cell's card says and where each number of it comes from. The words around it stand in
``dataset_cards/cell.md.jinja``.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from release_kit.core.grid import level_text
from release_kit.core.results import Result
from release_kit.release.cards.artifact_facts import ArtifactFacts, artifact_facts
from release_kit.release.cards.autoencoders import (
    autoencoder_table,
    hook_meaning,
    language_shares,
    languages_table,
    plain_code,
)
from release_kit.release.cards.fact_table import fact_table
from release_kit.release.cards.front_matter import cell_metadata, front_matter, task_of
from release_kit.release.cards.inputs import CELL_FIGURE, CardCell, CardInputs
from release_kit.release.cards.markdown import NOTHING, code, escaped, fenced, prose
from release_kit.release.cards.model_index import ModelIndex
from release_kit.release.cards.numbers import (
    Comparison,
    Grid,
    fixed,
    is_baseline,
)
from release_kit.release.cards.trace import NumberRow, NumbersTable
from release_kit.release.cards.usage import HUB_ADDRESS, cell_results_code, download_commands, load_code

ENVIRONMENT_KEYS = ("versions", "hardware", "platform", "environment", "python")
"""Keys of a cell's provenance that say where it ran; all others say what it was made from."""

ATTRIBUTION_KEY = "attribution"
"""Key of a cell's provenance with whom to name for what it was made from, and under which licence: a list of texts."""

LOSS_FIGURE = "loss.svg"
"""Picture of the loss that training may leave beside the weights."""

EVALUATION_RULES = {
    "Value": "value of the row of `cell` in the results table that has this benchmark, shots and metric",
    "Std. error": "standard error of that row",
    "n": "number of samples behind that row",
    "Base model": "value of the same benchmark, shots and metric in the cell `base`",
    "Difference": "value minus that of the base model, before rounding",
    "Grid median": "median over all cells that are not baselines",
    "Cells": "number of cells behind the median",
}

ORIGIN_FIELDS = ("value", "decimals", "file", "source_row", "source_key")

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
        self._language_shares = language_shares(inputs)
        self._names = {cell.cell_id: cell.name for cell in inputs.cells}

    def facts(self, cell: CardCell, comparisons: Sequence[Comparison]) -> dict[str, Any]:
        """Return what the template of a cell's card is filled with; absent facts are absent or empty.

        Args:
            cell: the cell.
            comparisons: its results, as ``Grid.compare`` gives them.
        """
        artifact = artifact_facts(self._study.folder, cell)
        rows = [entry.row for entry in comparisons]
        base = self._grid.base_of(cell.cell_id)
        metadata = cell_metadata(self._study, cell, artifact)
        index = self._index.lines(cell.name, comparisons, task_of(self._study, cell.levels, artifact))
        tables = [
            _levels_table(cell),
            self._evaluation(cell, comparisons, base),
            autoencoder_table(artifact.autoencoder),
            languages_table(self._language_shares.get(cell.cell_id, ())),
            *_made_tables(cell, artifact),
            _files_table(cell),
        ]
        plain = plain_code(cell.name, artifact.autoencoder) if artifact.autoencoder else None
        commands = download_commands(self._study, cell.levels, pinned=False)
        loading, reading = load_code(self._study, cell, artifact), cell_results_code(self._study, cell.cell_id)
        return {
            "front_matter": front_matter(metadata, index),
            "name": escaped(cell.name),
            "kind": cell.kind,
            "is_baseline": is_baseline(self._study, cell.levels),
            "base_model": _link(self._study.level_properties(cell.levels, "base_model").get("hub_id")),
            "base_cell": None if base is None else code(base.name),
            "has_value": any(row.value is not None for row in rows),
            "no_value": [entry.population.label for entry in comparisons if entry.row.value is None],
            "figure": CELL_FIGURE,
            "loss": next((file.path for file in cell.files if file.path == LOSS_FIGURE), None),
            "hook": hook_meaning(artifact.autoencoder),
            "attribution": _attribution(cell),
            "load": fenced("python", loading) if loading and cell.kind != "results-only" else None,
            "load_plain": fenced("python", plain) if plain else None,
            "read_results": fenced("python", reading) if rows and cell.kind == "results-only" else None,
            "verify": fenced("bash", commands),
            "cell_id": cell.cell_id,
            "tables": {table.name: table for table in tables if table is not None and table.rows},
            "sources": self._sources(cell, rows),
        }

    def _evaluation(self, cell: CardCell, comparisons: Sequence[Comparison], base: CardCell | None) -> NumbersTable:
        """Return the table of results; columns in which nothing is known are left out."""
        rows = [entry.row for entry in comparisons]
        wanted = [True, any(row.stderr is not None for row in rows), any(row.n is not None for row in rows)]
        wanted += [base is not None, base is not None, True, True]
        columns = tuple(itertools.compress(EVALUATION_RULES, wanted))
        files = {path: index for index, path in enumerate(sorted({row.source for row in rows}))}
        about: dict[str, Any] = {"cell": cell.cell_id, "rows_sha256": rows_digest(rows)}
        about["files"] = [source_path(path, cell.cell_id, self._names) for path in files]
        if base is not None:
            about["base"] = base.cell_id
        return NumbersTable(
            name="evaluation",
            keys=("Benchmark", "Shots", "Metric"),
            columns=columns,
            rows=[_evaluation_row(entry, wanted, files[entry.row.source]) for entry in comparisons],
            rules=_rules(columns),
            origin_fields=ORIGIN_FIELDS,
            about=about,
        )

    def _sources(self, cell: CardCell, rows: Sequence[Result]) -> dict[str, str | None]:
        """Return file → sha256; a file that many cells share has its digest in the index's card and in the table.

        Otherwise one new row in a shared table would change every card of a release.
        """
        digests = {row.source: row.source_sha256 for row in rows if row.source}
        return {
            source_path(path, cell.cell_id, self._names): None if path in self._grid.shared_sources else digest or None
            for path, digest in sorted(digests.items())
        }


def rows_digest(rows: Sequence[Result]) -> str:
    """Return the sha256 over what the results of a cell say, in canonical JSON, one list for each row.

    A list holds benchmark, n_shot, metric, value, stderr, n, source, source_row and source_key.
    """
    values = [
        (r.benchmark, r.n_shot, r.metric, r.value, r.stderr, r.n, r.source, r.source_row, r.source_key) for r in rows
    ]
    return hashlib.sha256(_row_text(values).encode()).hexdigest()


def source_path(source: str, cell_id: str, names: Mapping[str, str]) -> str:
    """Return where the file that a result of a cell came from lies in the release tree."""
    own = f"cells/{cell_id}/"
    if source.startswith(own) and cell_id in names:
        return f"cells/{names[cell_id]}/{source.removeprefix(own)}"
    return f"results/sources/{source}" if source else ""


@functools.cache
def _rules(columns: tuple[str, ...]) -> Mapping[str, str]:
    return {column: EVALUATION_RULES[column] for column in columns}


def _evaluation_row(entry: Comparison, wanted: Sequence[bool], file: int) -> NumberRow:
    row, population = entry.row, entry.population
    texts = (
        NOTHING if row.value is None else f"**{entry.value_text}**",
        NOTHING if row.stderr is None else fixed(row.stderr, population.decimals),
        NOTHING if row.n is None else str(row.n),
        entry.base_text,
        entry.difference_text,
        population.median_text,
        population.count_text,
    )
    return NumberRow(
        keys=population.key_texts,
        shown=tuple(itertools.compress(texts, wanted)),
        origin=(row.value, population.decimals, file, row.source_row, row.source_key),
        identity=(row.benchmark, row.n_shot, row.metric),
    )


def _levels_table(cell: CardCell) -> NumbersTable:
    rows = [NumberRow(keys=(escaped(name),), shown=(code(level_text(level)),)) for name, level in cell.levels.items()]
    source = "manifest.json: levels of the cell"
    return NumbersTable(name="levels", keys=("Factor",), columns=("Level",), rows=rows, align="left", source=source)


def _made_tables(cell: CardCell, artifact: ArtifactFacts) -> list[NumbersTable]:
    """Return the tables of settings, adapter, environment and provenance."""
    record = cell.cell
    provenance = dict(record.provenance) if record else {}
    ran = {key: provenance[key] for key in ENVIRONMENT_KEYS if key in provenance}
    made = {key: provenance[key] for key in sorted(provenance) if key not in (*ENVIRONMENT_KEYS, ATTRIBUTION_KEY)}
    settings = record.config.get("settings", {}) if record else {}
    return [
        fact_table("training", settings, "cell.json: config.settings"),
        fact_table("adapter", artifact.adapter_settings, "adapter_config.json"),
        fact_table("environment", ran, "cell.json: provenance"),
        fact_table("provenance", made, "cell.json: provenance"),
    ]


def _attribution(cell: CardCell) -> str | None:
    """Return whom to name for what the cell was made from, one line of a list each."""
    said = cell.cell.provenance.get(ATTRIBUTION_KEY) if cell.cell else None
    texts = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
    return "\n".join(f"- {prose(one)}" for one in texts) or None


def _files_table(cell: CardCell) -> NumbersTable:
    rows = [
        NumberRow(keys=(code(file.path),), shown=(f"{file.size_bytes:,}", f"`{file.sha256}`"))
        for file in sorted(cell.files, key=lambda file: file.path)
    ]
    source = "manifest.json: files of the cell"
    return NumbersTable(name="files", keys=("File",), columns=("Bytes", "sha256"), rows=rows, source=source)


def _link(hub_id: Any) -> str | None:
    return f"[{escaped(hub_id)}]({HUB_ADDRESS}/{hub_id})" if isinstance(hub_id, str) and hub_id else None
