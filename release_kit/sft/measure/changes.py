"""How far training moved every tensor of one model from its base: the numbers of one cell.

Relative Frobenius norm ``‖ΔW‖_F / ‖W‖_F``, cosine of ``W`` and ``W' = W + ΔW`` as long vectors, ranks of ``ΔW``. Full
models are read beside their base piece by piece; adapters are measured from their factors. A base that is stored wider
than the model (float32 beside bfloat16) is rounded first, so that rounding is not taken for training.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError, ReleaseKitError
from release_kit.sft.measure.adapters import WEIGHTS_FILE, Adapter, Factors, is_adapter, read_adapter
from release_kit.sft.measure.spectrum import NO_RANKS, Ranks, factor_values, ranks_of_matrix, ranks_of_values
from release_kit.sft.measure.weights import PIECE, WIDTH, Weights, rounded_to

NO_MODES, SAMPLE, ALL = "none", "sample", "all"
RANK_MODES = (NO_MODES, SAMPLE, ALL)
"""Whose ranks are computed: of no full model's tensor, of the matrices of five layers, of every matrix."""

SAMPLE_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.(.+)\Z")
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorChange:
    """The change of one tensor; None: not defined (a base of zeros), or not computed (ranks)."""

    tensor: str
    kind: str
    """The name inside its layer (``mlp.down_proj``), or outside of all (``embed_tokens``)."""
    layer: int | None
    depth: float | None
    """``layer / (n_layers - 1)``: 0 the first, 1 the last."""
    n_elements: int
    relative_frobenius: float | None
    cosine: float | None
    stable_rank: float | None
    effective_rank: float | None


class Base:
    """A base model and what is known of its tensors; a context manager that holds its files open.

    The squared norms are computed when first needed and kept, once for each type that models store.
    """

    def __init__(self, folder: Path):
        self.weights = Weights(folder)
        layers = [place[0] for name in self.weights.names() if (place := place_of(name))[0] is not None]
        self.n_layers = max(layers, default=-1) + 1
        self._squares: dict[tuple[str, str], float] = {}

    def __enter__(self) -> "Base":
        return self

    def __exit__(self, *exc_info) -> None:
        self.weights.close()

    def pieces(self, name: str, dtype: str) -> Iterator[Any]:
        """Yield the elements of a tensor as a model that stores ``dtype`` would hold them untrained."""
        narrow = WIDTH[dtype] < WIDTH[self.weights.span(name).dtype]
        for piece in self.weights.pieces(name):
            yield rounded_to(piece, dtype) if narrow else piece

    def square(self, name: str, dtype: str) -> float:
        """Return ``‖W‖_F²`` of a tensor rounded to ``dtype``."""
        key = (name, dtype)
        if key not in self._squares:
            import numpy as np

            self._squares[key] = math.fsum(float(np.dot(piece, piece)) for piece in self.pieces(name, dtype))
        return self._squares[key]


def measure_changes(base: Base, folder: Path, *, ranks: str = SAMPLE) -> list[TensorChange]:
    """Measure one model, or one adapter, against its base; by layer, then by name, tensors outside of layers first.

    Args:
        base: the opened base model.
        folder: the folder of a model or of a LoRA adapter.
        ranks: one of ``RANK_MODES``; ranks of adapters are always computed, they cost next to nothing.

    Raises:
        ArtifactError: tensors that are missing, of another shape or not finite; all of them named at once.
    """
    if is_adapter(folder):
        with Weights(folder, (WEIGHTS_FILE,)) as weights:
            changes = _adapter_changes(base, weights, read_adapter(folder, weights), ranks)
    else:
        with Weights(folder) as weights:
            changes = _model_changes(base, weights, ranks)
    return sorted(changes, key=lambda change: (-1 if change.layer is None else change.layer, change.tensor))


def place_of(name: str) -> tuple[int | None, str]:
    """Return ``(layer, kind)`` of a tensor: ``model.layers.3.mlp.up_proj.weight`` → (3, ``mlp.up_proj``)."""
    if match := _LAYER.search(name):
        return int(match[1]), match[2].removesuffix(".weight")
    return None, name.removesuffix(".weight").removeprefix("model.").removeprefix("transformer.")


def _model_changes(base: Base, model: Weights, ranks: str) -> list[TensorChange]:
    names = sorted({*base.weights.names(), *model.names()})
    if not names:
        raise ArtifactError("holds no floating-point tensor", where=str(model.folder))
    wrong = [text for name in names if (text := _mismatch(name, base.weights, name, model))]
    _refuse(wrong, model.folder)
    changes = [_stored_change(base, name, model, name, ranks, wrong) for name in names]
    _refuse(wrong, model.folder)
    return changes


def _adapter_changes(base: Base, weights: Weights, adapter: Adapter, ranks: str) -> list[TensorChange]:
    wrong = [f"{name} is not in the base" for name in adapter.factors if base.weights.span(name) is None]
    for name, stored in adapter.whole.items():
        wrong += [text] if (text := _mismatch(name, base.weights, stored, weights)) else []
    _refuse(wrong, weights.folder)
    changes = []
    for name in sorted({*base.weights.names(), *adapter.whole, *adapter.factors}):
        if name in adapter.whole:
            changes.append(_stored_change(base, name, weights, adapter.whole[name], ranks, wrong))
        elif name in adapter.factors:
            changes.append(_factored_change(base, name, weights, adapter.factors[name], wrong))
        else:
            changes.append(_change(base, name, 0.0, 0.0, 0.0, NO_RANKS))
    _refuse(wrong, weights.folder)
    return changes


def _stored_change(
    base: Base, name: str, model: Weights, stored: str, ranks: str, wrong: list[str]
) -> TensorChange | None:
    """Measure a tensor that the model stores whole, in one pass over both files."""
    import numpy as np

    span = model.span(stored)
    wanted = _wants_ranks(name, span.shape, base.n_layers, ranks)
    delta = np.empty(math.prod(span.shape), np.float32) if wanted else None
    inner, square, start = [], [], 0
    # Non-finite values are looked for in the sums; warnings on the way there would say it a second time.
    with np.errstate(invalid="ignore", over="ignore"):
        for before, after in zip(base.pieces(name, span.dtype), model.pieces(stored), strict=True):
            after -= before
            inner.append(float(np.dot(before, after)))
            square.append(float(np.dot(after, after)))
            if delta is not None:
                delta[start : start + PIECE] = after
                start += PIECE
        of_base = base.square(name, span.dtype)
    if not all(map(math.isfinite, (*inner, *square, of_base))):
        wrong.append(f"{name} is not finite")
        return None
    found = ranks_of_matrix(delta.reshape(span.shape[0], -1)) if delta is not None else NO_RANKS
    return _change(base, name, of_base, math.fsum(inner), math.fsum(square), found)


def _factored_change(
    base: Base, name: str, weights: Weights, factors: Factors, wrong: list[str]
) -> TensorChange | None:
    """Measure ``ΔW = scale · left @ right`` from its factors; only ``⟨W, ΔW⟩`` needs the base tensor, once."""
    import numpy as np

    left = weights.matrix(factors.b).astype(np.float64) * factors.scale
    right = weights.matrix(factors.a).astype(np.float64)
    if factors.transposed:
        left, right = right.T, left.T
    shape = base.weights.span(name).shape
    if (left.shape[0], right.shape[1]) != shape or left.shape[1] != right.shape[0]:
        wrong.append(f"{name} is {list(shape)} in the base, its factors make {[left.shape[0], right.shape[1]]}")
        return None
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        wrong.append(f"{name} is not finite")
        return None
    of_base, dtype = base.square(name, "F32"), "F32"
    inner = _inner_product(base, name, dtype, left, right) if left.any() and right.any() else 0.0
    if not (math.isfinite(of_base) and math.isfinite(inner)):
        wrong.append(f"{name} is not finite in the base")
        return None
    values = factor_values(left, right)
    square = float(np.sum(values**2))
    return _change(base, name, of_base, inner, square, ranks_of_values(values))


def _inner_product(base: Base, name: str, dtype: str, left: Any, right: Any) -> float:
    """Return ``⟨W, left @ right⟩ = Σ (W rightᵀ) ∘ left``, a band of rows of ``W`` at a time."""
    import numpy as np

    n_columns = right.shape[1]
    n_rows = max(1, PIECE // n_columns)
    thin = np.ascontiguousarray(right.T, dtype=np.float32)
    sums, start = [], 0
    for piece in base.weights.pieces(name, n_rows * n_columns):
        rows = piece.reshape(-1, n_columns)
        sums.append(float(np.vdot((rows @ thin).astype(np.float64), left[start : start + len(rows)])))
        start += len(rows)
    return math.fsum(sums)


def _change(base: Base, name: str, of_base: float, inner: float, square: float, ranks: Ranks) -> TensorChange:
    """Put the numbers together; ``of_base = ‖W‖²``, ``inner = ⟨W, Δ⟩``, ``square = ‖Δ‖²``."""
    layer, kind = place_of(name)
    relative, cosine = _distance(of_base, inner, square)
    depth = None if layer is None else layer / max(1, base.n_layers - 1)
    return TensorChange(
        tensor=name, kind=kind, layer=layer, depth=depth, n_elements=math.prod(base.weights.span(name).shape),
        relative_frobenius=relative, cosine=cosine, stable_rank=ranks.stable, effective_rank=ranks.effective,
    )  # fmt: skip


def _distance(of_base: float, inner: float, square: float) -> tuple[float | None, float | None]:
    """Return ``(‖Δ‖/‖W‖, cos(W, W + Δ))``.

    The cosine is taken from its distance to 1, ``1 - cos² = (‖W‖²‖Δ‖² - ⟨W,Δ⟩²) / (‖W‖²‖W'‖²)``: after a short training
    that is 1e-7, and would drown in the rounding of ``⟨W, W'⟩``.
    """
    if square == 0.0:
        return 0.0, 1.0
    after = of_base + 2 * inner + square
    if of_base <= 0.0:
        return None, None
    relative = math.sqrt(square / of_base)
    if after <= 0.0:
        return relative, None
    sine_square = min(1.0, max(0.0, (square - inner * inner / of_base) / after))
    cosine = math.copysign(math.sqrt(1.0 - sine_square), of_base + inner)
    return relative, cosine


def _wants_ranks(name: str, shape: tuple[int, ...], n_layers: int, mode: str) -> bool:
    if mode == NO_MODES or len(shape) < 2 or 1 in shape[:2]:
        return False
    layer, _ = place_of(name)
    return mode == ALL or (layer is not None and layer in sampled_layers(n_layers))


def sampled_layers(n_layers: int) -> set[int]:
    """Return the layers nearest to the depths 0, ¼, ½, ¾ and 1."""
    return {math.floor(depth * (n_layers - 1) + 0.5) for depth in SAMPLE_DEPTHS}


def _mismatch(name: str, base: Weights, stored: str, model: Weights) -> str | None:
    before, after = base.span(name), model.span(stored)
    if before is None or after is None:
        return f"{name} is not in the {'base' if before is None else 'model'}"
    if before.shape != after.shape:
        return f"{name} is {list(before.shape)} in the base and {list(after.shape)} in the model"
    return None


def _refuse(wrong: list[str], folder: Path) -> None:
    if wrong:
        more = f"; and {len(wrong) - _MAX_NAMED} more" if len(wrong) > _MAX_NAMED else ""
        raise _problem("; ".join(wrong[:_MAX_NAMED]) + more, folder)


def _problem(what: str, folder: Path) -> ReleaseKitError:
    step = "see that the cell was trained from this base, and make it again if its weights are damaged"
    return ArtifactError(f"cannot be compared with its base: {what}", where=str(folder), next_step=step)
