"""Everything that is in the way of a study, found before anything is computed, all at once.

Reads files, loads no model. What the study file alone shows is refused when it is read (``spec/read.py``).
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from release_kit.core.errors import ReleaseKitError
from release_kit.core.grammar.problem import Problem
from release_kit.sae.grid.cost import plan_cost
from release_kit.sae.grid.stale import find_all_stale
from release_kit.sae.grid.units import plan_units
from release_kit.sae.measure.dictionary import meanings_source
from release_kit.sae.measure.write import read_recorded
from release_kit.sae.models.load import model_digest
from release_kit.sae.pipeline.models import locate, model_use, same_shape, shape_of
from release_kit.sae.pipeline.paths import (
    INTERVENTION_FILE,
    MEASURE_FILE,
    MODELS,
    TABLES,
    intervention_folder,
    measure_folder,
)
from release_kit.sae.pipeline.plan import ABLATE, RANDOM_MODEL, keys, layers_of, listed_steps, sizes, steps_of
from release_kit.sae.pipeline.read import list_finished
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.prepare.meanings import ensure_words
from release_kit.sae.prepare.pairs import TATOEBA
from release_kit.sae.prepare.series import read_series
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.intact import TABLES_FILE, refuse_damaged_tables
from release_kit.sae.tables.labels import read_labels
from release_kit.sae.train.room import bytes_needed, check_fits
from release_kit.sae.train.settings import sae_config, step_settings

_OFTEN = 5000
"""Tokens for each pair from which on every sentence is seen about a hundred times."""


def check_study(study: SaeStudy, *, device: str = "cpu") -> list[Problem]:
    """Return everything that is wrong or worth a look; errors first.

    Args:
        study: as it was read.
        device: where it is to be run.
    """
    found = [*_texts(study), *_device(device), *_training(study)]
    for size in sizes(study):
        found += _size(study, size)
    found += _interventions(study)
    if not any(one.severity == "error" for one in found):
        found += [*_made(study), *_disk(study)]
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda one: one.severity != "error")


def _texts(study: SaeStudy) -> Iterator[Problem]:
    use = study.text
    try:
        texts = study_texts(study)
    except ReleaseKitError as error:
        yield _problem("texts", error, study)
        return
    wanted = study.training.n_steps * study.training.batch
    if wanted > _OFTEN * len(texts.train):
        what = f"{wanted:,} tokens are asked for from {len(texts.train):,} pairs: they repeat many times"
        yield _warning("texts", what, f"{study.file}: training.tokens", "ask for fewer tokens, or take more pairs")
    if study.intervene.sentences > len(texts.held_out):
        what = f"{study.intervene.sentences:,} sentences are asked for, {len(texts.held_out):,} pairs are held out"
        yield _warning("texts", what, f"{study.file}: intervene.sentences", "all that are held out are taken")
    left = [name for name in ("licence", "attribution") if use.source != TATOEBA and not getattr(use, name)]
    if left:
        what = f"{' and '.join(left)} of the text {'are' if len(left) > 1 else 'is'} not said"
        yield _warning("licence", what, f"{study.file}: text", "say both before anything is published")
    yield from _tried("labels", study, lambda: read_labels(study))
    if study.classify.meanings:
        yield from _tried("meanings", study, lambda: ensure_words(meanings_source(study)))


def _device(device: str) -> Iterator[Problem]:
    if device == "cpu":
        return
    import torch

    number = int(device.partition(":")[2] or 0)
    if torch.cuda.device_count() <= number:
        what = f"there is no {device} on this machine ({torch.cuda.device_count()} GPUs)"
        yield _warning("device", what, "--device", "take cpu, or run where there is one")


def _training(study: SaeStudy) -> Iterator[Problem]:
    try:
        step_settings(study)
    except ReleaseKitError as error:
        yield _problem("training", error, study)
    use = study.training
    if use.tokens < use.batch:
        what = f"{use.tokens:,} tokens are less than one batch of {use.batch:,}: one step is taken"
        yield _warning("training", what, f"{study.file}: training", "lower training.batch")


def _size(study: SaeStudy, size: str) -> Iterator[Problem]:
    """Say what is wrong with one size: its steps and checkpoints, layers, widths, cache."""
    try:
        steps, (n_layers, d_model) = steps_of(study, size), shape_of(study, size)
    except ReleaseKitError as error:
        yield _problem("model", error, study)
        return
    yield from _checkpoints(study, size, steps)
    yield from _tried("layers", study, lambda: layers_of(study, size, n_layers))
    for problem in _tried("width", study, lambda: sae_config(study, d_model, 1.0)):
        yield replace(problem, what=f"{problem.what} (size {size}, width {d_model})")
    if RANDOM_MODEL in study.classify.nulls and 0 not in listed_steps(study, size):
        what = "step 0 is not listed and is trained all the same: the null random-model needs it"
        yield _warning("null", what, f"{study.file}: models.{size}.steps", "list it, or take the null out")
    if len(steps) == 1 and study.training.warm_start == "previous-step":
        what = "there is one step: nothing to begin with"
        yield _warning("warm-start", what, f"{study.file}: training.warm_start", "list more steps, or write none")
    if study.cache.kind == "disk":
        n_tokens, layers = study.training.n_steps * study.training.batch, len(study.layers) or n_layers
        needed = bytes_needed(n_tokens, d_model, layers, study.cache.dtype)
        where = f"{study.file}: cache.max_gb"
        yield from _tried("cache", study, lambda: check_fits(needed, study.cache.max_gb, n_layers=layers, where=where))


def _checkpoints(study: SaeStudy, size: str, steps: tuple[int, ...]) -> Iterator[Problem]:
    """Look at every checkpoint: one that is missing in the middle of a series is found here."""
    if model_use(study, size).trained_here:
        yield from _tried("model", study, lambda: read_series(study.folder / MODELS / size))
        return
    wanted = shape_of(study, size)
    for step in steps:
        source, revision = locate(study, size, step)
        if revision is not None or step in listed_steps(study, size):
            yield from _tried("checkpoint", study, lambda at=(source, revision): model_digest(*at))
            yield from _tried("checkpoint", study, lambda step=step: same_shape(study, size, step, wanted))


def _interventions(study: SaeStudy) -> Iterator[Problem]:
    known = {step for size in sizes(study) for step in model_use(study, size).steps}
    for step in study.intervene.steps or ():
        if step not in known:
            what = f"names {step}, which no size has; there are {sorted(known)}"
            yield _error("interventions", what, f"{study.file}: intervene.steps", "name steps of the models")
    for size in sizes(study):
        last = (model_use(study, size).steps or (None,))[-1]
        if last in (study.intervene.steps or ()) and ABLATE not in study.intervene.variants:
            what = f"names {last}, the last step of {size}: only ablate can be done there"
            yield _warning(
                "interventions",
                what,
                f"{study.file}: intervene.steps",
                "leave it out, or add ablate to intervene.variants",
            )


def _made(study: SaeStudy) -> Iterator[Problem]:
    """Hold what is finished against its digests, and against what the study asks for now."""
    for one in list_finished(study):
        yield from _tried("damaged", study, one.check)
    for key in keys(study):
        for folder, name in (
            (measure_folder(study.folder, key), MEASURE_FILE),
            (intervention_folder(study.folder, key), INTERVENTION_FILE),
        ):
            if recorded := read_recorded(folder, name, key):
                yield from _tried("damaged", study, recorded.check)
    if (study.folder / TABLES / TABLES_FILE).exists():
        yield from _tried("damaged", study, lambda: refuse_damaged_tables(study))
    for one in find_all_stale(study, plan_units(study)):
        yield _error("stale", one.sentence(), str(study.file), "restore what changed, or run with --redo-stale")


def _disk(study: SaeStudy) -> Iterator[Problem]:
    cost = plan_cost(study)
    left = cost.sae_bytes * (cost.n_saes - cost.n_done) // max(cost.n_saes, 1)
    needed, free = left + cost.cache_bytes + cost.state_bytes + cost.model_bytes, _free(study.folder)
    if needed > free:
        what = f"at least {needed / 1e6:,.1f} MB are needed with one worker, the disk has {free / 1e6:,.1f} MB"
        step = "free some space, write cache: {kind: stream}, or take fewer layers, steps or features"
        yield _error("disk", what, str(study.folder), step)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _tried(code: str, study: SaeStudy, look: Callable[[], object]) -> Iterator[Problem]:
    try:
        look()
    except ReleaseKitError as error:
        yield _problem(code, error, study)


def _problem(code: str, error: ReleaseKitError, study: SaeStudy) -> Problem:
    where = error.where or str(study.file)
    return Problem(code=code, what=error.what, where=where, next_step=error.next_step or "")


def _error(code: str, what: str, where: str, next_step: str) -> Problem:
    return Problem(code=code, what=what, where=where, next_step=next_step)


def _warning(code: str, what: str, where: str, next_step: str) -> Problem:
    return Problem(code=code, what=what, where=where, next_step=next_step, severity="warning")
