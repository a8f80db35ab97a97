"""Code and commands in cards: how to load a cell, how to read the tables, how to download and verify.

Everything here runs as it stands against what is known: a downloaded folder always, the Hub when the study names an
account and a layout. The cards of cells do not name the version: a cell that did not change keeps its card, its commit
and its bytes from one version to the next. Index and results cards name it.
"""

import json
import shlex
from dataclasses import dataclass

from release_kit.core.grid import Levels, level_text
from release_kit.core.study import Study
from release_kit.release.cards.artifact_facts import ArtifactFacts
from release_kit.release.cards.autoencoders import saelens_code
from release_kit.release.cards.inputs import CardCell

HUB_ADDRESS = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class HubPlace:
    """Where a cell lies on the Hub: the three arguments that ``from_pretrained`` takes."""

    repo_id: str
    revision: str | None = None
    """The cell's branch; None is ``main``."""
    subfolder: str | None = None


def tag(study: Study) -> str:
    """Return the version tag of the release."""
    return f"v{study.version}"


def hub_place(study: Study, name: str) -> HubPlace | None:
    """Return where a cell lies on the Hub, or None when the study does not name account and layout."""
    index = f"{study.namespace}/{study.name}"
    if study.namespace is None or study.layout is None:
        return None
    if study.layout == "repos":
        return HubPlace(repo_id=f"{study.namespace}/{name}")
    if study.layout == "branches":
        return HubPlace(repo_id=index, revision=name)
    return HubPlace(repo_id=index, subfolder=f"cells/{name}")


def release_reference(study: Study) -> str | None:
    """Return what ``release-kit download`` takes for this release, or None without an account."""
    return f"{study.namespace}/{study.name}@{tag(study)}" if study.namespace else None


def load_code(study: Study, cell: CardCell, facts: ArtifactFacts) -> str | None:
    """Return Python that loads a cell, from the Hub when its place is known, otherwise from a download.

    None when the artifact does not say what kind of model it is.
    """
    if facts.autoencoder:
        return saelens_code(cell.name)
    if facts.auto_class is None:
        return None
    place = hub_place(study, cell.name)
    if place is None:
        source, options = [f"source = {_literal('cells/' + cell.name)}  # in the folder of the download"], "source"
    else:
        arguments = {"revision": place.revision, "subfolder": place.subfolder}
        pairs = ", ".join(f"{key}={_literal(value)}" for key, value in arguments.items() if value is not None)
        source, options = [f"source = {_literal(place.repo_id)}"], f"source, {pairs}" if pairs else "source"
    return "\n".join(_adapter_code(study, cell, facts, source, options) if cell.kind == "adapter"
                     else _model_code(facts, source, options))  # fmt: skip


def _model_code(facts: ArtifactFacts, source: list[str], options: str) -> list[str]:
    names = [facts.auto_class] + (["AutoTokenizer"] if facts.has_tokenizer else [])
    lines = [f"from transformers import {', '.join(map(str, names))}", "", *source]
    lines.append(f"model = {facts.auto_class}.from_pretrained({options})")
    if facts.has_tokenizer:
        lines.append(f"tokenizer = AutoTokenizer.from_pretrained({options})")
    return lines


def _adapter_code(study: Study, cell: CardCell, facts: ArtifactFacts, source: list[str], options: str) -> list[str]:
    base = study.level_properties(cell.levels, "base_model").get("hub_id")
    named = f"base = {_literal(base or _base_name(study, cell, facts))}"
    if not base:
        named += "  # your copy of the base model"
    return [
        "from peft import PeftModel",
        f"from transformers import {facts.auto_class}, AutoTokenizer",
        "",
        named,
        *source,
        f"model = PeftModel.from_pretrained({facts.auto_class}.from_pretrained(base), {options})",
        f"tokenizer = AutoTokenizer.from_pretrained({options if facts.has_tokenizer else 'base'})",
    ]


def _base_name(study: Study, cell: CardCell, facts: ArtifactFacts) -> str:
    factor = study.factor_with_role("base_model")
    return level_text(cell.levels[factor.name]) if factor else facts.adapter_base or "base"


def cell_results_code(study: Study, cell_id: str) -> str:
    """Return Python that reads the rows of one cell from the results table."""
    columns = '["benchmark", "n_shot", "metric", "value", "stderr", "source"]'
    return f'{_read_results(study)}\nprint(results.loc[results["cell_id"] == {_literal(cell_id)}, {columns}])'


def results_code(study: Study) -> str:
    """Return Python that loads both tables with ``datasets``."""
    where, at = '"./results"', ""
    if study.namespace:
        where, at = _literal(f"{study.namespace}/{study.name}-results"), f", revision={_literal(tag(study))}"
    return "\n".join(
        [
            "from datasets import load_dataset",
            "",
            *([] if study.namespace else ["# in the folder of the download"]),
            f'results = load_dataset({where}, "results"{at}, split="train")',
            f'cells = load_dataset({where}, "cells"{at}, split="train")',
        ]
    )


def _read_results(study: Study) -> str:
    if study.namespace:
        repo = _literal(f"{study.namespace}/{study.name}-results")
        return "\n".join(
            [
                "from datasets import load_dataset",
                "",
                f'table = load_dataset({repo}, "results", split="train")',
                "results = table.to_pandas()",
            ]
        )
    return 'import pandas\n\nresults = pandas.read_parquet("results/results.parquet")  # in the folder of the download'


def download_commands(study: Study, levels: Levels | None = None, *, pinned: bool = True) -> str:
    """Return shell commands that fetch the release (or some of it) and prove every byte of it.

    ``pinned`` names the version; without it, the newest is fetched.
    """
    reference = release_reference(study)
    if reference is not None and not pinned:
        reference = reference.partition("@")[0]
    if reference is None:
        return "release-kit verify .   # in the folder of the download"
    terms = [f"--select {shlex.quote(f'{name}={level_text(level)}')}" for name, level in (levels or {}).items()]
    return "\n".join([" ".join(["release-kit download", reference, "copy", *terms]), "release-kit verify copy"])


def _literal(value: str) -> str:
    """Return a Python string literal; nothing in ``value`` can end it, or the code block around it."""
    return json.dumps(value, ensure_ascii=False).replace("`", "\\x60")
