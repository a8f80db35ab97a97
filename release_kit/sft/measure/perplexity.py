"""How surprised a base model is by every example: negative log-likelihoods of the answer and of the whole text.

Examples are tokenised and shown as training shows them (``data/tokens.py``), several to a row, each seeing only itself.
What is kept are sums for each example, from which the perplexity of any dataset or mixture follows:
``exp(Σ nll / Σ tokens)``. Sums for each byte make bases with different tokenizers comparable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError
from release_kit.sft.data.columns import Row
from release_kit.sft.data.packing import build_micro_batch, pack_rows
from release_kit.sft.data.tokens import Encoded, encode, pad_id
from release_kit.sft.spec.settings import TrainingSettings

ROW_TOKENS = 512
"""Tokens of one packed row: longer rows are slower for each token, since attention grows with their square."""

SUMS = (
    "n_tokens", "n_scored", "n_completion_scored", "nll_full", "nll_completion", "bytes_full",
    "bytes_completion",
)  # fmt: skip
"""Columns of a part, a row for each example; null where the example cannot be shown."""


@dataclass(frozen=True, kw_only=True)
class OpenBase:
    """A base model in memory."""

    model: Any
    tokenizer: Any


def open_base(folder: Path) -> OpenBase:
    """Load a base model in float32, on one thread.

    Raises:
        ArtifactError: transformers cannot load it.
    """
    from release_kit.sft.runtime import prepare_runtime

    torch = prepare_runtime()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"cannot be loaded ({' '.join(str(error).split())[:200]})", where=str(folder)) from error
    return OpenBase(model=model, tokenizer=tokenizer)


def losses_table(base: OpenBase, rows: Sequence[Row], settings: TrainingSettings):
    """Return the Arrow table of ``SUMS`` for some examples, in their order.

    ``full`` counts every token but the first, which nothing precedes; ``completion`` the answer with the token that
    closes it. Prompts that are too long lose their left end, as ``truncation: prompt`` says, whatever the run does.
    Bytes are those of the tokens' text; closing tokens have a loss and no bytes.

    Raises:
        ArtifactError: the model gives a value that is not finite.
    """
    import pyarrow as pa

    shown = replace(settings, loss_on="completion", truncation="prompt")
    encoded = list(encode(rows, base.tokenizer, shown))
    values = [_counts(base.tokenizer, item) for item in encoded]
    whole = [index for index, item in enumerate(encoded) if item.example is not None]
    for index, sums in zip(whole, _losses(base, [encoded[i].example for i in whole]), strict=True):
        values[index] |= sums
    schema = pa.schema([pa.field(name, pa.float64() if name.startswith("nll") else pa.int64()) for name in SUMS])
    return pa.Table.from_pylist(values, schema=schema)


def _counts(tokenizer: Any, item: Encoded) -> dict[str, int | None]:
    found: dict[str, Any] = {"n_tokens": item.n_tokens_before}
    if item.example is None:
        return found
    ids, loss = item.example.ids, item.example.loss
    found |= {"n_scored": len(ids) - 1, "n_completion_scored": int(loss.sum())}
    found["bytes_full"] = _n_bytes(tokenizer, ids[1:])
    found["bytes_completion"] = _n_bytes(tokenizer, ids[loss])
    return found


def _n_bytes(tokenizer: Any, ids: Any) -> int:
    text = tokenizer.decode(ids.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return len(text.encode("utf-8", "surrogatepass"))


def _losses(base: OpenBase, examples: Sequence[Any]) -> list[dict[str, float]]:
    """Return the sums of each example; a row of packed examples goes through the model at a time."""
    lengths = [len(example.ids) for example in examples]
    found: list[dict[str, float]] = [{} for _ in examples]
    for pack in pack_rows(range(len(examples)), lengths, max(ROW_TOKENS, max(lengths, default=0))):
        batch = build_micro_batch(examples, [pack], pad_id(base.tokenizer))
        losses, start = token_losses(base.model, batch.input_ids, batch.position_ids), 0
        for index in pack:
            here = slice(start + 1, start + lengths[index])
            completion = float(losses[here][examples[index].loss[1:]].sum())
            found[index] = {"nll_full": float(losses[here].sum()), "nll_completion": completion}
            start += lengths[index]
    return found


def token_losses(model: Any, input_ids: Any, position_ids: Any) -> Any:
    """Return ``-ln p(token | tokens before it)`` of one packed row as ``(n_tokens,) float64``.

    The value of a token that opens an example is of no meaning.

    Args:
        model: a causal model of transformers.
        input_ids: (1, n_tokens) int64.
        position_ids: (1, n_tokens) int64, from 0 in each example; without a mask and without a cache the attention is
            block-diagonal by them.

    Raises:
        ArtifactError: not finite.
    """
    import numpy as np
    import torch

    ids, positions = torch.from_numpy(input_ids), torch.from_numpy(position_ids)
    with torch.inference_mode():
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        inside = positions[0, 1:] > 0
        if not torch.isfinite(losses[inside]).all():
            what = "gives a loss that is not finite"
            raise ArtifactError(what, where=model.name_or_path or "base model", next_step="look at its weights")
    return np.concatenate([[0.0], losses.double().numpy()])
