"""Results for machines: ``model-index`` in the front matter, and ``.eval_results/*.yaml``.

An own writer, because the client's helper merges results that differ only in the number of shots. 0-shot and 5-shot
stay two results here, each with its shots in the dataset's name and arguments and in the metric's name, so that they
can be told apart even after another tool has merged them. Values are unrounded. ``.eval_results`` are written only for
metrics whose benchmark on the Hub the study names: an id that nobody registered would be an invention.
"""

import re
from collections.abc import Mapping, Sequence

from release_kit.core.results import Result
from release_kit.core.study import Study
from release_kit.release.cards.inputs import EVAL_RESULTS_FOLDER
from release_kit.release.cards.numbers import Comparison, Grid, Key, Population, shots
from release_kit.release.cards.usage import HUB_ADDRESS
from release_kit.release.cards.yaml_text import number, text, yaml_lines

UNKNOWN_TASK = "other"
"""The Hub's own id for a task that is not named; ``model-index`` cannot leave the task out."""


class ModelIndex:
    """Writes the ``model-index`` of any cell of one release.

    Args:
        grid: the results of the release.
    """

    def __init__(self, grid: Grid):
        source = results_source(grid.study)
        self._after = yaml_lines({"source": source}, "    ") if source else []
        self._blocks = {key: self._block(population) for key, population in grid.populations.items()}

    def lines(self, name: str, comparisons: Sequence[Comparison], task: str | None) -> list[str]:
        """Return the YAML lines of the block; none for a cell without any value."""
        valued = [entry for entry in comparisons if entry.row.value is not None]
        if not valued:
            return []
        lines = ["model-index:", f"- name: {text(name)}", "  results:"]
        first = ["  - task:", f"      type: {text(task or UNKNOWN_TASK)}"]
        for entry in valued:
            before, after = self._blocks[entry.population.key]
            lines += first
            lines += before
            lines.append(f"      value: {number(entry.row.value)}")
            lines += after
        return lines

    def _block(self, population: Population) -> tuple[list[str], list[str]]:
        benchmark, n_shot, metric = population.key
        named = f" ({shots(n_shot)})" if n_shot >= 0 else ""
        hub = population.rule.hub
        dataset = {"name": benchmark + named, "type": hub.dataset if hub else benchmark}
        if hub and hub.revision:
            dataset["revision"] = hub.revision
        if n_shot >= 0:
            dataset["args"] = {"num_few_shot": n_shot}
        before = [*yaml_lines({"dataset": dataset}, "    "), "    metrics:", f"    - type: {text(metric)}"]
        return before, [f"      name: {text(metric + named)}", *self._after]


def results_source(study: Study) -> dict[str, str] | None:
    """Return where the numbers are published, or None when the study names no account."""
    if study.namespace is None:
        return None
    address = f"{HUB_ADDRESS}/datasets/{study.namespace}/{study.name}-results"
    return {"name": f"{study.name} results", "url": address}


def eval_results_files(study: Study, comparisons: Sequence[Comparison]) -> dict[str, str]:
    """Return ``{path inside the cell: text}``: one file for each benchmark dataset on the Hub, results apart."""
    grouped: dict[str, list[Mapping]] = {}
    for entry in comparisons:
        hub = entry.population.rule.hub
        if entry.row.value is not None and hub is not None:
            grouped.setdefault(hub.dataset, []).append(_entry(study, entry.population, entry.row))
    files = {}
    for dataset, entries in sorted(grouped.items()):
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.")
        files[f"{EVAL_RESULTS_FOLDER}/{slug}.yaml"] = "\n".join(yaml_lines(entries)) + "\n"
    return files


def _entry(study: Study, population: Population, row: Result) -> Mapping:
    hub = population.rule.hub
    dataset = {"id": hub.dataset, "task_id": hub.task_id} | ({"revision": hub.revision} if hub.revision else {})
    entry: dict = {"dataset": dataset, "value": row.value}
    if source := results_source(study):
        entry["source"] = {"url": source["url"], "name": source["name"]}
    return entry | {"notes": _notes(population.key, row)}


def _notes(key: Key, row: Result) -> str:
    parts = [shots(key[1]), row.metric]
    parts.append(f"standard error {number(row.stderr)}" if row.stderr is not None else "")
    parts.append(f"n={row.n}" if row.n is not None else "")
    return ", ".join(part for part in parts if part)
