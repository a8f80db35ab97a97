"""Latents of language models: hidden states of chosen layers in one forward pass, pooled over a bin's own tokens.

Layer 0 is the output of the embeddings, layer k that of the k-th block, as transformers counts ``hidden_states``; most
models put their last norm into the last one. The published code names ``hidden_states[k]`` "layer k + 1".

Inputs are computed in batches of equal length as far as there are, padded on the right and masked, so a text's latent
does not depend on its neighbours beyond rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.items import Item, Prepared
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts
from release_kit.encoding.features.tokens import TokenIds, Tokens

OWN_CODE_ONLY = {"local_files_only": True, "trust_remote_code": False}
"""Of every folder that is loaded: nothing is fetched. Without the second, transformers asks on the terminal whether to
run the code of a model folder, and a ``y`` from anywhere runs it."""


class TextModel:
    """A causal or encoder language model in memory.

    Args:
        spec: folder of the model, layers, pooling, context, limit.

    Raises:
        FeatureError: the folder is not that of such a model, its weights do not fit its configuration, or it has fewer
            layers.
    """

    def __init__(self, spec: FeatureSpec):
        from transformers import AutoModel, AutoTokenizer

        assert spec.model is not None
        self._spec = spec
        where = f"features.{spec.name}, model {spec.model}"
        tokenizer = load(lambda: AutoTokenizer.from_pretrained(spec.model, **OWN_CODE_ONLY), where)
        model = load_weights(AutoModel, spec.model, spec.dtype, spec.device, where)
        self._tokens = Tokens(tokenizer, model, spec)
        self._model = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
        probe = first_states(lambda: self._states([self._probe(where)]), "texts", where)
        self.layers = chosen_layers(spec, len(probe), where)
        self._widths = tuple(int(probe[k].shape[-1]) for k in self.layers)

    def widths(self) -> tuple[int, ...]:
        """Return the number of features of each layer."""
        return self._widths

    def prepare(self, binned: BinnedTexts, items: Sequence[Item]) -> Prepared:
        """Return token ids of every item, and how many were cut to the length that the model reads."""
        inputs = self._tokens.encode(items)
        known = [each for each in inputs if each is not None]
        counts = {
            "without_tokens": len(inputs) - len(known),
            "tokens": sum(each.own_end - each.own_start for each in known),
            "truncated": sum(each.own_cut for each in known),
            "contexts_truncated": sum(each.context_cut for each in known),
        }
        return Prepared(usable=np.array([each is not None for each in inputs], bool), counts=counts, inputs=inputs)

    def vectors(self, prepared: Prepared) -> Iterator[tuple[npt.NDArray[np.int64], list[FloatArray]]]:
        """Yield places of usable items and their pooled states ``(n, width)``, the longest inputs first."""
        order = np.flatnonzero(prepared.usable)
        lengths = np.array([len(prepared.inputs[k].ids) for k in order], np.int64)
        order = order[np.argsort(-lengths, kind="stable")]
        for start in range(0, len(order), self._spec.batch_size):
            places = order[start : start + self._spec.batch_size]
            yield places, self._pooled([prepared.inputs[k] for k in places])

    def _pooled(self, inputs: list[TokenIds]) -> list[FloatArray]:
        import torch

        states = self._states(inputs)
        device = states[0].device
        if self._spec.pooling == "last":
            rows = torch.arange(len(inputs), device=device)
            last = torch.tensor([each.own_end - 1 for each in inputs], device=device)
            return [states[k][rows, last].float().cpu().numpy() for k in self.layers]
        place = torch.arange(states[0].shape[1], device=device)
        bounds = torch.tensor([[each.own_start, each.own_end] for each in inputs], device=device)
        own = ((place >= bounds[:, :1]) & (place < bounds[:, 1:])).float().unsqueeze(-1)
        return [((states[k].float() * own).sum(1) / own.sum(1)).cpu().numpy() for k in self.layers]

    def _states(self, inputs: list[TokenIds]) -> Sequence[Any]:
        import torch

        width = max(len(each.ids) for each in inputs)
        ids = torch.full((len(inputs), width), self._tokens.pad_id)
        mask = torch.zeros((len(inputs), width), dtype=torch.long)
        for row, each in enumerate(inputs):
            ids[row, : len(each.ids)] = torch.tensor(each.ids)
            mask[row, : len(each.ids)] = 1
        with torch.inference_mode():
            moved = {"input_ids": ids.to(self._model.device), "attention_mask": mask.to(self._model.device)}
            return self._model(**moved, output_hidden_states=True).hidden_states

    def _probe(self, where: str) -> TokenIds:
        found = self._tokens.encode([Item("a")])[0]
        if found is None:
            raise FeatureError("its tokenizer makes no token of a letter", where=where)
        return found


def load(read: Callable[[], Any], where: str) -> Any:
    """Return what ``read`` loads; nothing is fetched, and no progress is shown.

    Raises:
        FeatureError: transformers cannot read the folder.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        return read()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        step = "name the folder that save_pretrained wrote, with its tokenizer or processor"
        raise FeatureError(f"transformers cannot read it ({lines[0][:300]})", where=where, next_step=step) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def first_states(ask: Callable[[], Any], read: str, where: str) -> Sequence[Any]:
    """Return the hidden states of a model's smallest input: the first time that it is asked for any.

    Args:
        ask: the call.
        read: what the input is, for the sentence.
        where: the feature space and its model.

    Raises:
        FeatureError: the model cannot read such an input, or gives no hidden states.
    """
    step = "name a model of this kind, or another kind for this model"
    try:
        states = ask()
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise FeatureError(f"it cannot read {read} ({lines[0][:300]})", where=where, next_step=step) from error
    if not isinstance(states, (tuple, list)) or any(not hasattr(state, "shape") for state in states):
        raise FeatureError("it gives no hidden states that could be pooled", where=where, next_step=step)
    return states


def load_weights(kind: Any, folder: Path, dtype: str, device: str, where: str) -> Any:
    """Return a model with the weights of a folder on a device, ready to be asked.

    Raises:
        FeatureError: there is no such device, the folder cannot be read, or weights are missing in it: transformers
            would draw them at random.
    """
    import torch

    model, facts = load(
        lambda: kind.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **OWN_CODE_ONLY
        ),
        where,
    )
    # What pools for a classifier is not a hidden state, and checkpoints leave it out.
    absent = sorted(key for key in facts["missing_keys"] if "pooler" not in key)
    if absent or facts.get("mismatched_keys"):
        named = ", ".join([*absent, *(str(key) for key in facts.get("mismatched_keys", ()))][:3])
        step = "its config.json is another model's, or the download is incomplete"
        raise FeatureError(f"weights are missing, or of another shape: {named}", where=where, next_step=step)
    try:
        return model.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        what = f"the device {device!r} cannot be used ({str(error).splitlines()[0][:200]})"
        raise FeatureError(what, where=where, next_step="take cpu") from error


def chosen_layers(spec: FeatureSpec, n_states: int, where: str) -> tuple[int, ...]:
    """Return the layers that a spec asks for, sorted.

    Raises:
        FeatureError: the model has fewer.
    """
    if isinstance(spec.layers, str):
        return tuple(range(n_states))
    if absent := sorted(layer for layer in spec.layers if layer >= n_states):
        raise FeatureError(f"there is no layer {absent[0]}: its layers are 0 to {n_states - 1}", where=where)
    return tuple(sorted(spec.layers))
