"""Small base models that the project trains itself, so that "base" is a real factor without any download.

Owns the recipe (``source: {pretrain: …}`` of a base model), the training loop with exact resume, and the folder it
ends in: a Llama that ``from_pretrained`` reads. Text and tokenizer are ``texts.py``.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, write_atomic
from release_kit.core.records import Fields
from release_kit.sft.prepare.records import WEIGHTS_FILE
from release_kit.sft.prepare.texts import (
    read_texts,
    split_documents,
    token_stream,
    train_tokenizer,
    window_batch,
)

CHECKPOINT_EVERY = 100
WARMUP = 0.05
"""Part of the steps in which the learning rate rises; then it falls along a cosine to a tenth."""
STATE_FILE = "state.safetensors"
N_HELD_OUT_ROWS = 64
_SIZES = {
    "model": {"hidden_size": None, "n_layers": None, "n_heads": None, "max_length": 512},
    "tokenizer": {"vocab_size": 2048},
    "": {"steps": None, "batch": 8, "seq_len": 128, "seed": 0},
}
"""Whole numbers of a recipe with their defaults, by the mapping that holds them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a small base model is pre-trained."""

    text: tuple[str, ...]
    """Sources of text (``sources.py``), training parts only."""
    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    max_length: int
    """Positions that the model has."""
    steps: int
    batch: int
    """Windows of one step."""
    seq_len: int
    """Tokens of one window."""
    learning_rate: float
    seed: int

    @classmethod
    def from_fields(cls, fields: Fields) -> "Recipe":
        """Read ``source.pretrain`` of a base model in ``study.yaml``.

        Raises:
            RecordError: a key is missing, unknown, of another type or out of range.
        """
        values: dict[str, Any] = {"text": tuple(fields.take_list("text", str))}
        if not values["text"]:
            raise fields.error("text", "names no source of text")
        for part, sizes in _SIZES.items():
            inner = fields.child(part, {}) if part else fields
            values |= {name: _whole(inner, name, default) for name, default in sizes.items()}
            if part:
                inner.done()
        values["learning_rate"] = float(fields.take("learning_rate", (int, float), 3e-3))
        fields.done()
        if values["hidden_size"] % (2 * values["n_heads"]):
            raise fields.error("model.hidden_size", "is not a multiple of twice n_heads")
        if values["seq_len"] > values["max_length"]:
            raise fields.error("seq_len", f"is more than the model's max_length, {values['max_length']}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, flat."""
        return {**asdict(self), "text": list(self.text)}


def pretrain(
    recipe: Recipe,
    folder: Path,
    where: str,
    on_step: Callable[[int, float], None] | None = None,
    *,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> dict[str, Any]:
    """Train the model of ``recipe`` and put checkpoint and tokenizer into ``folder``; continues where it was stopped.

    The same recipe gives the same bytes on the same machine and libraries, interrupted or not. Weights are saved as
    bfloat16, and the recorded losses are of these.

    Args:
        recipe: what to train.
        folder: the model's folder; replaced. State is kept in ``state_folder(folder)``; whoever calls removes it when
            the folder is recorded as finished.
        where: the place in ``study.yaml``, for messages.
        on_step: called with (step, training loss) after each step.
        checkpoint_every: steps between two states to resume from; changes nothing in the result.

    Returns:
        ``{"texts": [...], "facts": {...}, "n_parameters": int}``.

    Raises:
        ArtifactError: the loss is not a number, or there is less text than one window.
    """
    from release_kit.sft.runtime import prepare_runtime

    torch = prepare_runtime(seed=recipe.seed)
    texts = read_texts(recipe.text, where)
    training, held_out = split_documents(texts)
    tokenizer = train_tokenizer(training, recipe.vocab_size, recipe.max_length)
    streams = [token_stream(documents, tokenizer) for documents in (training, held_out)]
    if min(map(len, streams)) < recipe.seq_len:
        raise ArtifactError("there is too little text for one window", where=where, next_step="name more `text`")
    model = build_model(recipe, tokenizer)
    before = held_out_loss(model, streams[1], recipe)
    state = state_folder(folder)
    _train(torch, model, streams[0], recipe, state, checkpoint_every, on_step)
    model.to(torch.bfloat16)
    _save(model, tokenizer, folder)
    facts = {
        "first_loss": before,
        "final_loss": held_out_loss(model.float(), streams[1], recipe),
        "chance_loss": math.log(len(tokenizer)),
        "n_text_tokens": len(streams[0]),
        "n_trained_tokens": recipe.steps * recipe.batch * (recipe.seq_len - 1),
    }
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"texts": [text.to_dict() for text in texts], "facts": facts, "n_parameters": n_parameters}


def state_folder(folder: Path) -> Path:
    """Return where the state of the training of ``folder`` lies, beside it."""
    return folder.parent / STATE_FOLDER / folder.name


def build_model(recipe: Recipe, tokenizer):
    """Return the untrained model: a Llama with tied embeddings, initialised from the recipe's seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=math.ceil(recipe.hidden_size * 8 / 3 / 32) * 32,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=recipe.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).float()


def held_out_loss(model, stream, recipe: Recipe) -> float:
    """Return the mean loss per token, in nats, of consecutive windows at the start of the held-out text."""
    import torch

    n_rows = min(N_HELD_OUT_ROWS, len(stream) // recipe.seq_len)
    rows = torch.tensor(stream[: n_rows * recipe.seq_len].reshape(n_rows, recipe.seq_len), dtype=torch.long)
    model.eval()
    with torch.no_grad():
        losses = [_loss(model, part).item() * len(part) for part in rows.split(8)]
    model.train()
    return round(sum(losses) / n_rows, 6)


def _train(torch, model, stream, recipe: Recipe, state: Path, checkpoint_every: int, on_step) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, foreach=True
    )
    model.train()
    for step in range(_restore(model, optimizer, recipe, state), recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
        batch = window_batch(stream, n_rows=recipe.batch, n_tokens=recipe.seq_len, seed=recipe.seed, step=step)
        loss = _loss(model, torch.from_numpy(batch))
        value = loss.item()
        if not math.isfinite(value):
            step_to_take = "lower `learning_rate` in its recipe and run again"
            raise ArtifactError(f"the loss is {value} at step {step}", where=str(state), next_step=step_to_take)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            _keep(model, optimizer, recipe, state, step + 1)
        if on_step:
            on_step(step + 1, value)


def _loss(model, rows):
    """Return the mean next-token loss of (n_rows, n_tokens) rows."""
    import torch

    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def _schedule(step: int, n_steps: int) -> float:
    warm = max(1, round(WARMUP * n_steps))
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))


def _keep(model, optimizer, recipe: Recipe, state: Path, step: int) -> None:
    """Write weights and moments after ``step`` in one file, so that no half state can be read."""
    from safetensors.torch import save

    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight/{name}"] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    metadata = {"step": str(step), "recipe": json.dumps(recipe.to_dict(), sort_keys=True)}
    write_atomic(state / STATE_FILE, save(tensors, metadata))


def _restore(model, optimizer, recipe: Recipe, state: Path) -> int:
    """Put the kept state of this recipe into model and optimizer; return the steps that are done."""
    from safetensors import safe_open

    path = state / STATE_FILE
    if not path.is_file():
        return 0
    import torch

    with safe_open(path, "pt") as file:
        kept = file.metadata()
        if canonical.parse_json(kept["recipe"], str(path)) != recipe.to_dict():
            return 0
        step = int(kept["step"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(file.get_tensor(f"weight/{name}"))
                moments = {moment: file.get_tensor(f"{moment}/{name}") for moment in ("exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


def _save(model, tokenizer, folder: Path) -> None:
    scratch = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    if not (scratch / WEIGHTS_FILE).is_file():
        raise ArtifactError(f"transformers wrote no {WEIGHTS_FILE}", where=str(scratch))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)


def _whole(fields: Fields, name: str, default: int | None) -> int:
    value = fields.take(name, int) if default is None else fields.take(name, int, default)
    if value < (0 if name == "seed" else 1):
        raise fields.error(name, f"is {value}; it must be positive")
    return value


def recipe_of(value: Mapping[str, Any], where: str, key: str) -> Recipe:
    """Return the recipe of ``source: {pretrain: value}`` that stands at ``key`` of the file ``where``."""
    return Recipe.from_fields(Fields(dict(value), where, key))
