"""What a study will cost before anything starts: autoencoders, parameters, tokens, disk, and time from finished parts.

Counts are exact; times are those of finished parts of the same kind, by the operations that each is expected to take.
"""

import statistics
from dataclasses import dataclass
from typing import Any

from release_kit.sae.grid.units import KINDS, MODEL, Unit, plan_units
from release_kit.sae.grid.work import seconds_of
from release_kit.sae.pipeline.models import shape_of
from release_kit.sae.pipeline.plan import Selection, layers_of, listed_steps, sizes, steps_of
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.train.room import bytes_needed

_STATE_TENSORS = 3
"""Parameters and both moments of Adam."""


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """What one size of model gives.

    Attributes:
        size: its name.
        steps: that are decomposed. extra_steps: those of them that the file does not list (the null of random models).
        layers, seeds: of each step.
        d_model, n_features: widths.
        n_saes: selected ones. n_done: of them.
        n_parameters: of one autoencoder.
        cache_bytes: activations of one step while it is trained; 0 when they are streamed.
        model_bytes: checkpoints of a series that is to be trained first, with its optimiser; 0 when it is there.
    """

    size: str
    steps: tuple[int, ...]
    extra_steps: tuple[int, ...]
    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    d_model: int
    n_features: int
    n_saes: int
    n_done: int
    n_parameters: int
    cache_bytes: int
    model_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.__dict__.items()}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a study will cost.

    Attributes:
        sizes: one by one.
        n_units: kind → (parts, done, seconds that are left; None before one is finished).
        tokens_each: activations that an autoencoder sees.
        sae_bytes: of all finished autoencoders on disk.
        state_bytes: of autoencoders in training in one worker, on disk and in memory.
        cache_bytes: of activations in one worker. model_bytes: of language models that are to be trained first.
    """

    sizes: tuple[SizeCost, ...]
    n_units: dict[str, tuple[int, int, float | None]]
    tokens_each: int
    sae_bytes: int
    state_bytes: int
    cache_bytes: int
    model_bytes: int

    @property
    def n_saes(self) -> int:
        """Autoencoders of all sizes."""
        return sum(one.n_saes for one in self.sizes)

    @property
    def n_done(self) -> int:
        """Finished ones."""
        return sum(one.n_done for one in self.sizes)

    @property
    def seconds(self) -> float | None:
        """Seconds of one worker that are left; None while a kind of part has no finished one."""
        left = [seconds for _, _, seconds in self.n_units.values()]
        return None if None in left else sum(one for one in left if one is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        units = {kind: {"n": n, "n_done": done, "seconds_left": left} for kind, (n, done, left) in self.n_units.items()}
        return {
            "n_saes": self.n_saes, "n_done": self.n_done, "tokens_each": self.tokens_each,
            "sae_bytes": self.sae_bytes, "state_bytes": self.state_bytes, "cache_bytes": self.cache_bytes,
            "model_bytes": self.model_bytes,
            "seconds_left": self.seconds, "parts": units, "sizes": [one.to_dict() for one in self.sizes],
        }  # fmt: skip


def plan_cost(study: SaeStudy, select: Selection | None = None) -> Cost:
    """Return what a study, or the selected part of it, will cost; nothing is written.

    Raises:
        SaeError: the study cannot be planned.
    """
    units = plan_units(study, select)
    found = tuple(_size_cost(study, size, units) for size in sizes(study) if any(unit.size == size for unit in units))
    streamed = study.cache.kind == "stream"
    at_once = max((len(one.layers) * len(one.seeds) if streamed else 1 for one in found), default=1)
    return Cost(
        sizes=found,
        n_units={kind: _left(study, [unit for unit in units if unit.kind == kind]) for kind in KINDS},
        tokens_each=study.training.n_steps * study.training.batch,
        sae_bytes=sum(4 * one.n_parameters * one.n_saes for one in found),
        state_bytes=max((4 * _STATE_TENSORS * one.n_parameters * at_once for one in found), default=0),
        cache_bytes=max((one.cache_bytes for one in found), default=0),
        model_bytes=sum(one.model_bytes for one in found),
    )


def _size_cost(study: SaeStudy, size: str, units: list[Unit]) -> SizeCost:
    n_layers, d_model = shape_of(study, size)
    cells = [unit for unit in units if unit.size == size and unit.kind == "train"]
    keys = [key for unit in cells for key in unit.keys]
    width, layers = study.sae.width(d_model), layers_of(study, size, n_layers)
    tokens, streamed = study.training.n_steps * study.training.batch, study.cache.kind == "stream"
    listed = listed_steps(study, size)
    from release_kit.sae.pipeline.read import is_finished

    return SizeCost(
        size=size,
        steps=tuple(unit.step for unit in cells if unit.step is not None),
        extra_steps=tuple(step for step in steps_of(study, size) if step not in listed),
        layers=tuple(sorted({key.layer for key in keys})),
        seeds=tuple(sorted({key.seed for key in keys})),
        d_model=d_model,
        n_features=width,
        n_saes=len(keys),
        n_done=sum(is_finished(study.folder, key) for key in keys),
        n_parameters=2 * d_model * width + d_model + width * (1 if study.sae.architecture == "topk" else 2),
        cache_bytes=0 if streamed else bytes_needed(tokens, d_model, len(layers), study.cache.dtype),
        model_bytes=sum(
            _model_bytes(study, unit) for unit in units
            if unit.size == size and unit.kind == MODEL and not unit.is_done(study.folder)
        ),
    )  # fmt: skip


def _model_bytes(study: SaeStudy, unit: Unit) -> int:
    """Return what the checkpoints of a series take at least: weights of each step, and one state of the optimiser."""
    n_layers, d_model = shape_of(study, unit.size)
    n_weights = 12 * n_layers * d_model**2 + study.language_model.vocab_size * d_model
    return 4 * n_weights * (len(steps_of(study, unit.size)) + _STATE_TENSORS)


def _left(study: SaeStudy, units: list[Unit]) -> tuple[int, int, float | None]:
    done = [unit for unit in units if unit.is_done(study.folder)]
    names = {unit.name for unit in done}
    left = sum(unit.cost for unit in units if unit.name not in names)
    timed = [(unit, seconds_of(study.folder, unit)) for unit in done or units]
    rates = [seconds / unit.cost for unit, seconds in timed if seconds is not None and unit.cost]
    if not left:
        return len(units), len(done), 0.0
    return len(units), len(done), round(statistics.median(rates) * left, 1) if rates else None
