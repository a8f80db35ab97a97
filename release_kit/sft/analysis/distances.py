"""Distances on the map that claims are about: between epochs, from the base, between LoRA and full fine-tuning.

All in units of the median distance between models of different bases (of any two models, with one base), so that they
can be held against each other. Owns the pairs; intervals are over bases or runs like everywhere.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from release_kit.sft.analysis.bootstrap import codes_of
from release_kit.sft.analysis.cells import CellFacts
from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.intervals import choose_units, mean_estimate

FEWEST_PAIRS = 3
METHOD_GAP, DATASET_GAP = "full - lora, same data", "full - full, other data"
LATE_STEPS = "last step between epochs less the first"
MORE_DATA = "base - most data less base - least data"
METHOD_LESS_DATASET = "full - lora, same data, less full - full, other data"

Pairs = list[tuple[int, int]]


def named_distances(distance: np.ndarray, cells: Sequence[CellFacts]) -> dict[str, Estimate]:
    """Return name → mean distance of the pairs that it names; names with fewer than three pairs are left out.

    Args:
        distance: (n_models, n_models).
        cells: what the models are.
    """
    bases, _ = codes_of([cell.base_model for cell in cells])
    apart = bases[:, None] != bases[None, :]
    apart = apart if apart.any() else ~np.eye(len(cells), dtype=bool)
    unit = float(np.median(distance[apart])) or 1.0
    found: dict[str, Pairs] = {}
    for name, first, second in _named_pairs(cells):
        found.setdefault(name, []).append((first, second))
    estimates = {
        name: _mean(np.array([distance[pair] for pair in pairs]) / unit, [cells[i] for _, i in pairs])
        for name, pairs in found.items()
        if len(pairs) >= FEWEST_PAIRS
    }
    for name, differences in _differences(cells).items():
        if len(differences) >= FEWEST_PAIRS:
            values = [
                np.mean([distance[p] for p in far]) - np.mean([distance[p] for p in near])
                for _, far, near in differences
            ]
            estimates[name] = _mean(np.array(values) / unit, [cells[i] for i, _, _ in differences])
    return estimates


def _mean(values: np.ndarray, cells: Sequence[CellFacts]) -> Estimate:
    over, units = choose_units([cell.base_model for cell in cells], [cell.run for cell in cells])
    return mean_estimate(values, units, over=over)


def _named_pairs(cells: Sequence[CellFacts]) -> Iterator[tuple[str, int, int]]:
    yield from _epochs(cells)
    yield from _from_base(cells)
    yield from _methods(cells)


def _by_run(cells: Sequence[CellFacts]) -> dict[str, list[int]]:
    """Return run → places of its cells by epoch; untouched bases are no run."""
    runs: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        if not cell.untouched:
            runs.setdefault(cell.run, []).append(i)
    return {run: sorted(places, key=lambda i: cells[i].epoch or 0) for run, places in runs.items()}


def _epochs(cells: Sequence[CellFacts]) -> Iterator[tuple[str, int, int]]:
    for places in _by_run(cells).values():
        for first, second in itertools.pairwise(places):
            if cells[second].epoch == (cells[first].epoch or 0) + 1:
                yield f"epoch {cells[first].epoch} - epoch {cells[second].epoch}", first, second


def _from_base(cells: Sequence[CellFacts]) -> Iterator[tuple[str, int, int]]:
    bases = {cell.base_model: i for i, cell in enumerate(cells) if cell.untouched}
    for places in _by_run(cells).values():
        cell, last = cells[places[-1]], places[-1]
        if cell.base_model in bases:
            yield f"base - method={cell.method}", bases[cell.base_model], last
            if cell.data_size is not None:
                schedule = f", schedule={cell.schedule}" if cell.schedule else ""
                name = f"base - method={cell.method}, data_size={cell.data_size}{schedule}"
                yield name, bases[cell.base_model], last


def _methods(cells: Sequence[CellFacts]) -> Iterator[tuple[str, int, int]]:
    last = [places[-1] for places in _by_run(cells).values()]
    full = [i for i in last if cells[i].method == "full"]
    lora = {_condition(cells[i]): i for i in last if cells[i].method == "lora"}
    for i in full:
        if _condition(cells[i]) in lora:
            yield METHOD_GAP, i, lora[_condition(cells[i])]
            yield from ((DATASET_GAP, i, j) for j in full if i != j and _only_data_differ(cells[i], cells[j]))


def _condition(cell: CellFacts) -> tuple:
    return (cell.base_model, cell.dataset, cell.data_size, cell.schedule, cell.others, cell.seed, cell.epoch)


def _only_data_differ(one: CellFacts, other: CellFacts) -> bool:
    first, second = _condition(one), _condition(other)
    return one.dataset != other.dataset and (first[0], *first[2:]) == (second[0], *second[2:])


Difference = tuple[int, Pairs, Pairs]
"""(cell whose run it belongs to, pairs whose mean distance counts, pairs whose mean distance is taken off)."""


def _differences(cells: Sequence[CellFacts]) -> dict[str, list[Difference]]:
    runs = list(_by_run(cells).values())
    return {
        LATE_STEPS: [(r[0], [(r[-2], r[-1])], [(r[0], r[1])]) for r in runs if len(r) >= 3],
        MORE_DATA: _more_data([r[-1] for r in runs], cells),
        METHOD_LESS_DATASET: _method_less_dataset([r[-1] for r in runs], cells),
    }


def _more_data(last: list[int], cells: Sequence[CellFacts]) -> list[Difference]:
    """Return the largest size against the smallest of the same base, dataset, method, schedule and seed."""
    bases = {cell.base_model: i for i, cell in enumerate(cells) if cell.untouched}
    groups: dict[tuple, list[int]] = {}
    for i in last:
        cell = cells[i]
        if cell.data_size is not None and cell.base_model in bases:
            key = (cell.base_model, cell.dataset, cell.method, cell.schedule, cell.others, cell.seed)
            groups.setdefault(key, []).append(i)
    found = []
    for places in groups.values():
        small, large = min(places, key=lambda i: cells[i].data_size), max(places, key=lambda i: cells[i].data_size)
        if small != large:
            base = bases[cells[large].base_model]
            found.append((large, [(base, large)], [(base, small)]))
    return found


def _method_less_dataset(last: list[int], cells: Sequence[CellFacts]) -> list[Difference]:
    full = [i for i in last if cells[i].method == "full"]
    lora = {_condition(cells[i]): i for i in last if cells[i].method == "lora"}
    found = []
    for i in full:
        others = [(i, j) for j in full if _only_data_differ(cells[i], cells[j])]
        if _condition(cells[i]) in lora and others:
            found.append((i, [(i, lora[_condition(cells[i])])], others))
    return found
