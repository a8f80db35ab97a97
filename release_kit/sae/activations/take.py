"""Activations of one batch of rows: one forward pass, all layers, only real tokens, nothing that is no number."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from release_kit.sae.activations.tokens import Batch, TokenBatches
from release_kit.sae.errors import ActivationError
from release_kit.sae.models.hooks import residuals
from release_kit.sae.models.load import LanguageModel

if TYPE_CHECKING:
    import torch


def take(lm: LanguageModel, tokens: TokenBatches, batch: Batch, layers: Sequence[int]) -> Mapping[int, "torch.Tensor"]:
    """Return layer → (n_kept, d_model) in the model's type on the CPU, tokens in the order of ``batch.index[kept]``.

    Raises:
        ActivationError: there is no such layer, memory ran out, or a value is no number; document and layer are named.
    """
    import torch

    kept = batch.kept()
    try:
        seen = residuals(lm, batch.input_ids, batch.mask, layers)
        values = {layer: seen[layer][kept.to(seen[layer].device)].cpu() for layer in layers}
    except (torch.OutOfMemoryError, MemoryError) as error:
        what = f"memory ran out in a batch of {tuple(batch.input_ids.shape)} tokens"
        raise ActivationError(what, where=lm.label(), next_step="take fewer `batch_tokens`") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        what = f"memory ran out in a batch of {tuple(batch.input_ids.shape)} tokens"
        raise ActivationError(what, where=lm.label(), next_step="take fewer `batch_tokens`") from error
    for layer, x in values.items():
        _refuse_no_numbers(x, layer, batch.index[kept], tokens, lm)
    return values


def check_ids(lm: LanguageModel, tokens: TokenBatches) -> None:
    """Refuse tokens that another model's tokenizer made.

    Raises:
        ActivationError: an id has no embedding, or rows are longer than the model's positions.
    """
    n_embeddings = lm.model.get_input_embeddings().weight.shape[0]
    if int(tokens.ids.max()) >= n_embeddings:
        what = f"the token id {int(tokens.ids.max())} is beyond the {n_embeddings} embeddings"
        raise ActivationError(what, where=lm.label(), next_step="tokenise the texts with this model's tokenizer")
    positions = getattr(lm.model.config.get_text_config(), "max_position_embeddings", None)
    longest = int(tokens.row_lengths().max()) + (tokens.bos is not None)
    if positions is not None and longest > positions:
        what = f"a row has {longest} tokens, the model {positions} positions"
        raise ActivationError(what, where=lm.label(), next_step=f"tokenise with a context of at most {positions}")


def _refuse_no_numbers(
    x: "torch.Tensor", layer: int, index: "torch.Tensor", tokens: TokenBatches, lm: LanguageModel
) -> None:
    import torch

    finite = torch.isfinite(x).all(dim=1)
    if bool(finite.all()):
        return
    token = int(index[int((~finite).nonzero()[0, 0])])
    text = tokens.texts[int(tokens.document[token])]
    what = f"an activation is no number (token {int(tokens.position[token])} of the text {text.id!r})"
    step = "load the model in float32, or leave this text out; nothing of it was kept"
    raise ActivationError(what, where=f"{lm.label()}, layer {layer}", next_step=step)
