"""Small bilingual language models trained here, with a checkpoint at every step that a recipe keeps.

Owns training with exact resume, the folders ``<size>/step-<n>`` that ``from_pretrained`` reads, and ``series.json``,
which is written last. With ``models/load.py`` the one place of this room that knows transformers. One thread: the same
recipe and pairs give the same bytes on the same machine and libraries, interrupted or not.
"""

import contextlib
import importlib.metadata
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core import canonical
from release_kit.core.errors import MissingExtraError
from release_kit.core.files import LINGER_S, STATE_FOLDER, TEMPORARY_PREFIX, exclusive, write_atomic, write_error
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.pairs import Pair, pairs_digest
from release_kit.sae.prepare.recipes import LmRecipe, LmSize
from release_kit.sae.prepare.rows import dev_rows, rows_of_step, training_rows
from release_kit.sae.prepare.series import (
    CHECKPOINT_FILE,
    SCHEMA_VERSION,
    SERIES_FILE,
    LmSeries,
    file_sha256,
    read_series,
)
from release_kit.sae.prepare.tokenizer import END, PADDING, START, UNKNOWN, learn_tokenizer

RECIPE_VERSION = 1
"""Raised when the same recipe gives other bytes than before."""
STATE_EVERY = 100
"""Steps between two states to resume from; changes nothing in the result."""
_WARMUP, _FLOOR = 0.05, 0.1
_LIBRARIES = ("torch", "transformers", "tokenizers")

OnStep = Callable[[str, int, float], None]
"""Told size, step and training loss."""


def train_language_models(
    recipe: LmRecipe, train: Sequence[Pair], dev: Sequence[Pair], folder: Path, on_step: OnStep | None = None
) -> tuple[LmSeries, ...]:
    """Train every size of a recipe, one after the other; see ``train_language_model``."""
    return tuple(train_language_model(recipe, size.name, train, dev, folder, on_step) for size in recipe.sizes)


def train_language_model(
    recipe: LmRecipe,
    size_name: str,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    folder: Path,
    on_step: OnStep | None = None,
    *,
    state_every: int = STATE_EVERY,
) -> LmSeries:
    """Train one size and keep its checkpoints; goes on where it was stopped, instant when it is finished.

    Args:
        recipe: what to train; sizes may be trained by several processes at once.
        size_name: of the recipe.
        train: pairs to train on.
        dev: pairs whose sentences every checkpoint is measured on; none of them may be in ``train``.
        folder: gets ``<size>/step-<n>/`` and ``<size>/series.json``.
        on_step: told after each step.
        state_every: steps between two states to resume from.

    Returns:
        The finished series.

    Raises:
        SaeError: another recipe's or another text's models lie there, a checkpoint is damaged, there is too little
            text, or the loss is no number.
        ReleaseKitError: the disk is full, or another process trains the same size.
    """
    torch = _torch()
    size = recipe.size(size_name)
    home = folder / size.name
    with exclusive(home, "training", wait_s=LINGER_S), _one_thread(torch):
        fingerprint = series_fingerprint(recipe, size, train, dev)
        if (series := read_series(home, fingerprint)) is not None:
            return series
        tokenizer = _tokenizer(recipe, train)
        rows = training_rows(recipe, train, tokenizer)
        model = _untrained(recipe, size, tokenizer)
        run = _Run(torch=torch, recipe=recipe, size=size, home=home, fingerprint=fingerprint, tokenizer=tokenizer,
                   model=model, rows=rows, dev=dev_rows(dev, tokenizer))  # fmt: skip
        run.train(state_every, on_step)
        return run.finish()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Training of one size, with what it needs at every step."""

    torch: Any
    recipe: LmRecipe
    size: LmSize
    home: Path
    fingerprint: str
    tokenizer: Any
    model: Any
    rows: npt.NDArray[np.int32]
    dev: Mapping[str, list[list[int]]]

    @property
    def state(self) -> Path:
        return self.home / STATE_FOLDER / "state.safetensors"

    def train(self, state_every: int, on_step: OnStep | None) -> None:
        """Go from the kept state, or from the start, to the last step; checkpoints are written on the way."""
        torch, recipe = self.torch, self.recipe
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, foreach=True
        )
        step = self._restore(optimizer)
        if step == 0 and 0 in recipe.keep:
            self._keep_checkpoint(0)
        while step < recipe.steps:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
            loss = _loss(self.model, torch.from_numpy(rows_of_step(self.rows, recipe, step)))
            value = self._finite(loss.item(), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step in recipe.keep:
                self._keep_checkpoint(step)
            if step % state_every == 0 or step == recipe.steps:
                self._keep_state(optimizer, step)
            if on_step:
                on_step(self.size.name, step, value)

    def finish(self) -> LmSeries:
        """Write ``series.json``, and remove what only an unfinished training needs."""
        folders = {step: self.home / f"step-{step}" for step in self.recipe.keep}
        record = {
            "schema_version": SCHEMA_VERSION,
            "size": self.size.name,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe.to_dict(),
            "n_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "checkpoints": {str(step): file_sha256(folder / CHECKPOINT_FILE) for step, folder in folders.items()},
            "versions": _versions(),
        }
        write_atomic(self.home / SERIES_FILE, canonical.document_bytes(record))
        self.state.unlink(missing_ok=True)
        series = read_series(self.home)
        assert series is not None
        return series

    def _keep_checkpoint(self, step: int) -> None:
        """Write ``step-<n>`` in one piece: weights, tokenizer, and what was measured of them."""
        target = self.home / f"step-{step}"
        scratch = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
            self.model.save_pretrained(scratch)
            self.tokenizer.save_pretrained(scratch)
            record = {
                "schema_version": SCHEMA_VERSION,
                "step": step,
                "n_tokens": step * self.recipe.batch_rows * (self.recipe.context - 1),
                "dev_nll": {
                    name: self._finite(_dev_nll(self.torch, self.model, rows), step) for name, rows in self.dev.items()
                },
                "files": {path.name: file_sha256(path) for path in sorted(scratch.iterdir())},
            }
            write_atomic(scratch / CHECKPOINT_FILE, canonical.document_bytes(record))
            shutil.rmtree(target, ignore_errors=True)
            os.replace(scratch, target)
        except OSError as error:
            raise write_error(target, error) from error

    def _finite(self, loss: float, step: int) -> float:
        if not math.isfinite(loss):
            step_to_take = "lower `learning_rate` in the recipe"
            raise SaeError(f"the loss is {loss} at step {step}", where=f"size {self.size.name}", next_step=step_to_take)
        return loss

    def _keep_state(self, optimizer: Any, step: int) -> None:
        """Write weights and moments in one file, so that no half state can be read."""
        from safetensors.torch import save

        tensors = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"weight/{name}"] = parameter.detach()
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
        write_atomic(self.state, save(tensors, {"step": str(step), "fingerprint": self.fingerprint}))

    def _restore(self, optimizer: Any) -> int:
        """Put the kept state into model and optimizer; return the steps that are done, 0 without a usable one."""
        from safetensors import SafetensorError, safe_open

        if not self.state.is_file():
            return 0
        try:
            with safe_open(self.state, "pt") as file:
                kept = file.metadata() or {}
                if kept.get("fingerprint") != self.fingerprint:
                    return 0
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return 0
        step = int(kept["step"])
        with self.torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"weight/{name}"])
                moments = {moment: tensors[f"{moment}/{name}"] for moment in ("exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {"step": self.torch.tensor(float(step)), **moments}
        return step


def _torch() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "sft") from error
    transformers.utils.logging.disable_progress_bar()
    return torch


@contextlib.contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Sums depend on the number of threads, so it is one, whatever the process uses otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tokenizer(recipe: LmRecipe, train: Sequence[Pair]) -> Any:
    from transformers import PreTrainedTokenizerFast

    sentences = [text for pair in train for text in (pair.en, pair.ja)]
    return PreTrainedTokenizerFast(
        tokenizer_object=learn_tokenizer(sentences, recipe.vocab_size), bos_token=START, eos_token=END,
        pad_token=PADDING, unk_token=UNKNOWN, model_max_length=_positions(recipe), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _positions(recipe: LmRecipe) -> int:
    return max(2 * recipe.context, 128)


def series_fingerprint(recipe: LmRecipe, size: LmSize, train: Sequence[Pair], dev: Sequence[Pair]) -> str:
    """Return the digest of everything that decides the bytes of a size; other sizes of the recipe do not."""
    shared = {key: value for key, value in recipe.to_dict().items() if key != "sizes"}
    return canonical.digest(
        {"recipe": shared, "size": asdict(size), "train": pairs_digest(train), "dev": pairs_digest(dev),
         "versions": _versions(), "code": RECIPE_VERSION}
    )  # fmt: skip


def _versions() -> dict[str, str]:
    return {library: importlib.metadata.version(library) for library in _LIBRARIES}


def _dev_nll(torch: Any, model: Any, rows: Sequence[Sequence[int]]) -> float:
    """Return the mean loss per token (nats) of sentences, the end token counted."""
    total, n = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(rows), 64):
            part = [list(row) for row in rows[start : start + 64]]
            longest = max(map(len, part))
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in part])
            real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in part])
            logits = model(input_ids=ids[:, :-1], attention_mask=real[:, :-1], use_cache=False).logits
            wanted = ids[:, 1:].masked_fill(real[:, 1:] == 0, -100)
            total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum"))
            n += int((wanted >= 0).sum())
    return round(total / max(n, 1), 6)


def _untrained(recipe: LmRecipe, size: LmSize, tokenizer: Any) -> Any:
    """Return the model at step 0, drawn from the recipe's seed without touching the process's own generator."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.hidden_size, intermediate_size=size.intermediate_size,
        num_hidden_layers=size.n_layers, num_attention_heads=size.n_heads, num_key_value_heads=size.n_heads,
        max_position_embeddings=_positions(recipe), tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config).float()


def _loss(model: Any, rows: Any) -> Any:
    """Return the mean next-token loss of (n_rows, n_tokens) rows."""
    import torch

    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def _schedule(step: int, n_steps: int) -> float:
    warm = max(1, round(_WARMUP * n_steps))
    if step < warm:
        return (step + 1) / warm
    return _FLOOR + (1 - _FLOOR) / 2 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
