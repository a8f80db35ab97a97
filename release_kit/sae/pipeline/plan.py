"""What a study is made of: sizes, training steps, layers and seeds, as keys in a fixed order.

Pure over the study, but for the number of blocks of models from elsewhere. What of it is done is ``read.py``'s.
"""

from collections.abc import Mapping, Sequence

from release_kit.core.study import Level
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.models import model_use, shape_of
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.spec.model import SaeStudy

RANDOM_MODEL = "random-model"
ABLATE = "ablate"
"""The variant that needs no features but a model's own."""
Selection = Mapping[str, Sequence[Level]]
"""Of ``size``, ``step``, ``layer``, ``seed``: the wanted levels; a name that is not there wants all."""


def sizes(study: SaeStudy) -> tuple[str, ...]:
    """Return the sizes in the order of the study."""
    return tuple(study.models)


def listed_steps(study: SaeStudy, size: str) -> tuple[int, ...]:
    """Return the training steps that the study lists for a size.

    Raises:
        SaeError: a model from elsewhere has no step at which it is trained.
    """
    use = model_use(study, size)
    if not use.trained_here and not use.revisions:
        step = "write revisions, as in {1000: main} for a Hub id or {1000: .} for a folder that holds the model itself"
        raise SaeError("no training step is named", where=f"{study.file}: models.{size}", next_step=step)
    return use.steps


def steps_of(study: SaeStudy, size: str) -> tuple[int, ...]:
    """Return the steps of a size, the smallest first; with the null ``random-model`` step 0 is always one of them."""
    steps = set(listed_steps(study, size))
    return tuple(sorted(steps | {0} if RANDOM_MODEL in study.classify.nulls else steps))


def layers_of(study: SaeStudy, size: str, n_layers: int | None = None) -> tuple[int, ...]:
    """Return the layers of a size, ascending.

    Args:
        study: the study.
        size: one of its sizes.
        n_layers: blocks of the model; looked up if None.

    Raises:
        SaeError: the study names a layer that the model does not have.
    """
    if n_layers is None:
        n_layers, _ = shape_of(study, size)
    if unknown := [layer for layer in study.layers if layer > n_layers]:
        what = f"the size {size} has no layer {unknown[0]}: its layers are 1 to {n_layers}"
        raise SaeError(
            what, where=f"{study.file}: layers", next_step="name layers that every size has, or none for all"
        )
    return study.layers or tuple(range(1, n_layers + 1))


def intervened_steps(study: SaeStudy, size: str) -> tuple[int, ...]:
    """Return the steps whose models are changed; the last one only where features are taken out.

    None without a class or a way to put it in.
    """
    if not study.intervene.classes:
        return ()
    chosen = listed_steps(study, size) if study.intervene.steps is None else study.intervene.steps
    return tuple(step for step in steps_of(study, size) if step in chosen and variants_at(study, size, step))


def variants_at(study: SaeStudy, size: str, step: int) -> tuple[str, ...]:
    """Return what is done to a step: nothing can be put from the last step into itself."""
    if step != steps_of(study, size)[-1]:
        return study.intervene.variants
    return tuple(variant for variant in study.intervene.variants if variant == ABLATE)


def keys(study: SaeStudy, select: Selection | None = None) -> tuple[SaeKey, ...]:
    """Return every autoencoder of the study, or those that are selected, by size (in its order), step, layer, seed.

    Raises:
        SaeError: a layer is unknown, or a model from elsewhere cannot be found.
    """
    return tuple(
        SaeKey(size=size, step=step, layer=layer, seed=seed)
        for size in _wanted(sizes(study), "size", select)
        for step in _wanted(steps_of(study, size), "step", select)
        for layer in _wanted(layers_of(study, size), "layer", select)
        for seed in _wanted(sorted(study.seeds), "seed", select)
    )


def cell_keys(study: SaeStudy, size: str, step: int, select: Selection | None = None) -> tuple[SaeKey, ...]:
    """Return the autoencoders of one model at one step: all layers and seeds, or those that are selected."""
    return keys(study, {**(select or {}), "size": (size,), "step": (step,)})


def factors(study: SaeStudy) -> dict[str, tuple[Level, ...]]:
    """Return what ``--select`` may name: factor → its levels over all sizes."""
    steps = sorted({step for size in sizes(study) for step in steps_of(study, size)})
    layers = sorted({layer for size in sizes(study) for layer in layers_of(study, size)})
    return {"size": sizes(study), "step": tuple(steps), "layer": tuple(layers), "seed": tuple(sorted(study.seeds))}


def previous_step(study: SaeStudy, size: str, step: int) -> int | None:
    """Return the step whose autoencoders those of ``step`` begin with; None where they begin with random tensors."""
    steps = steps_of(study, size)
    place = steps.index(step)
    return steps[place - 1] if study.training.warm_start == "previous-step" and place else None


def _wanted(levels: Sequence[Level], name: str, select: Selection | None) -> list[Level]:
    chosen = (select or {}).get(name)
    return [level for level in levels if chosen is None or level in chosen]
