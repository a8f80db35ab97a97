"""The learning rate of every step: the formulas of transformers' schedulers, as a pure function of the step."""

import math

from release_kit.sft.spec.settings import TrainingSettings


def learning_rate(step: int, n_steps: int, settings: TrainingSettings) -> float:
    """Return the rate of optimiser step ``step`` (from 1) of a run of ``n_steps``.

    With i = step - 1 and w = ⌈warmup_ratio · n_steps⌉: peak · i / w while i < w; afterwards, with
    p = (i - w) / (n_steps - w): peak (``constant``), peak · (1 - p) (``linear``), peak · (1 + cos πp) / 2 (``cosine``).
    These are the values of ``transformers.get_scheduler``.
    """
    index, warmup = step - 1, math.ceil(settings.warmup_ratio * n_steps)
    if index < warmup:
        return settings.learning_rate * index / warmup
    done = (index - warmup) / max(1, n_steps - warmup)
    if settings.schedule == "linear":
        return settings.learning_rate * max(0.0, 1.0 - done)
    if settings.schedule == "cosine":
        return settings.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return settings.learning_rate
