"""The YAML block at the top of each kind of card: only what is known, in the Hub's own keys.

Owns which keys a card has. Licence ids and the like are held against tables in ``lint.py``; nothing is looked up on a
network.
"""

from collections.abc import Mapping
from typing import Any

from release_kit.core.grid import Levels
from release_kit.core.study import Study
from release_kit.release.cards.artifact_facts import ArtifactFacts
from release_kit.release.cards.hub_tables import LICENSES
from release_kit.release.cards.inputs import CardCell
from release_kit.release.cards.numbers import is_baseline
from release_kit.release.cards.yaml_text import yaml_lines


def cell_metadata(study: Study, cell: CardCell, facts: ArtifactFacts) -> dict[str, Any]:
    """Return the front matter of a cell's card, ``model-index`` aside."""
    metadata: dict[str, Any] = {**study_metadata(study)}
    base = study.level_properties(cell.levels, "base_model")
    if library := facts.library_name or base.get("library_name"):
        metadata["library_name"] = library
    if task := task_of(study, cell.levels, facts):
        metadata["pipeline_tag"] = task
    if base.get("hub_id"):
        metadata["base_model"] = base["hub_id"]
        if relation := _relation(study, cell):
            metadata["base_model_relation"] = relation
    if dataset := study.level_properties(cell.levels, "dataset").get("hub_id"):
        metadata["datasets"] = [dataset] if isinstance(dataset, str) else list(dataset)
    return metadata


def task_of(study: Study, levels: Levels, facts: ArtifactFacts) -> str | None:
    """Return the Hub's task of a cell: from the artifact, else as the study declares it for the base model."""
    return facts.pipeline_tag or study.level_properties(levels, "base_model").get("pipeline_tag")


def index_metadata(study: Study, hub_ids: list[str], datasets: list[str]) -> dict[str, Any]:
    """Return the front matter of the card of the whole release."""
    metadata: dict[str, Any] = {**study_metadata(study)}
    if hub_ids:
        metadata["base_model"] = hub_ids
    if datasets:
        metadata["datasets"] = datasets
    return metadata


def results_metadata(study: Study, n_rows: int, tables: Mapping[str, str]) -> dict[str, Any]:
    """Return the front matter of the results dataset: one config for each table, so that each one loads by name.

    Args:
        study: the study.
        n_rows: rows of the first table.
        tables: name → file in the dataset, the default one first.
    """
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": path}]}
        | ({"default": True} if index == 0 else {})
        for index, (name, path) in enumerate(tables.items())
    ]
    title = study.title or study.name
    return {
        **study_metadata(study),
        "pretty_name": f"{title}: results",
        "size_categories": [size_category(n_rows)],
        "configs": configs,
    }


def size_category(n_rows: int) -> str:
    """Return the Hub's name for a number of rows."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if n_rows < bound), "1M<n<10M")


def front_matter(metadata: dict[str, Any], more: list[str] | None = None) -> str:
    """Return the whole block with its ``---`` lines, ``more`` being YAML lines that are added at its end."""
    return "\n".join(["---", *yaml_lines(metadata), *(more or []), "---"])


def study_metadata(study: Study) -> dict[str, Any]:
    """Return what every card of a study says of it: languages, licence, tags."""
    metadata: dict[str, Any] = {}
    if study.languages:
        metadata["language"] = list(study.languages)
    if study.license:
        known = study.license.lower() in LICENSES
        metadata["license"] = study.license.lower() if known else "other"
        if not known:
            metadata["license_name"] = study.license
    if study.tags:
        metadata["tags"] = list(study.tags)
    return metadata


def _relation(study: Study, cell: CardCell) -> str | None:
    """Return how a cell came from its base model; nothing for a base model itself, or where nothing shows it."""
    if is_baseline(study, cell.levels):
        return None
    return {"adapter": "adapter", "weights": "finetune"}.get(cell.kind)
