"""The facts of the card of a whole release: what is in it, its results in short, and its holes.

Owns the decision what stands there; up to ``MAX_LISTED`` cells are listed, more are summed up by a factor. The words
stand in ``dataset_cards/index.md.jinja``, the figures in ``index_figures.py``.
"""

import statistics
from typing import Any
from urllib.parse import quote

from release_kit.core.grid import level_text
from release_kit.core.study import Factor, Study
from release_kit.release.cards.analysis_facts import analysis_facts, analysis_sources, analysis_tables
from release_kit.release.cards.autoencoders import languages_by_cell
from release_kit.release.cards.fact_table import fact_table
from release_kit.release.cards.front_matter import front_matter, index_metadata
from release_kit.release.cards.holes import holes_table, n_declared
from release_kit.release.cards.inputs import FIGURES_FOLDER, CardInputs
from release_kit.release.cards.markdown import NOTHING, bibliography, code, escaped, fenced, prose
from release_kit.release.cards.numbers import Grid, Key, Population, better, fixed
from release_kit.release.cards.trace import NumberRow, NumbersTable
from release_kit.release.cards.usage import HUB_ADDRESS, download_commands, hub_place, release_reference
from release_kit.release.extra import extra_tops

MAX_LISTED = 50
MAX_COLUMNS = 8
MAX_GROUPS = 12
HEATMAP = f"{FIGURES_FOLDER}/heatmap.svg"
DISTRIBUTIONS = f"{FIGURES_FOLDER}/distributions.svg"

RESULT_RULES = {
    "Cells": "cells that are not baselines and have a value",
    "Missing": "cells that are not baselines and have none",
    "Lowest": "smallest value over `Cells`",
    "Median": "median over `Cells`",
    "Highest": "largest value over `Cells`",
    "Best cell": "name of the cell with the best value; of several, the first in the grid",
    "Better than base": "cells better than their own base cell / cells whose base cell has a value",
}


def index_facts(inputs: CardInputs, grid: Grid) -> dict[str, Any]:
    """Return what the template of the release's card is filled with."""
    study = inputs.study
    listed = len(inputs.cells) <= MAX_LISTED
    factor = None if listed else group_factor(study)
    tables = [
        _counts_table(inputs, grid),
        _factors_table(study),
        _results_table(study, grid),
        _cells_table(inputs, grid) if listed else None,
        _groups_table(grid, factor) if factor else None,
        holes_table(inputs, grid),
        *analysis_tables(inputs.analysis),
        languages_by_cell(inputs) if listed else None,
        _extra_table(study),
        fact_table("settings", study.settings, "study.yaml: settings"),
    ]
    bases, datasets = _hub_ids(inputs, "base_model"), _hub_ids(inputs, "dataset")
    has_values = any(population.values for population in grid.populations.values())
    return {
        "front_matter": front_matter(index_metadata(study, bases, datasets)),
        "names_best": any(population.higher_is_better is not None for population in grid.populations.values()),
        "group_name": code(factor.name) if factor else "",
        "more_columns": len(grid.populations) > MAX_COLUMNS,
        "distributions": DISTRIBUTIONS if has_values else None,
        "heatmap": HEATMAP if has_values else None,
        "heatmap_text": "Results of every cell" if listed else "Medians of every result",
        "download": fenced("bash", _download(study, grid)) if release_reference(study) else None,
        "verify": fenced("bash", "release-kit verify " + ("copy" if study.namespace else ".")),
        "authors": "\n".join(f"- {escaped(author)}" for author in study.authors),
        "tables": {table.name: table for table in tables if table is not None and table.rows},
        "sources": {**index_sources(inputs, grid), **analysis_sources(inputs.analysis)},
        **analysis_facts(inputs.analysis),
    }


def _download(study: Study, grid: Grid) -> str:
    """Return the commands that fetch everything, or the cells of one level."""
    lines = ["# everything", download_commands(study).split("\n")[0]]
    if grid.others:
        name, level = next(iter(grid.others[0].levels.items()))
        lines += ["# some cells", download_commands(study, {name: level}).split("\n")[0]]
    return "\n".join(lines)


def _extra_table(study: Study) -> NumbersTable:
    rows = [
        NumberRow(keys=(f"[{escaped(first)}]({quote(first)})",), shown=(f"{number:,}", f"{size:,}"))
        for first, number, size in extra_tops(study.folder).values()
    ]
    source = "manifest.json: index"
    return NumbersTable(name="extra", keys=("What",), columns=("Files", "Bytes"), rows=rows, source=source)


def common_facts(inputs: CardInputs) -> dict[str, Any]:
    """Return the facts that every card of a release shares."""
    study = inputs.study
    title = escaped(study.title or study.name)
    named = f"[{title}]({study.homepage})" if study.homepage else f"**{title}**"
    if study.namespace and not study.homepage:
        named = f"[{title}]({HUB_ADDRESS}/{study.namespace}/{study.name})"
    return {
        "title": title,
        "study": f"{named} (`{study.name}`)",
        "name": study.name,
        "version": escaped(study.version),
        "nothing": NOTHING,
        "results_path": inputs.results_path,
        "description": _written(study.description),
        "limits": _written(study.limits),
        "citation": bibliography(study.citation) if study.citation else None,
    }


def group_factor(study: Study) -> Factor | None:
    """Return the factor by which a large grid is summed up: the base model, else the first of a fitting size."""
    first = study.factor_with_role("base_model")
    candidates = ([first] if first else []) + list(study.factors)
    return next((factor for factor in candidates if 2 <= len(factor.levels) <= MAX_GROUPS), None)


def group_medians(grid: Grid, factor: Factor) -> dict[Key, list[tuple[float | None, int]]]:
    """Return for each result one ``(median, number of cells)`` for each level, over cells that are no baselines."""
    groups = [[cell.cell_id for cell in grid.others if cell.levels[factor.name] == level] for level in factor.levels]
    medians: dict[Key, list[tuple[float | None, int]]] = {}
    for key in grid.populations:
        column = grid.column(key)
        medians[key] = []
        for group in groups:
            values = [value for cell_id in group if (value := column.get(cell_id)) is not None]
            medians[key].append((statistics.median(values) if values else None, len(values)))
    return medians


def index_sources(inputs: CardInputs, grid: Grid) -> dict[str, str | None]:
    """Return the table and the files that several cells share, each with its sha256."""
    shared = grid.shared_sources - {""}
    digests = {row.source: row.source_sha256 or None for row in inputs.results if row.source in shared}
    files = {f"results/sources/{path}": digest for path, digest in sorted(digests.items())}
    return {inputs.results_path: inputs.results_sha256, **files}


def _counts_table(inputs: CardInputs, grid: Grid) -> NumbersTable:
    kinds = [cell.kind for cell in inputs.cells]
    n_empty = sum(row.value is None for row in inputs.results)
    counts = [
        ("cells declared by the study", n_declared(inputs.study)),
        ("cells in this release", len(kinds)),
        ("with weights", kinds.count("weights")),
        ("with an adapter", kinds.count("adapter")),
        ("with results only", kinds.count("results-only")),
        ("base models to compare with", len(grid.baseline_ids)),
        ("results", len(inputs.results)),
        ("results without a value", n_empty),
        ("kinds of result", len(grid.populations)),
        ("bytes of artifacts", sum(file.size_bytes for cell in inputs.cells for file in cell.files)),
    ]
    rows = [
        NumberRow(keys=(what,), shown=(f"{count:,}",), origin={"count": what})
        for index, (what, count) in enumerate(counts)
        if count or index < 2
    ]
    return NumbersTable(name="counts", keys=("What",), columns=("Count",), rows=rows)


def _factors_table(study: Study) -> NumbersTable:
    rows = []
    for factor in study.factors:
        shown = ", ".join(code(level_text(level)) for level in factor.levels[:MAX_GROUPS])
        more = ", …" if len(factor.levels) > MAX_GROUPS else ""
        texts = (str(len(factor.levels)), shown + more)
        rows.append(NumberRow(keys=(code(factor.name),), shown=texts))
    source = "study.yaml: factors"
    return NumbersTable(
        name="factors", keys=("Factor",), columns=("Number", "Levels"), rows=rows, align="left", source=source
    )


def _results_table(study: Study, grid: Grid) -> NumbersTable:
    populations = [population for population in grid.populations.values() if population.values]
    wanted = ["Cells", "Missing", "Lowest", "Median", "Highest"]
    wanted += ["Best cell"] if any(p.higher_is_better is not None for p in populations) else []
    wanted += ["Better than base"] if grid.baseline_ids else []
    rows = [_results_row(study, grid, population, wanted) for population in populations]
    rules = {column: RESULT_RULES[column] for column in wanted}
    return NumbersTable(
        name="results",
        keys=("Benchmark", "Shots", "Metric"),
        columns=tuple(wanted),
        rows=rows,
        rules=rules,
        about={"baselines": sorted(grid.baseline_ids)},
    )


def _results_row(study: Study, grid: Grid, population: Population, wanted: list[str]) -> NumberRow:
    column = grid.column(population.key)
    pairs = [(cell, value) for cell in grid.others if (value := column.get(cell.cell_id)) is not None]
    compared = []
    for cell, value in pairs:
        base = grid.base_of(cell.cell_id)
        other = None if base is None else column.get(base.cell_id)
        if other is not None:
            compared.append(better(population, value, other))
    texts = {
        "Cells": f"{len(population.values)}",
        "Missing": f"{population.n_missing}",
        "Lowest": fixed(population.values[0], population.decimals),
        "Median": population.median_text,
        "Highest": fixed(population.values[-1], population.decimals),
        "Best cell": NOTHING,
        "Better than base": NOTHING,
    }
    if population.higher_is_better is not None:
        sign = 1 if population.higher_is_better else -1
        if pairs:
            texts["Best cell"] = cell_link(study, max(pairs, key=lambda pair: sign * pair[1])[0].name)
        texts["Better than base"] = f"{sum(map(bool, compared))} / {len(compared)}" if compared else NOTHING
    return NumberRow(keys=population.key_texts, shown=tuple(texts[column] for column in wanted), origin=_of(population))


def _cells_table(inputs: CardInputs, grid: Grid) -> NumbersTable:
    populations = list(grid.populations.values())[:MAX_COLUMNS]
    rows = []
    for cell in inputs.cells:
        values = [grid.value(cell.cell_id, population.key) for population in populations]
        texts = [NOTHING if v is None else fixed(v, p.decimals) for v, p in zip(values, populations, strict=True)]
        origin = {"cell": cell.cell_id, "of": [_of(population)["of"] for population in populations]}
        rows.append(NumberRow(keys=(cell_link(inputs.study, cell.name), cell.kind), shown=tuple(texts), origin=origin))
    columns = tuple(escaped(population.label) for population in populations)
    return NumbersTable(name="cells", keys=("Cell", "Kind"), columns=columns, rows=rows)


def _groups_table(grid: Grid, factor: Factor) -> NumbersTable:
    rows = []
    medians = group_medians(grid, factor)
    for population in grid.populations.values():
        found = medians[population.key]
        texts = [NOTHING if median is None else fixed(median, population.decimals) for median, _ in found]
        origin = {**_of(population), "statistic": "median", "by": factor.name, "n": [n for _, n in found]}
        rows.append(NumberRow(keys=population.key_texts, shown=tuple(texts), origin=origin))
    columns = tuple(escaped(level_text(level)) for level in factor.levels)
    return NumbersTable(name="groups", keys=("Benchmark", "Shots", "Metric"), columns=columns, rows=rows)


def cell_link(study: Study, name: str) -> str:
    """Return a cell's name, as a link where it has a page of its own on the Hub."""
    place = hub_place(study, name)
    return f"[{escaped(name)}]({HUB_ADDRESS}/{place.repo_id})" if place and study.layout == "repos" else code(name)


def _of(population: Population) -> dict[str, Any]:
    benchmark, n_shot, metric = population.key
    return {"of": [benchmark, None if n_shot < 0 else n_shot, metric], "decimals": population.decimals}


def _hub_ids(inputs: CardInputs, role: str) -> list[str]:
    found = {}
    for cell in inputs.cells:
        known = inputs.study.level_properties(cell.levels, role).get("hub_id")
        for hub_id in [known] if isinstance(known, str) else known or []:
            found[hub_id] = None
    return list(found)


def _written(text: str | None) -> str | None:
    return prose(text) if text else None
