"""Log-likelihoods of planned rows under a model in memory: keys and values of trunks kept, branches masked apart.

Owns the forward passes over ``plan.Row`` and the arithmetic from logits to (log-likelihood, greedy). Which tokens share
a row is ``plan.py``'s decision; tokenising and metrics are the harness's. Works with every decoder of transformers
that takes a mask of four dimensions and position ids; ``refusal`` says why a model does not.
"""

import inspect
import math
import weakref
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from release_kit.sft.evaluate.plan import ROW_TOKENS, Row, Scored, plan_rows

HEAD_ELEMENTS = 16_777_216
"""Logits turned into probabilities at a time; bounds memory, changes no value."""
PROBE_TOLERANCE = 1e-3
"""Nats by which packed and single scores of the probe may differ; real differences are below 1e-4 in float32."""


_PROBED: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
"""Module → what the probe found; new weights in a module change nothing in how it masks."""


def refusal(module: Any, longest: int) -> str | None:
    """Return why packed rows would not give this model's own scores, None when they do.

    Args:
        module: a causal language model of transformers, or a PEFT model around one.
        longest: tokens of the longest text.
    """
    inner = getattr(module, "get_base_model", lambda: module)()
    takes = inspect.signature(inner.forward).parameters
    lacking = [name for name in ("position_ids", "logits_to_keep", "past_key_values") if name not in takes]
    if lacking:
        return f"{type(inner).__name__} does not take {', '.join(lacking)}"
    config = inner.config
    if getattr(config, "is_encoder_decoder", False):
        return f"{type(inner).__name__} is an encoder-decoder"
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and longest > window:
        return f"texts of {longest} tokens do not fit the sliding window of {window}"
    if inner not in _PROBED:
        try:
            worst = _probe(module)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            worst = math.inf  # A model with another kind of memory than keys and values.
        if math.isnan(worst):
            return None  # Weights that are not numbers; the scorer names them.
        _PROBED[inner] = worst
    if _PROBED[inner] > PROBE_TOLERANCE:
        return f"{type(inner).__name__} scores a packed text otherwise than the text alone"
    return None


def score_rows(
    module: Any, rows: Sequence[Row], requests: Sequence[Scored], *, skip: Collection[int] = ()
) -> Iterator[tuple[int, dict[int, tuple[float, bool]]]]:
    """Yield ``(index of the row, {request: (log-likelihood, greedy)})`` for every row that is not in ``skip``.

    The log-likelihood is ``sum_i log softmax(logits_i)[target_i]`` in nats; greedy says whether every target is the
    most likely token. Each row's values depend on the row and the model alone, so skipping rows changes none.

    Args:
        module: the model, in evaluation mode.
        rows: what ``plan.plan_rows`` returned for ``requests``.
        requests: the texts.
        skip: rows whose values are known already.
    """
    import torch

    trunk = _Trunk(module)
    with torch.inference_mode():
        for index, row in enumerate(rows):
            if index not in skip:
                logits, order = _forward(module, row, trunk)
                yield index, _read(logits, order, row, requests)


class _Trunk:
    """Keys and values of the prefix that the current rows share; nested prefixes are extended, not computed again."""

    def __init__(self, module: Any):
        from transformers import DynamicCache

        self._module, self.cache, self._pieces = module, DynamicCache(), ()

    def move(self, pieces: tuple[tuple[int, ...], ...]) -> int:
        """Hold exactly ``pieces`` and return their number of tokens."""
        import torch

        kept = 0
        while kept < min(len(pieces), len(self._pieces)) and pieces[kept] == self._pieces[kept]:
            kept += 1
        length = sum(map(len, pieces[:kept]))
        self.cut(length)
        for piece in pieces[kept:]:
            device = self._module.device
            positions = torch.arange(length, length + len(piece), device=device).unsqueeze(0)
            ids = torch.tensor([piece], device=device)
            self._module(
                input_ids=ids, position_ids=positions, past_key_values=self.cache, use_cache=True, logits_to_keep=1
            )
            length += len(piece)
        self._pieces = pieces
        return length

    def cut(self, length: int) -> None:
        """Forget everything after the first ``length`` tokens."""
        for layer in self.cache.layers:
            if layer.is_initialized:
                layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


def _forward(module: Any, row: Row, trunk: _Trunk) -> tuple[Any, dict[int, int]]:
    """Return the logits at the wanted places, (n_wanted, vocabulary), and place → index in them."""
    import torch

    device = module.device
    length = trunk.move(row.trunk)
    places = sorted({place for wanted in row.wanted for place in wanted.positions})
    extra = {"past_key_values": trunk.cache, "use_cache": True} if length else {"use_cache": False}
    output = module(
        input_ids=torch.tensor([row.ids], device=device),
        position_ids=torch.tensor([row.depths()], device=device),
        attention_mask=None if row.is_chain else _mask(row, length, next(module.parameters()).dtype, device),
        logits_to_keep=torch.tensor(places, device=device),
        **extra,
    )
    if length:
        trunk.cut(length)
    return output.logits[0], {place: index for index, place in enumerate(places)}


def _mask(row: Row, length: int, dtype: Any, device: Any) -> Any:
    """Return the additive mask, (1, 1, n_tokens, length + n_tokens): a token sees the trunk and its own ancestors."""
    import numpy as np
    import torch

    n_tokens = len(row.ids)
    seen = np.zeros((n_tokens, n_tokens), dtype=bool)
    for place, parent in enumerate(row.parents):
        if parent >= 0:
            seen[place] = seen[parent]
        seen[place, place] = True
    seen = np.concatenate([np.ones((n_tokens, length), dtype=bool), seen], axis=1)
    hidden = torch.from_numpy(~seen).to(device)
    mask = torch.zeros((1, 1, *seen.shape), dtype=dtype, device=device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)


def _read(logits: Any, order: dict[int, int], row: Row, requests: Sequence[Scored]) -> dict[int, tuple[float, bool]]:
    """Turn logits into (log-likelihood, greedy) of every request of the row."""
    import torch

    places, targets = [], []
    for wanted in row.wanted:
        places += [order[place] for place in wanted.positions]
        targets += requests[wanted.request].targets
    index, target = torch.tensor(places, device=logits.device), torch.tensor(targets, device=logits.device)
    chosen, best = torch.empty(len(places), dtype=torch.float32, device=logits.device), []
    step = max(HEAD_ELEMENTS // logits.shape[-1], 1)
    for start in range(0, len(logits), step):
        # The harness's own operation. It rounds by about 1e-5 nats a token in a large vocabulary; one that rounds
        # better would give perplexities that part from the harness's in the fifth digit.
        part = torch.log_softmax(logits[start : start + step].float(), dim=-1)
        best += part.argmax(dim=-1).tolist()
        here = (index >= start) & (index < start + step)
        chosen[here] = part[index[here] - start, target[here]]
    values, result, start = chosen.double().tolist(), {}, 0
    for wanted in row.wanted:
        end = start + len(wanted.positions)
        greedy = all(best[place] == target for place, target in zip(places[start:end], targets[start:end], strict=True))
        result[wanted.request] = (math.fsum(values[start:end]), greedy)
        start = end
    return result


def _probe(module: Any) -> float:
    """Return by how much packed scores of three short texts differ from the same texts alone, in nats."""
    vocabulary = module.get_input_embeddings().weight.shape[0]
    shared = tuple(range(3, 43))
    tails = ((5, 9, 4), (8, 6, 7, 3), (4, 4))
    texts = [
        Scored(inputs=tuple(t % vocabulary for t in (*shared, *tail)), targets=tuple(t % vocabulary for t in tail))
        for tail in tails
    ]
    packed = _all(module, texts, plan_rows(texts, row_tokens=8, min_trunk=4))
    branched = _all(module, texts, plan_rows(texts, row_tokens=ROW_TOKENS))
    worst = 0.0
    for index, text in enumerate(texts):
        alone = _all(module, [text], plan_rows([text]))[0][0]
        differences = (abs(alone - packed[index][0]), abs(alone - branched[index][0]))
        worst = math.nan if math.isnan(sum(differences)) else max(worst, *differences)
    return worst


def _all(module: Any, texts: Sequence[Scored], rows: Sequence[Row]) -> dict[int, tuple[float, bool]]:
    """Return the values of all rows."""
    values: dict[int, tuple[float, bool]] = {}
    for _, part in score_rows(module, rows, texts):
        values |= part
    return values
