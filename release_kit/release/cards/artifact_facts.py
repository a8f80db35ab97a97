"""The few facts about an artifact that its card states, read from its own configuration files.

Nothing is imported, unpickled or guessed: a class or a task that is not in the tables below is left out of the card.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core.canonical import parse_json
from release_kit.core.cell import artifact_folder
from release_kit.core.errors import RecordError
from release_kit.release.cards.autoencoders import AUTOENCODER_FILES, CFG_FILE, autoencoder_settings
from release_kit.release.cards.inputs import CardCell

LIMIT_BYTES = 1 << 20
"""A larger config is not a config; nothing of it is stated."""

_HEADS = {
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask"),
    "ForQuestionAnswering": ("AutoModelForQuestionAnswering", "question-answering"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "token-classification"),
}
"""Ending of an architecture's name → the class that loads it, and the Hub's task."""

_ADAPTER_TASKS = {
    "CAUSAL_LM": "ForCausalLM",
    "QUESTION_ANS": "ForQuestionAnswering",
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
}

_ADAPTER_SETTINGS = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules")


@dataclass(frozen=True, kw_only=True)
class ArtifactFacts:
    """What is known of an artifact from its own configuration; None where it does not say."""

    library_name: str | None = None
    pipeline_tag: str | None = None
    auto_class: str | None = None
    architecture: str | None = None
    has_tokenizer: bool = False
    autoencoder: Mapping[str, Any] = field(default_factory=dict)
    """What ``cfg.json`` says of a sparse autoencoder in SAELens' layout."""
    adapter_settings: Mapping[str, Any] = field(default_factory=dict)
    adapter_base: str | None = None
    """The base model that the adapter itself names: an id on the Hub, or a path on the machine that trained it."""


def artifact_facts(study_folder: Path, cell: CardCell) -> ArtifactFacts:
    """Return what the configuration inside a cell's artifact says; a missing or broken file says nothing."""
    if cell.kind == "results-only" or cell.cell is None:
        return ArtifactFacts()
    folder = artifact_folder(study_folder, cell.cell)
    names = {file.path for file in cell.files}
    has_tokenizer = "tokenizer_config.json" in names or "tokenizer.json" in names
    if cell.kind == "adapter":
        return _adapter_facts(_config(folder, "adapter_config.json", names), has_tokenizer)
    if names >= AUTOENCODER_FILES and (cfg := autoencoder_settings(_config(folder, CFG_FILE, names))):
        return ArtifactFacts(library_name="saelens", autoencoder=cfg)
    config = _config(folder, "config.json", names)
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    architecture = first if isinstance(first, str) else None
    auto_class, task = _head(architecture or "")
    known = architecture is not None or isinstance(config.get("model_type"), str)
    return ArtifactFacts(
        library_name="transformers" if known else None,
        pipeline_tag=task,
        auto_class=auto_class or ("AutoModel" if known else None),
        architecture=architecture,
        has_tokenizer=has_tokenizer,
    )


def _adapter_facts(config: Mapping[str, Any], has_tokenizer: bool) -> ArtifactFacts:
    task_type = config.get("task_type")
    auto_class, task = _head(_ADAPTER_TASKS.get(task_type, "") if isinstance(task_type, str) else "")
    base = config.get("base_model_name_or_path")
    return ArtifactFacts(
        library_name="peft" if isinstance(config.get("peft_type"), str) else None,
        pipeline_tag=task,
        auto_class=auto_class,
        has_tokenizer=has_tokenizer,
        adapter_settings={key: config[key] for key in _ADAPTER_SETTINGS if config.get(key) not in (None, False, [])},
        adapter_base=base if isinstance(base, str) and base else None,
    )


def _head(architecture: str) -> tuple[str | None, str | None]:
    for ending, (auto_class, task) in _HEADS.items():
        if architecture.endswith(ending):
            return auto_class, task
    return None, None


def _config(folder: Path, name: str, names: set[str]) -> Mapping[str, Any]:
    if name not in names:
        return {}
    try:
        with open(f"{folder}/{name}", "rb") as stream:
            data = stream.read(LIMIT_BYTES + 1)
        value = parse_json(data, name) if len(data) <= LIMIT_BYTES else {}
    except (OSError, RecordError):
        return {}
    return value if isinstance(value, dict) else {}
