"""What ``settings`` of a study says about training and evaluation, read strictly.

Owns the two records; the values are part of the identity of every cell. What they make happen is ``train.py`` and
``evaluate.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from release_kit.core.records import Fields
from release_kit.core.study import STUDY_FILE, Study
from release_kit.sft.runtime import COMPUTE_TYPES

FULL, LORA, UNTOUCHED = "full", "lora", "none"
METHODS = (FULL, LORA, UNTOUCHED)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How every cell is trained."""

    steps: int
    batch_size: int
    max_length: int
    """Tokens of one example; prompts are cut on the left to fit."""
    learning_rate: Mapping[str, float]
    """Method → constant learning rate of AdamW."""
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_targets: str = "all-linear"
    compute: str = "auto"
    """``float32``, ``bfloat16``, or ``auto``: bfloat16 where the processor has it. Master weights are float32."""
    threads: int = 1
    """Threads of one worker; results depend on it to the last bit."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How every cell is evaluated."""

    tasks: tuple[str, ...]
    """Names of task files in the study's ``tasks/`` folder."""
    batch_size: int = 8
    limit: int | None = None
    """Documents of each task; None takes all."""


def training_settings(study: Study) -> TrainingSettings:
    """Read ``settings.training``.

    Raises:
        RecordError: a key is missing, unknown, or out of range.
    """
    fields = Fields(study.settings, str(study.folder / STUDY_FILE), "settings").child("training")
    rates, lora = fields.child("learning_rate"), fields.child("lora", {})
    settings = TrainingSettings(
        steps=fields.take("steps", int),
        batch_size=fields.take("batch_size", int),
        max_length=fields.take("max_length", int),
        learning_rate={name: float(rates.take(name, (int, float))) for name in fields.raw("learning_rate")},
        weight_decay=float(fields.take("weight_decay", (int, float), 0.0)),
        max_gradient_norm=float(fields.take("max_gradient_norm", (int, float), 1.0)),
        lora_rank=lora.take("rank", int, 8),
        lora_alpha=lora.take("alpha", int, 16),
        lora_targets=lora.take("targets", str, "all-linear"),
        compute=fields.take("compute", str, "auto"),
        threads=fields.take("threads", int, 1),
    )
    lora.done()
    fields.done()
    for name in ("steps", "batch_size", "max_length", "threads"):
        if getattr(settings, name) < 1:
            raise fields.error(name, "is less than 1")
    if settings.compute not in COMPUTE_TYPES:
        raise fields.error("compute", f"is {settings.compute!r}; expected one of {list(COMPUTE_TYPES)}")
    return settings


def evaluation_settings(study: Study) -> EvaluationSettings:
    """Read ``settings.evaluation``.

    Raises:
        RecordError: a key is missing, unknown, or of another type.
    """
    fields = Fields(study.settings, str(study.folder / STUDY_FILE), "settings").child("evaluation")
    settings = EvaluationSettings(
        tasks=tuple(fields.take_list("tasks", str)),
        batch_size=fields.take("batch_size", int, 8),
        limit=fields.take("limit", int, None),
    )
    fields.done()
    return settings
