"""The folder that one kept checkpoint leaves: weights in bfloat16, config, tokenizer, log and picture.

A folder takes its name when it is whole. Nothing in it holds a clock, a path of this machine or an order that changes
from process to process: the same training gives the same bytes. ``cell.json`` and ``done.json`` are the engine's.
"""

import errno
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import TEMPORARY_PREFIX, sync_folder, write_error
from release_kit.sft.train.log import LOG_FILE, LogRow, log_bytes
from release_kit.sft.train.picture import draw_loss

LOSS_PICTURE = "loss.svg"
PUBLISHED_TYPE = "bfloat16"


def write_artifact(
    save: Callable[[Path], None],
    tokenizer_files: Mapping[str, bytes],
    rows: Sequence[LogRow],
    kept: Mapping[str, int],
    folder: Path,
    title: str,
) -> None:
    """Write one kept checkpoint; ``folder`` exists afterwards as a whole or not at all.

    Args:
        save: writes weights and configuration into the folder that it is given.
        tokenizer_files: name → bytes.
        rows: the log up to here.
        kept: label → step of the checkpoints that the picture marks.
        folder: must not exist.
        title: of the picture.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    scratch = scratch_beside(folder)
    try:
        scratch.mkdir(parents=True)
        save(scratch)
        for name, data in tokenizer_files.items():
            (scratch / name).write_bytes(data)
        (scratch / LOG_FILE).write_bytes(log_bytes(rows))
        if rows:
            (scratch / LOSS_PICTURE).write_text(draw_loss(rows, kept, title), encoding="utf-8")
        move_whole(scratch, folder)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise write_error(folder, error) from error


def save_model(model: Any, folder: Path) -> None:
    """Write what a run has trained: the adapter of a peft model, all weights of any other; ``model`` stays float32."""
    if hasattr(model, "peft_config"):
        save_adapter(model, folder)
    else:
        save_full(model, folder)


def save_full(model: Any, folder: Path, weights: Mapping[str, Any] | None = None) -> None:
    """Write ``model.safetensors`` (bfloat16, rounded to nearest even) and the configuration of a whole model.

    Args:
        model: gives the configuration, and the weights unless they are given.
        folder: exists.
        weights: all of them, by name, where ``model`` holds only a part of each.
    """
    import torch

    model.save_pretrained(folder, state_dict=rounded(weights or model.state_dict(), torch.bfloat16))
    config = canonical.read_json(folder / "config.json")
    (folder / "config.json").write_bytes(canonical.document_bytes({**config, "dtype": PUBLISHED_TYPE}))


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter of a peft model; see ``save_adapter_state``."""
    save_adapter_state(*adapter_state(model), folder)


def adapter_state(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (weights by the name they have in a file, configuration as JSON values) of a peft model's adapter."""
    from peft import get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft looks for a changed vocabulary on the Hub; ours cannot change
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state, {**plain(model.peft_config["default"].to_dict()), "inference_mode": True}


def save_adapter_state(state: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Write ``adapter_model.safetensors`` (bfloat16) and the adapter's configuration, its sets in sorted order."""
    import torch
    from safetensors.torch import save

    # Not save_file: it makes files that nobody but their owner may read.
    data = save(rounded(state, torch.bfloat16), metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").write_bytes(data)
    (folder / "adapter_config.json").write_bytes(canonical.document_bytes(dict(config)))


def rounded(state: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return ``state`` on the processor in ``dtype``; tensors that share their memory still do."""
    seen: dict[int, Any] = {}
    result = {}
    for name, value in state.items():
        key = value.data_ptr()
        if key not in seen or seen[key].shape != value.shape:
            floating = value.is_floating_point()
            seen[key] = (
                value.detach().to(device="cpu", dtype=dtype if floating else value.dtype, copy=True).contiguous()
            )
        result[name] = seen[key]
    return result


def plain(value: Any) -> Any:
    """Return a configuration as JSON values: sets sorted, members of an enumeration by value."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(part) for part in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    value = getattr(value, "value", value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def move_whole(scratch: Path, folder: Path) -> None:
    """Give a finished folder its name: every file durable first, then one rename.

    When another process was quicker, its folder stays: it holds the same bytes.
    """
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    try:
        os.replace(scratch, folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(scratch, ignore_errors=True)
    sync_folder(folder.parent)


def scratch_beside(folder: Path) -> Path:
    """Return a name beside ``folder`` that no other process uses: one that was stalled may wake up next to another."""
    return folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}-{secrets.token_hex(4)}")


def remove_scratch(folder: Path) -> None:
    """Remove what interrupted writers left beside ``folder``."""
    for path in folder.parent.glob(f"{TEMPORARY_PREFIX}{folder.name}-*"):
        shutil.rmtree(path, ignore_errors=True)
