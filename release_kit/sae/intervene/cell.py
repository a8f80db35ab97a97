"""Interventions on the models of one step: features of the last step put in, their own taken out, losses written.

The number of forward passes is known before the first one and said in every report. Replacing everything by itself must
change nothing: it is tried on each layer and seed, and what it changed stands in ``intervention.json``.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from release_kit.core import canonical
from release_kit.sae.errors import SaeError
from release_kit.sae.intervene.plan import ALL, CONTROLS, Classes, Intervention, plan_interventions
from release_kit.sae.intervene.run import Losses, Side, intervene, loss_rows
from release_kit.sae.intervene.sentences import Sentence, batches, make_sentences
from release_kit.sae.measure.write import FEATURES, is_current, read_recorded, typed, write_recorded
from release_kit.sae.models.load import LanguageModel
from release_kit.sae.pipeline.identity import versions
from release_kit.sae.pipeline.models import open_step
from release_kit.sae.pipeline.paths import (
    INTERVENTION_FILE,
    MEASURE_FILE,
    SaeKey,
    intervention_folder,
    measure_folder,
)
from release_kit.sae.pipeline.plan import cell_keys, steps_of, variants_at
from release_kit.sae.pipeline.read import is_finished, read_finished
from release_kit.sae.pipeline.texts import LANGUAGES, study_texts
from release_kit.sae.prepare.documents import BETWEEN
from release_kit.sae.prepare.pairs import Pair
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.effects import LOSSES
from release_kit.sae.tables.schema import LOSS_ROW

INTERVENE_VERSION = 1
"""Raised when the same settings give other losses than before."""
IDENTITY_BOUND = 1e-4
"""Most that replacing everything by itself may change a sentence's loss, nats per token."""
IDENTITY_PAIRS = 4
BATCH_TOKENS = 4096
Report = Callable[[str, int, int], None]


def intervene_cell(study: SaeStudy, size: str, step: int, *, device: str = "cpu", report: Report) -> None:
    """Intervene at every layer and seed of a size at a step; what is there stays.

    Args:
        study: with autoencoders and measures of this step and the last one. size, step: which model is changed.
        device: of torch. report: told forward passes done and in all.

    Raises:
        SaeError: autoencoders or measures are missing, or replacing everything by itself changes losses.
    """
    last = steps_of(study, size)[-1]
    if not variants_at(study, size, step):
        where = f"{study.file}: {size}"
        raise SaeError(f"step {step} is the last one: its own features would be put into it", where=where)
    texts = study_texts(study)
    pairs = texts.held_out[: study.intervene.sentences]
    text = canonical.digest([[pair.id, pair.en, pair.ja] for pair in pairs])
    todo = {
        key: identity
        for key in cell_keys(study, size, step)
        if is_finished(study.folder, key)
        and not is_current(
            intervention_folder(study.folder, key), INTERVENTION_FILE, key,
            identity := _identity(study, key, _donor(key, last), text),
        )
    }  # fmt: skip
    if not todo:
        return
    middle, final = (open_step(study, size, one, device) for one in (step, last))
    sentences = sentences_of(middle, pairs)
    n = len(todo) * n_passes(study, size, step, sentences)
    counter = _Counter(report, n)
    for key, identity in todo.items():
        sides = _Sides.of(study, key, _donor(key, last), middle, final, device)
        changed = _identity_change(sides, middle, pairs[:IDENTITY_PAIRS])
        losses = _losses(study, sides, sentences, counter)
        write_recorded(
            intervention_folder(study.folder, key), INTERVENTION_FILE, {LOSSES: typed([*loss_rows(losses)], LOSS_ROW)},
            identity=identity, versions=versions(device),
            more={"identity_test": {"largest_change": changed, "bound": IDENTITY_BOUND, "n_pairs": IDENTITY_PAIRS}},
        )  # fmt: skip


def n_interventions(study: SaeStudy, size: str, step: int) -> int:
    """Return how many interventions, controls counted, are made at one layer and seed of a step."""
    use = study.intervene
    each = sum(1 if name == ALL else 1 + len(CONTROLS) * use.n_random for name in use.classes)
    return each * len(variants_at(study, size, step)) * len(use.strengths)


def n_passes(study: SaeStudy, size: str, step: int, sentences: Sequence[Sentence]) -> int:
    """Return the forward passes of one layer and seed: batches of sentences times (interventions + base + 2)."""
    return sum(1 for _ in batches(sentences, n_tokens=BATCH_TOKENS)) * (n_interventions(study, size, step) + 3)


def sentences_of(lm: LanguageModel, pairs: Sequence[Pair]) -> list[Sentence]:
    """Return both sides of pairs and their translations, as the models of a study are trained on them."""
    return make_sentences(lm, [(pair.id, pair.en, pair.ja) for pair in pairs], LANGUAGES, separator=BETWEEN)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sides:
    """Both models with their autoencoders of one layer and seed, and the classes of features."""

    key: SaeKey
    middle: Side
    final: Side
    own: Classes
    donated: Classes

    @classmethod
    def of(
        cls, study: SaeStudy, key: SaeKey, donor: SaeKey, middle: LanguageModel, final: LanguageModel, device: str
    ) -> "_Sides":
        own, given = (read_finished(study.folder, one).load().to(device) for one in (key, donor))
        return cls(
            key=key, middle=Side(lm=middle, sae=own), final=Side(lm=final, sae=given),
            own=_classes(study, key, device), donated=_classes(study, donor, device),
        )  # fmt: skip


class _Counter:
    """Forward passes done over all layers and seeds."""

    def __init__(self, report: Report, n: int):
        self._report, self._n, self._before = report, n, 0
        report("intervene", 0, n)

    def batches(self, passes_of_batch: int) -> Callable[[int, int], None]:
        """Return what is called after every batch of one layer and seed."""

        def tell(done: int, n_batches: int) -> None:
            self._report("intervene", self._before + done * passes_of_batch, self._n)
            if done == n_batches:
                self._before += n_batches * passes_of_batch

        return tell


def _losses(study: SaeStudy, sides: _Sides, sentences: Sequence[Sentence], counter: _Counter) -> Losses:
    use, variants = study.intervene, variants_at(study, sides.key.size, sides.key.step)
    planned = list(
        plan_interventions(
            sides.donated, sides.own, variants=variants, names=use.classes, strengths=use.strengths,
            n_random=use.n_random, seed=1 + sides.key.seed,
        )
    )  # fmt: skip
    return intervene(
        sides.middle, sides.final, sides.key.layer, sentences, planned, n_tokens=BATCH_TOKENS,
        progress=counter.batches(len(planned) + 3),
    )  # fmt: skip


def _identity_change(sides: _Sides, lm: LanguageModel, pairs: Sequence[Pair]) -> float:
    """Return the largest change of a sentence's loss, nats per token, when everything is replaced by itself.

    Raises:
        SaeError: it is above the bound.
    """
    every = sides.own.of(ALL)
    itself = Intervention(
        variant="replace", name=ALL, strength=1.0, control="", draw=0, final=every, own=every, like_final=every,
        like_own=every,
    )  # fmt: skip
    losses = intervene(sides.middle, sides.middle, sides.key.layer, sentences_of(lm, pairs), [itself])
    changed = float((np.abs(losses.nll[1] - losses.nll[0]) / losses.n_tokens).max())
    if not changed <= IDENTITY_BOUND:
        what = f"replacing all features by themselves changes a loss by {changed:.3g} nats per token"
        raise SaeError(what, where=sides.key.title, next_step="report this: interventions cannot be trusted here")
    return changed


def _donor(key: SaeKey, last: int) -> SaeKey:
    return SaeKey(size=key.size, step=last, layer=key.layer, seed=key.seed)


def _identity(study: SaeStudy, key: SaeKey, donor: SaeKey, text: str) -> dict[str, Any]:
    """Return everything that decides the losses of one layer and seed."""
    return {
        "version": INTERVENE_VERSION, "text": text, "intervene": settings_at(study, key.size, key.step),
        "batch_tokens": BATCH_TOKENS, "measures": [_measure(study, one)["identity_digest"] for one in (key, donor)],
    }  # fmt: skip


def settings_at(study: SaeStudy, size: str, step: int) -> dict[str, Any]:
    """Return what of ``intervene`` decides the losses of a step, as JSON."""
    use = {**asdict(study.intervene), "variants": variants_at(study, size, step)}
    kept = {name: value for name, value in use.items() if name not in ("bootstrap", "steps")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _measure(study: SaeStudy, key: SaeKey) -> Any:
    found = read_recorded(measure_folder(study.folder, key), MEASURE_FILE, key)
    if found is None:
        where = str(measure_folder(study.folder, key))
        raise SaeError("it is not measured, and classes come from there", where=where, next_step="measure it first")
    if found.record["identity"].get("sae_files") != read_finished(study.folder, key).files_digest:
        step = "release-kit sae run --redo-stale measures it again"
        raise SaeError("its measures are of an autoencoder with other bytes", where=key.title, next_step=step)
    return found.record


def _classes(study: SaeStudy, key: SaeKey, device: str) -> Classes:
    import torch

    found = read_recorded(measure_folder(study.folder, key), MEASURE_FILE, key)
    assert found is not None
    table = found.table(FEATURES)
    names = np.array(table.column("class").to_pylist())
    alive = np.asarray(table.column("density")) > 0
    sets = {name: torch.from_numpy(names == name).to(device) for name in ("en", "ja", "bilingual")}
    return Classes(sets=sets, alive=torch.from_numpy(alive).to(device))
