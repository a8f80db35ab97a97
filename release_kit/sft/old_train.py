"""Fine-tune one cell: full or LoRA, loss on the completion only, float32 master weights, saved as bfloat16.

Owns the training loop and what it leaves in ``cells/<id>/model``; the folder takes its name in one step when it is
whole. The same cell trained twice with the same threads gives the same bytes.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.sft.batches import IGNORED, Batch, iter_batches, tokenize_example
from release_kit.sft.runtime import compute_type, prepare_runtime, set_seed
from release_kit.sft.settings import LORA, TrainingSettings

TRAINER_STATE_FILE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One run: what to train from, on what, and how."""

    base_folder: Path
    base_hub_id: str
    rows: list[dict[str, Any]]
    method: str
    seed: int
    settings: TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """What a run measured."""

    losses: tuple[float, ...]
    """Mean loss of a completion token, one for each step."""
    n_tokens: int
    n_completion_tokens: int
    compute: str


def train(run: TrainingRun, folder: Path, on_step: Callable[[int, float], None] | None = None) -> TrainingLog:
    """Train and save into ``folder``, which exists afterwards as a whole or not at all.

    Args:
        run: what to do.
        folder: artifact folder to make; an older one is replaced.
        on_step: called after each step with (1-based step, loss).

    Raises:
        MissingExtraError: torch, transformers or peft is not installed.
        ArtifactError: an example does not fit into ``max_length``.
    """
    torch = prepare_runtime(threads=run.settings.threads, seed=run.seed)
    model, tokenizer = _load(run, torch)
    examples = [tokenize_example(tokenizer, row, run.settings.max_length) for row in run.rows]
    log = _fit(model, examples, tokenizer.pad_token_id, run, on_step)
    scratch = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _save(model, tokenizer, scratch, torch)
    state = _trainer_state(run, log)
    write_atomic(scratch / TRAINER_STATE_FILE, canonical.document_bytes(state))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    return log


def completion_loss(model: Any, batch: Batch, dtype: str = "float32") -> Any:
    """Return the mean cross-entropy over completion tokens; the vocabulary is scored at those positions only."""
    import torch

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    labels = torch.from_numpy(batch.labels)[:, 1:]
    wanted = labels != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        states = causal.get_decoder()(
            input_ids=torch.from_numpy(batch.input_ids),
            attention_mask=torch.from_numpy(batch.attention_mask),
            use_cache=False,
        ).last_hidden_state
        logits = causal.get_output_embeddings()(states[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[wanted])


def _load(run: TrainingRun, torch: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.base_folder)
    model = AutoModelForCausalLM.from_pretrained(run.base_folder, dtype=torch.float32)
    if run.method == LORA:
        import peft

        settings = run.settings
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            target_modules=settings.lora_targets,
        )
        set_seed(run.seed)
        model = peft.get_peft_model(model, config)
        model.peft_config["default"].base_model_name_or_path = run.base_hub_id
    return model, tokenizer


def _fit(model: Any, examples: list, pad_id: int, run: TrainingRun, on_step: Callable | None) -> TrainingLog:
    import torch

    settings = run.settings
    dtype = compute_type(settings.compute)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = settings.learning_rate[run.method]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=settings.weight_decay, fused=True)
    model.train()
    losses, n_tokens, n_completion = [], 0, 0
    batches = iter_batches(examples, batch_size=settings.batch_size, steps=settings.steps, seed=run.seed, pad_id=pad_id)
    for step, batch in enumerate(batches, start=1):
        loss = completion_loss(model, batch, dtype)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        n_tokens += int(batch.attention_mask.sum())
        n_completion += batch.n_completion_tokens
        if on_step:
            on_step(step, losses[-1])
    return TrainingLog(losses=tuple(losses), n_tokens=n_tokens, n_completion_tokens=n_completion, compute=dtype)


def _save(model: Any, tokenizer: Any, folder: Path, torch: Any) -> None:
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's card: placeholders and a path of this machine
    else:
        model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _trainer_state(run: TrainingRun, log: TrainingLog) -> dict[str, Any]:
    rate = run.settings.learning_rate[run.method]
    history = [{"step": i, "loss": round(x, 6), "learning_rate": rate} for i, x in enumerate(log.losses, start=1)]
    return {
        "epoch": round(run.settings.steps * run.settings.batch_size / len(run.rows), 4),
        "global_step": run.settings.steps,
        "log_history": history,
        "max_steps": run.settings.steps,
        "num_input_tokens_seen": log.n_tokens,
        "seed": run.seed,
        "train_batch_size": run.settings.batch_size,
    }
