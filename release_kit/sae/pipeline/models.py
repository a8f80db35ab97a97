"""The language models of a study: training a series here, and opening one size at one training step.

What a checkpoint is, and how it is read, belongs to ``models/`` and ``prepare/``.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.records import nearest
from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import LanguageModel, model_digest, model_shape, open_model
from release_kit.sae.pipeline.paths import MODELS, model_folder
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.prepare.recipes import LmRecipe, LmSize
from release_kit.sae.prepare.series import check_checkpoint
from release_kit.sae.spec.model import ModelUse, SaeStudy

RANDOM_SEED = 0
"""Of the weights of step 0 of a model that is not trained here."""
N_DEV = 256
"""Held-out pairs on which every checkpoint that is made here is measured."""

OnStep = Callable[[str, int, float], None]


def open_step(study: SaeStudy, size: str, step: int, device: str = "cpu") -> LanguageModel:
    """Return a size at a training step; step 0 of a model from elsewhere has random weights unless it is listed.

    Raises:
        SaeError: there is no such size, step or checkpoint, or it is damaged.
    """
    source, revision = locate(study, size, step)
    if model_use(study, size).trained_here:
        check_checkpoint(Path(source).parent, step)
    elif revision is None:
        from release_kit.sae.classify.nulls import random_init

        source, revision = _donor(study, size)
        return random_init(open_model(source, revision, device=device), RANDOM_SEED)
    return open_model(source, revision, device=device)


def step_digest(study: SaeStudy, size: str, step: int) -> str:
    """Return ``open_step(study, size, step).digest`` without loading the model.

    Raises:
        SaeError: there is no such checkpoint.
    """
    source, revision = locate(study, size, step)
    if revision is None and not model_use(study, size).trained_here:
        digest = model_digest(*_donor(study, size))
        return canonical.digest({"random_init_of": digest, "seed": RANDOM_SEED})
    return model_digest(source, revision)


def locate(study: SaeStudy, size: str, step: int) -> tuple[str | Path, str | None]:
    """Return folder or Hub id of a size at a step, and its revision: None for a checkpoint or a random model.

    Raises:
        SaeError: the study has no such size or step.
    """
    use = model_use(study, size)
    if use.trained_here:
        return model_folder(study.folder, size, step), None
    if step in use.revisions:
        return _source(study, use), use.revisions[step]
    if step == 0:
        return _source(study, use), None
    what = f"the model has no step {step}; there are {sorted(use.revisions)}"
    raise SaeError(what, where=f"{study.file}: models.{size}", next_step="add the step to revisions")


def model_label(study: SaeStudy, size: str, step: int) -> str:
    """Return how published files name a model: nothing of this machine in it."""
    use = model_use(study, size)
    if use.trained_here:
        return f"{study.name}/{MODELS}/{size}/step-{step}"
    name = str(use.path) if not Path(str(use.path)).is_absolute() else Path(str(use.path)).name
    return f"{name}@{use.revisions[step]}" if step in use.revisions else f"{name} (random weights)"


def shape_of(study: SaeStudy, size: str) -> tuple[int, int]:
    """Return (number of blocks, width of the residual stream) of a size.

    Raises:
        SaeError: a model from elsewhere cannot be found.
    """
    use = model_use(study, size)
    if use.trained_here:
        assert use.n_layers and use.hidden_size
        return use.n_layers, use.hidden_size
    return _shape(*_donor(study, size))


def same_shape(study: SaeStudy, size: str, step: int, wanted: tuple[int, int]) -> None:
    """Refuse a checkpoint of another shape than the rest of its series.

    Args:
        wanted: (number of blocks, width) of the series, ``shape_of``.

    Raises:
        SaeError: names both shapes.
    """
    source, revision = locate(study, size, step)
    there = _shape(source, revision)
    if there != wanted:
        said = [f"{counted(n_blocks, 'block')} of width {width}" for n_blocks, width in (there, wanted)]
        what = f"the checkpoint of step {step} has {said[0]}, the series {said[1]}: it is of another model"
        advice = "name a checkpoint of this series, or make the other model a size of its own"
        raise SaeError(what, where=f"{study.file}: models.{size}", next_step=advice)


@functools.lru_cache(maxsize=64)
def _shape(source: str | Path, revision: str | None) -> tuple[int, int]:
    return model_shape(source, revision)


def model_use(study: SaeStudy, size: str) -> ModelUse:
    """Return what the study says of a size.

    Raises:
        SaeError: nothing.
    """
    if size not in study.models:
        raise SaeError(f"there is no size {size!r}{nearest(size, study.models)}", where=str(study.file))
    return study.models[size]


def recipe_of(study: SaeStudy, size: str) -> LmRecipe:
    """Return how the series of a size is trained, with every step of the plan kept."""
    from release_kit.sae.pipeline.plan import steps_of

    use, settings = model_use(study, size), study.language_model
    assert use.hidden_size and use.n_layers and use.n_heads
    shape = LmSize(name=size, hidden_size=use.hidden_size, n_layers=use.n_layers, n_heads=use.n_heads)
    return LmRecipe(
        sizes=(shape,), keep=steps_of(study, size), vocab_size=settings.vocab_size, context=settings.seq_len,
        batch_rows=settings.batch, learning_rate=settings.learning_rate, seed=settings.seed,
    )  # fmt: skip


def train_series(study: SaeStudy, size: str, on_step: OnStep | None = None) -> None:
    """Train a size and keep its checkpoints; goes on where it was stopped, instant when it is finished.

    Raises:
        SaeError: as ``train_language_model``.
    """
    from release_kit.sae.prepare.language_models import train_language_model

    texts = study_texts(study)
    recipe = recipe_of(study, size)
    train_language_model(recipe, size, texts.train, texts.held_out[:N_DEV], study.folder / MODELS, on_step)


def series_problem(study: SaeStudy, size: str) -> str | None:
    """Return what of a finished series is of another recipe, text or library than the study asks for; else None."""
    from release_kit.sae.prepare.language_models import series_fingerprint
    from release_kit.sae.prepare.series import SERIES_FILE

    path = study.folder / MODELS / size / SERIES_FILE
    if not path.is_file():
        return None
    texts, recipe = study_texts(study), recipe_of(study, size)
    wanted = series_fingerprint(recipe, recipe.sizes[0], texts.train, texts.held_out[:N_DEV])
    record = canonical.read_json(path)
    if record.get("fingerprint") == wanted:
        return None
    there, asked = record.get("recipe", {}), recipe.to_dict()
    changed = [
        f"{name} {json.dumps(there.get(name))} → {json.dumps(value)}"
        for name, value in asked.items()
        if there.get(name) != value
    ]
    return "; ".join(changed) or "other sentences, or other versions of libraries"


def _source(study: SaeStudy, use: ModelUse) -> str | Path:
    """Return the folder of a model (relative ones are relative to the study) or its Hub id."""
    inside = study.folder / str(use.path)
    return inside if inside.is_dir() else str(use.path)


def _donor(study: SaeStudy, size: str) -> tuple[str | Path, str | None]:
    """Return where shape and tokenizer of a random model come from: the last listed step, or the model as it lies."""
    use = model_use(study, size)
    listed = sorted(use.revisions)
    return _source(study, use), use.revisions[listed[-1]] if listed else None
