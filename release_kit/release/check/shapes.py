"""What config.json promises about shapes, held against the tensors: pure functions over names and shapes.

Every rule holds for the architectures that it is applied to; for others it is silent. Vocabulary and hidden size of the
embeddings and the number of layers are checked for all decoder models, attention and feed-forward shapes for the
families below, whose modelling code fixes them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

KNOWN_FAMILIES = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo", "olmo2", "smollm3", "granite", "stablelm"}
)
"""``model_type`` values whose attention and feed-forward layers follow the rules of ``_expected``."""

_EMBEDDINGS = re.compile(r"(?:^|\.)(?:embed_tokens|wte|embed_in|word_embeddings)\.weight\Z")
_LAYER = re.compile(r"^(?:model\.|transformer\.|gpt_neox\.|base_model\.model\.)*(?:layers|h)\.(\d+)\.")
_MODULE = re.compile(r"^(?:model\.)*layers\.\d+\.((?:self_attn|mlp)\.\w+_proj|input_layernorm)\.weight\Z")
_SHOWN = 3


def shape_contradictions(config: Mapping[str, Any], shapes: Shapes, *, complete: bool) -> list[str]:
    """Return what in ``shapes`` contradicts ``config``, one sentence for each kind of contradiction.

    Args:
        config: the parsed config.json; a nested ``text_config`` is used where there is one.
        shapes: tensor name → shape.
        complete: whether all files of the checkpoint are there, so that layers can be counted.
    """
    if "quantization_config" in config or not shapes:
        return []
    inner = config.get("text_config")
    config = inner if isinstance(inner, dict) else config
    found = [*_embeddings(config, shapes), *_modules(config, shapes)]
    return found + (_layers(config, shapes) if complete else [])


def _embeddings(config: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    vocab, hidden = _whole(config, "vocab_size"), _whole(config, "hidden_size", "n_embd", "d_model")
    width = _whole(config, "embedding_size", "word_embed_proj_dim") or hidden
    for name, shape in sorted(shapes.items()):
        if (_EMBEDDINGS.search(name) or name == "lm_head.weight") and len(shape) == 2 and "vision" not in name:
            if vocab is not None and shape[0] != vocab:
                yield f"{name} has {shape[0]} rows, config.json has vocab_size {vocab}"
            if width is not None and shape[1] != width:
                yield f"{name} is {shape[1]} wide, config.json has hidden_size {width}"


def _layers(config: Mapping[str, Any], shapes: Shapes) -> list[str]:
    declared = _whole(config, "num_hidden_layers", "n_layer", "num_layers")
    if declared is None or config.get("is_encoder_decoder"):
        return []
    extra = _whole(config, "num_nextn_predict_layers") or 0
    found = {int(match.group(1)) for name in shapes if (match := _LAYER.match(name))}
    if not found or len(found) in (declared, declared + extra):
        return []
    return [f"the weights have {len(found)} layers, config.json has num_hidden_layers {declared}"]


def _modules(config: Mapping[str, Any], shapes: Shapes) -> list[str]:
    if str(config.get("model_type")) not in KNOWN_FAMILIES:
        return []
    expected = _expected(config)
    wrong: dict[str, list[str]] = {}
    for name, shape in sorted(shapes.items()):
        match = _MODULE.match(name)
        wanted = expected.get(match.group(1)) if match else None
        if wanted is not None and shape != wanted[0]:
            text = f"{list(shape)} where config.json gives {list(wanted[0])} ({wanted[1]})"
            wrong.setdefault(f"{match.group(1)} {text}", []).append(name)
    return [f"{len(names)} tensors {kind}, first {names[0]}" for kind, names in sorted(wrong.items())]


def _expected(config: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return module → (shape, the keys that fix it), for the keys that ``config`` has."""
    hidden, intermediate = _whole(config, "hidden_size"), _whole(config, "intermediate_size")
    heads = _whole(config, "num_attention_heads")
    if not hidden or not heads:
        return {}
    kv_heads = _whole(config, "num_key_value_heads") or heads
    head = _whole(config, "head_dim") or hidden // heads
    attention = "num_attention_heads, head_dim, hidden_size"
    result = {
        "self_attn.q_proj": ((heads * head, hidden), attention),
        "self_attn.k_proj": ((kv_heads * head, hidden), "num_key_value_heads, head_dim, hidden_size"),
        "self_attn.v_proj": ((kv_heads * head, hidden), "num_key_value_heads, head_dim, hidden_size"),
        "self_attn.o_proj": ((hidden, heads * head), attention),
        "input_layernorm": ((hidden,), "hidden_size"),
    }
    if intermediate:
        result["mlp.gate_proj"] = result["mlp.up_proj"] = ((intermediate, hidden), "intermediate_size, hidden_size")
        result["mlp.down_proj"] = ((hidden, intermediate), "intermediate_size, hidden_size")
    return result


def _whole(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of the keys that holds a whole number."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
