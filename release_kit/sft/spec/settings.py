"""What ``settings`` of a study says about training and evaluation, read strictly and resolved for one run.

Owns the two records and the overrides by level (``settings.training.by``). The values are part of the identity of every
cell; what they make happen belongs to ``train/`` and ``evaluate/``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as record_fields
from typing import Any

from release_kit.core.errors import StudyError
from release_kit.core.grid import has_level, matches
from release_kit.core.records import Fields, nearest
from release_kit.core.study import STUDY_FILE, Level, Study, nearest_level
from release_kit.sft.runtime import COMPUTE_TYPES

FULL, LORA, UNTOUCHED = "full", "lora", "none"
METHODS = (FULL, LORA, UNTOUCHED)
SCHEDULES = ("constant", "linear", "cosine")
LOSSES = ("completion", "all")
TRUNCATIONS = ("refuse", "prompt", "completion")
HARNESSES = ("fast", "lm-eval")
NO_SCHEDULE = "none"
"""The schedule of cells that nobody trains."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """The adapter of a LoRA run (Hu et al. 2021, arXiv 2106.09685), as PEFT names its parts."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: str = "all-linear"
    """``all-linear``, or names of modules joined by commas (``q_proj,v_proj``)."""


DEFAULT_LORA = LoraSettings()


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How one run is trained."""

    batch_size: int
    """Examples of one optimiser step, however many rows and micro-batches they fill."""
    max_length: int
    """Tokens of one packed row, and of the longest example."""
    learning_rate: float
    """The peak of the schedule."""
    epochs: int | None = None
    """Passes over the data; None: the largest epoch that the grid keeps. Excludes ``steps``."""
    steps: int | None = None
    """Optimiser steps; excludes ``epochs`` and a factor with the role ``epoch``."""
    schedule: str = "constant"
    """``constant``, ``linear`` or ``cosine``, the last two down to zero at the end of the run."""
    warmup_ratio: float = 0.0
    """Part of the steps in which the learning rate rises linearly from zero."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_gradient_norm: float = 1.0
    """Norm to which gradients are clipped; 0 turns clipping off."""
    template: str = "plain"
    """``plain`` (prompt and completion as they are), ``paper``, ``chat``, or a text with {prompt} and {completion}."""
    loss_on: str = "completion"
    """``completion`` or ``all`` tokens."""
    truncation: str = "refuse"
    """What happens to an example longer than ``max_length``: the run is refused, or the prompt loses its left end, or
    the completion its right end."""
    packing: bool = True
    """Several examples in one row, each seeing only itself."""
    micro_batch: int = 1
    """Packed rows of one forward pass; changes the last bits of the result, so it is part of a run's identity."""
    gradient_checkpointing: bool = False
    compute: str = "auto"
    """``float32``, ``bfloat16``, or ``auto``: bfloat16 where the machine has it. Master weights are float32."""
    threads: int = 1
    """Threads of one worker; results depend on it to the last bit."""
    checkpoint_every: int = 50
    """Optimiser steps between two checkpoints to resume from; not part of a run's identity."""
    lora: LoraSettings = DEFAULT_LORA

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as in ``study.yaml``."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How every cell is evaluated."""

    tasks: tuple[str, ...]
    """Names of task files in the study's ``tasks/`` folder."""
    harness: str = "fast"
    """``fast``: our scorer where it covers the task, else the harness; ``lm-eval``: the harness for all."""
    batch_size: int = 8
    """Requests of one forward pass of the harness; our scorer's results do not depend on it."""
    limit: int | None = None
    """Documents of each task; None takes all."""
    num_fewshot: int | None = None
    """Examples in the prompt; None takes what the task says."""
    threads: int = 1
    max_new_tokens: int | None = None
    """Upper bound of generated tokens; None takes what the task says."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as in ``study.yaml``."""
        return {**asdict(self), "tasks": list(self.tasks)}


_KINDS: Mapping[str, Any] = {
    "epochs": int, "steps": int, "batch_size": int, "max_length": int, "micro_batch": int, "threads": int,
    "checkpoint_every": int, "rank": int, "alpha": int, "limit": int, "num_fewshot": int, "max_new_tokens": int,
    "schedule": str, "template": str, "loss_on": str, "truncation": str, "compute": str, "targets": str,
    "harness": str, "packing": bool, "gradient_checkpointing": bool,
}  # fmt: skip
_CHOICES = {
    "schedule": (*SCHEDULES, NO_SCHEDULE), "loss_on": LOSSES, "truncation": TRUNCATIONS, "compute": COMPUTE_TYPES,
    "harness": HARNESSES,
}  # fmt: skip

_SHARES_OF_LESS_THAN_ONE = ("dropout", "beta1", "beta2")


def training_settings(study: Study, levels: Mapping[str, Level]) -> TrainingSettings:
    """Return how the run with ``levels`` is trained: the study's settings, what ``by`` changes, its schedule.

    Raises:
        RecordError: a key is missing, unknown, of another type or out of range; or ``by`` names no factor.
        StudyError: ``steps`` beside ``epochs`` or an epoch factor; epochs that the grid keeps but nobody trains.
    """
    where = str(study.folder / STUDY_FILE)
    fields = Fields(study.settings, where, "settings").child("training")
    values = dict(_values(fields, TrainingSettings))
    for rule in fields.children("by", []):
        partial, change = _partial(study, rule), rule.child("set")
        changed = dict(_values(change, TrainingSettings, values.get("lora", DEFAULT_LORA)))
        change.done()
        rule.done()
        if matches(levels, partial):
            values |= changed
    fields.done()
    return _whole(study, levels, values, where)


def evaluation_settings(study: Study) -> EvaluationSettings:
    """Read ``settings.evaluation``.

    Raises:
        RecordError: a key is missing, unknown, of another type or out of range.
    """
    fields = Fields(study.settings, str(study.folder / STUDY_FILE), "settings").child("evaluation")
    tasks = tuple(fields.take_list("tasks", str))
    values = dict(_values(fields, EvaluationSettings))
    fields.done()
    if len(set(tasks)) != len(tasks):
        raise fields.error("tasks", "names a task twice")
    return EvaluationSettings(tasks=tasks, **values)


def _values(
    fields: Fields, record: type, lora: LoraSettings = DEFAULT_LORA
) -> Iterator[tuple[str, bool | int | float | str | LoraSettings]]:
    """Yield (name, checked value) of every field of ``record`` that is given; ``lora`` is what a part of it changes."""
    for field in record_fields(record):
        name = field.name
        if name == "tasks" or fields.raw(name) is None:
            continue
        if name == "lora":
            part = fields.child("lora")
            yield name, replace(lora, **dict(_values(part, LoraSettings)))
            part.done()
        else:
            yield name, _value(fields, name)


def _value(fields: Fields, name: str) -> bool | int | float | str:
    kind = _KINDS.get(name, (int, float))
    value = fields.take(name, kind)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise fields.error(name, f"is {value!r}{nearest(value, _CHOICES[name])}")
    least = 1 if kind is int and name != "num_fewshot" else 0
    if kind in (int, (int, float)) and value < least:
        raise fields.error(name, f"is {value}, less than {least}")
    if name == "warmup_ratio" and value > 1:
        raise fields.error(name, f"is {value}; a share of the steps is at most 1")
    if name in _SHARES_OF_LESS_THAN_ONE and value >= 1:
        raise fields.error(name, f"is {value}; it must be less than 1")
    return value if name in _KINDS else float(value)


def _partial(study: Study, rule: Fields) -> dict[str, tuple[Level, ...]]:
    """Read ``when``: factor → the level or levels that a rule is for."""
    known = {factor.name: factor.levels for factor in study.factors}
    partial = {}
    for name, wanted in rule.take("when", dict).items():
        if name not in known:
            raise rule.error(f"when.{name}", f"is not a factor{nearest(str(name), list(known))}")
        partial[name] = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for level in partial[name]:
            if not has_level(known[name], level):
                raise rule.error(f"when.{name}", f"has no level {level!r}{nearest_level(level, known[name])}")
    return partial


def _whole(study: Study, levels: Mapping[str, Level], values: dict[str, Any], where: str) -> TrainingSettings:
    """Put the schedule of the grid in and refuse what is missing or contradicts itself."""
    if factor := study.factor_with_role("schedule"):
        values["schedule"] = str(levels[factor.name])
    missing = [name for name in ("batch_size", "max_length", "learning_rate") if name not in values]
    if missing:
        step = "give them in `settings.training`, or in `set` of a rule of `settings.training.by`"
        raise StudyError(f"settings.training lacks {', '.join(missing)}", where=where, next_step=step)
    if values.get("schedule", "constant") not in SCHEDULES:
        what = f"the schedule {values['schedule']!r} is not one of {list(SCHEDULES)}"
        raise StudyError(what, where=where, next_step="only untouched cells (method none) have the schedule none")
    if values.get("steps") and (values.get("epochs") or study.factor_with_role("epoch")):
        step = "keep `steps`, or `epochs` and the factor"
        raise StudyError("settings.training.steps stands beside epochs", where=where, next_step=step)
    return TrainingSettings(**values)
