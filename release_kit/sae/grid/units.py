"""What workers are given: a series of models, the autoencoders of one model at one step, their measures, interventions.

Pure over the study and what lies on disk. A unit is done when every last-written file of its autoencoders is there; a
finished autoencoder that was made from something else is never silently taken (``run.py`` looks before it starts).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.study import Level
from release_kit.engine.processes import WorkerOptions
from release_kit.sae.pipeline import paths
from release_kit.sae.pipeline.models import model_use, shape_of
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.pipeline.plan import (
    RANDOM_MODEL,
    Selection,
    cell_keys,
    intervened_steps,
    keys,
    previous_step,
    sizes,
    steps_of,
)
from release_kit.sae.pipeline.read import is_finished
from release_kit.sae.prepare.series import SERIES_FILE
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study

MODEL, TRAIN, MEASURE, INTERVENE = "model", "train", "measure", "intervene"
KINDS = (MODEL, TRAIN, MEASURE, INTERVENE)
"""In the order in which they need each other."""
_TITLES = {TRAIN: "autoencoders", MEASURE: "measures", INTERVENE: "interventions"}
_FLOPS_OF_MEASURES = 4
"""Passes over the held-out texts that measuring takes, as multiples of one through an autoencoder."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one worker brings to completion in one go."""

    kind: str
    size: str
    step: int | None
    """None: all steps of a series."""
    keys: tuple[SaeKey, ...]
    cost: float
    """Expected work relative to other units, in floating-point operations."""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Safe as part of a file name."""
        return unit_name(self.kind, self.size, self.step)

    @property
    def title(self) -> str:
        """For people."""
        if self.kind == MODEL:
            return f"{self.size}: language models"
        return f"{self.size}, step {self.step}: {_TITLES[self.kind]}"

    @property
    def group(self) -> str:
        """A worker stays with a model: what it reads is in the memory of the machine."""
        return f"{self.size}-{self.step}"

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """The autoencoders that it is about; none for a series of models."""
        return tuple(key.name for key in self.keys)

    def is_done(self, study_folder: Path) -> bool:
        """Return whether everything of the unit is complete on disk."""
        if self.kind == MODEL:
            return (study_folder / paths.MODELS / self.size / SERIES_FILE).is_file()
        if self.kind == TRAIN:
            return all(is_finished(study_folder, key) for key in self.keys)
        if self.kind == MEASURE:
            return all(is_measured(study_folder, key) for key in self.keys)
        return all(is_intervened(study_folder, key) for key in self.keys)


def is_measured(study_folder: Path, key: SaeKey) -> bool:
    """Return whether the measures of an autoencoder are complete on disk, whatever they were made from."""
    from release_kit.sae.measure.write import read_recorded

    return read_recorded(paths.measure_folder(study_folder, key), paths.MEASURE_FILE, key) is not None


def is_intervened(study_folder: Path, key: SaeKey) -> bool:
    """Return whether the interventions at a layer and seed are complete on disk, whatever they were made from."""
    from release_kit.sae.measure.write import read_recorded

    return read_recorded(paths.intervention_folder(study_folder, key), paths.INTERVENTION_FILE, key) is not None


def unit_name(kind: str, size: str, step: int | None = None) -> str:
    """Return the name of a unit: ``train-small-16``."""
    return f"{kind}-{size}" if step is None else f"{kind}-{size}-{step}"


def plan_units(study: SaeStudy, select: Selection | None = None) -> list[Unit]:
    """Return the units of a study in a good order: the size with most work first, each step as far as it goes.

    Args:
        study: the study; models of the user's are there.
        select: partial levels. What the selected ones need to be complete is planned, too, with its own layers and
            seeds: warm starts, step 0 for the null of a random model, the last step for interventions.

    Raises:
        SaeError: a layer is unknown, or a model from elsewhere cannot be found.
    """
    by_size = [_units_of(study, size, select) for size in sizes(study)]
    by_size.sort(key=lambda units: -sum(unit.cost for unit in units))
    return [unit for units in by_size for unit in units]


def plan_for_worker(options: WorkerOptions) -> list[Unit]:
    """Return the units of a command, inside one of its workers."""
    return plan_units(study_of(options), options.given["select"])


def study_of(options: WorkerOptions) -> SaeStudy:
    """Return the study of a command, inside one of its workers."""
    return read_study(options.study_folder / options.given["file"])


def of_cell(select: Selection | None) -> dict[str, Sequence[Level]]:
    """Return what a selection says of layers and seeds: the same for every step that the selected ones need."""
    return {name: levels for name, levels in (select or {}).items() if name in ("layer", "seed")}


def _units_of(study: SaeStudy, size: str, select: Selection | None) -> list[Unit]:
    chosen = {key.step for key in keys(study, {**(select or {}), "size": (size,)})}
    if not chosen or size not in (select or {}).get("size", (size,)):
        return []
    intervened = [step for step in intervened_steps(study, size) if step in chosen]
    steps = _with_needed(study, size, chosen, bool(intervened))
    cells = {step: cell_keys(study, size, step, of_cell(select)) for step in steps}
    costs = _costs(study, size)

    def unit(kind: str, step: int, needs: Sequence[str]) -> Unit:
        cost = costs[kind] * len(cells[step])
        return Unit(kind=kind, size=size, step=step, keys=cells[step], cost=cost, needs=tuple(dict.fromkeys(needs)))

    units, first = [], []
    if model_use(study, size).trained_here:
        units.append(Unit(kind=MODEL, size=size, step=None, keys=(), cost=costs[MODEL]))
        first = [unit_name(MODEL, size)]
    for step in steps:
        before = previous_step(study, size, step)
        units.append(unit(TRAIN, step, [*first, *([] if before is None else [unit_name(TRAIN, size, before)])]))
        null = [0] if _has_random(study) else []
        units.append(unit(MEASURE, step, [unit_name(TRAIN, size, one) for one in (step, *null)]))
    last = steps_of(study, size)[-1]
    for step in intervened:
        units.append(
            unit(INTERVENE, step, [unit_name(kind, size, x) for kind in (TRAIN, MEASURE) for x in (step, last)])
        )
    return units


def _with_needed(study: SaeStudy, size: str, chosen: Iterable[int], intervened: bool) -> list[int]:
    """Return the chosen steps and those that they need."""
    steps = set(chosen)
    if _has_random(study):
        steps.add(0)
    if intervened:
        steps.add(steps_of(study, size)[-1])
    for step in list(steps):
        before = previous_step(study, size, step)
        while before is not None:
            steps.add(before)
            before = previous_step(study, size, before)
    return sorted(steps)


def _has_random(study: SaeStudy) -> bool:
    return RANDOM_MODEL in study.classify.nulls


def _costs(study: SaeStudy, size: str) -> dict[str, float]:
    """Return operations of a series of models, and of one autoencoder's training, measures and interventions."""
    n_layers, d_in = shape_of(study, size)
    settings, width = study.language_model, study.sae.width(d_in)
    n_weights = 12 * n_layers * d_in**2
    held_out = study.text.n_held_out * 32
    encode = 2 * d_in * width
    n_keys = (len(study.intervene.classes) * len(study.intervene.variants) * len(study.intervene.strengths)) * (
        1 + study.intervene.n_random
    )
    return {
        MODEL: 6.0 * (n_weights + settings.vocab_size * d_in) * settings.steps * settings.batch * settings.seq_len,
        TRAIN: 2.0 * encode * study.training.n_steps * study.training.batch,
        MEASURE: float(_FLOPS_OF_MEASURES * held_out * (encode + 2 * n_weights)),
        INTERVENE: float(n_keys * study.intervene.sentences * 64 * (encode + 2 * n_weights)),
    }
