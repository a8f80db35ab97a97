"""What a model's folder says without its weights being read: layers, width, number of parameters."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from release_kit.core.canonical import read_json
from release_kit.core.errors import ReleaseKitError
from release_kit.core.safetensors import read_header
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.spec.model import FeatureUse

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """None where nothing says it."""

    n_layers: int | None
    """Hidden states: blocks and what enters the first of them."""
    width: int | None
    n_parameters: int | None


def model_facts(use: FeatureUse) -> ModelFacts:
    """Return what is known of a feature's model before it is opened.

    Raises:
        FeatureError: there is no such folder or file, or it is no model.
    """
    if use.kind == "bag-of-words":
        return ModelFacts(n_layers=1, width=None, n_parameters=None)
    assert use.model is not None
    if use.kind == "static":
        if not use.model.is_file():
            raise FeatureError("there is no such file of word vectors", where=f"features.{use.name}: {use.model}")
        return ModelFacts(n_layers=1, width=None, n_parameters=None)
    if not (use.model / "config.json").is_file():
        step = "name the folder of a transformers model: config.json, weights, tokenizer"
        raise FeatureError("there is no config.json", where=f"features.{use.name}: {use.model}", next_step=step)
    config = read_json(use.model / "config.json")
    layers = next((config[name] for name in _LAYERS if isinstance(config.get(name), int)), None)
    return ModelFacts(
        n_layers=None if layers is None else layers + 1,
        width=next((config[name] for name in _WIDTHS if isinstance(config.get(name), int)), None),
        n_parameters=use.n_parameters or count_parameters(use.model),
    )


@lru_cache(maxsize=64)
def count_parameters(folder: Path) -> int | None:
    """Return how many numbers the ``.safetensors`` files of a folder hold; None where there are none."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            total += sum(math.prod(span.shape) for span in read_header(path).spans)
        except ReleaseKitError:
            return None
    return total or None
