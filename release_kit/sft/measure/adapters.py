"""LoRA adapters as PEFT saves them: which tensor each pair of factors changes, and by which scale.

``ΔW = scale · B A`` with ``scale = alpha / r`` (Hu et al. 2021, arXiv 2106.09685) or ``alpha / √r`` for rsLoRA. Modules
that were trained whole come along as plain tensors. Kinds of adapter that change weights otherwise are refused by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.sft.measure.weights import Weights

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.(?!weight$)[^.]+)?(?:\.weight)?"
)
_PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Names of the two factors of one tensor's change."""

    a: str
    b: str
    scale: float
    transposed: bool
    """``ΔW = scale · (B A)ᵀ``: embeddings and layers that store their weights as (inputs, outputs)."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter folder, understood."""

    factors: Mapping[str, Factors]
    """Tensor of the base model → its factors."""
    whole: Mapping[str, str]
    """Tensor of the base model → the tensor of the adapter that replaces it."""


def is_adapter(folder: Path) -> bool:
    """Return whether ``folder`` holds an adapter rather than a model."""
    return (folder / CONFIG_FILE).is_file()


def read_adapter(folder: Path, weights: Weights) -> Adapter:
    """Say what each tensor of an adapter does to the base model.

    Args:
        folder: the adapter's folder.
        weights: its opened ``adapter_model.safetensors``.

    Raises:
        ArtifactError: not LoRA, DoRA, a factor without its partner, or a tensor nobody can place; all at once.
    """
    config = canonical.read_json(folder / CONFIG_FILE)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or config.get("use_dora"):
        kind = config.get("peft_type") if isinstance(config, dict) else None
        what = "is DoRA" if kind == "LORA" else f"is of the kind {kind!r}"
        raise ArtifactError(f"{what}; only LoRA is measured", where=str(folder / CONFIG_FILE))
    pairs: dict[str, dict[str, str]] = {}
    whole, unknown = {}, []
    for name in weights.names():
        if match := _FACTOR.fullmatch(name):
            sides = pairs.setdefault(match["module"].removeprefix(_PREFIX), {"embedding": match["embedding"] or ""})
            sides[match["side"]] = name
        elif ".lora_" in name:
            unknown.append(name)
        elif ".base_layer." not in name:
            # What stands under base_layer is a copy of the base's own tensor, which PEFT keeps for embeddings.
            whole[_saved_name(name)] = name
    unknown += [sides.get("A") or sides["B"] for sides in pairs.values() if not {"A", "B"} <= sides.keys()]
    if unknown:
        raise ArtifactError(f"holds factors that LoRA does not explain: {', '.join(unknown[:5])}", where=str(folder))
    factors = {f"{module}.weight": _factors(config, module, sides, weights) for module, sides in pairs.items()}
    return Adapter(factors=factors, whole=whole)


def _factors(config: Mapping[str, Any], module: str, sides: Mapping[str, str], weights: Weights) -> Factors:
    rank = weights.span(sides["A"]).shape[0]
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", rank))
    scale = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    transposed = bool(sides["embedding"]) or bool(config.get("fan_in_fan_out"))
    return Factors(a=sides["A"], b=sides["B"], scale=scale, transposed=transposed)


def _by_pattern(patterns: Any, module: str, default: float) -> float:
    """Return the value of the pattern that matches the end of a module's name, as PEFT matches them."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})\Z", module):
            return value
    return default


def _saved_name(name: str) -> str:
    return name.removeprefix(_PREFIX).replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
