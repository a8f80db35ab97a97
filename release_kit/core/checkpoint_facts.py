"""What a trainer left beside the weights: read as data, for the provenance of a cell.

Owns which files are looked at (``config.json``, ``adapter_config.json``, ``trainer_state.json``) and which of their
keys say something; pickles (``training_args.bin``) are never opened. A key that is not there gives no fact.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.foreign_json import parse_foreign_json

CONFIG_FILE, ADAPTER_FILE, TRAINER_FILE = "config.json", "adapter_config.json", "trainer_state.json"

_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
_NOT_WEIGHTS = {"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt"}
_TRAINER_KEYS = ("global_step", "epoch", "max_steps", "num_train_epochs", "train_batch_size", "best_metric")
_ADAPTER_KEYS = ("peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora")


def holds_weights(folder: Path) -> bool:
    """Return whether the folder holds a file that is named like weights (of any format)."""
    try:
        return any(_is_weights(path.name) for path in folder.iterdir())
    except OSError:
        return False


def looks_like_checkpoint(folder: Path) -> bool:
    """Return whether the folder looks like what a trainer saved: weights, or a config of a model or an adapter."""
    return holds_weights(folder) or (folder / CONFIG_FILE).is_file() or (folder / ADAPTER_FILE).is_file()


def read_facts(folder: Path, where: str) -> dict[str, Any]:
    """Return what the files of a checkpoint say about how it was made.

    Args:
        folder: the checkpoint.
        where: how messages name it.

    Returns:
        Some of ``base_model`` (``name``), ``adapter``, ``global_step``, ``epoch``, ``max_steps``,
        ``num_train_epochs``, ``train_batch_size``, ``best_metric``, ``train_loss`` (the last one logged), ``seed``,
        ``versions``.

    Raises:
        RecordError: one of the files is there and is not JSON.
    """
    config, adapter, trainer = (_read(folder, name, where) for name in (CONFIG_FILE, ADAPTER_FILE, TRAINER_FILE))
    facts: dict[str, Any] = {}
    if name := _base_name(adapter.get("base_model_name_or_path") or config.get("_name_or_path")):
        facts["base_model"] = {"name": name}
    if known := _known(adapter, _ADAPTER_KEYS):
        facts["adapter"] = known
    facts |= _known(trainer, _TRAINER_KEYS)
    if (loss := _last_loss(trainer)) is not None:
        facts["train_loss"] = loss
    for source in (trainer, config):
        if isinstance(source.get("seed"), int):
            facts["seed"] = source["seed"]
            break
    versions = {"transformers": config.get("transformers_version"), "peft": adapter.get("peft_version")}
    if versions := {name: version for name, version in versions.items() if isinstance(version, str)}:
        facts["versions"] = versions
    return facts


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and name not in _NOT_WEIGHTS and not name.startswith(("rng_state", "."))


def _read(folder: Path, name: str, where: str) -> Mapping[str, Any]:
    try:
        value = parse_foreign_json((folder / name).read_bytes(), f"{where}/{name}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", where=f"{where}/{name}") from error
    if not isinstance(value, dict):
        raise RecordError("is not a JSON object", where=f"{where}/{name}")
    return value


def _base_name(value: Any) -> str | None:
    """Return the name of a base model; a path of somebody's machine names nothing to anyone else."""
    if not isinstance(value, str) or not value or value.startswith(("/", "~", ".", "\\")) or value[1:2] == ":":
        return None
    return value


def _known(value: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    found = {key: value[key] for key in keys if value.get(key) is not None}
    for key, items in found.items():
        if isinstance(items, list):
            found[key] = sorted(items, key=str)
    return found


def _last_loss(trainer: Mapping[str, Any]) -> float | None:
    history = trainer.get("log_history")
    for entry in reversed(history if isinstance(history, list) else []):
        loss = entry.get("train_loss", entry.get("loss")) if isinstance(entry, dict) else None
        if isinstance(loss, (int, float)) and not isinstance(loss, bool):
            return float(loss)
    return None
