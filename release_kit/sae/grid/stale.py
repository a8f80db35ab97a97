"""What lies on disk and was made from something else than the study asks for now: said, never kept in silence.

Looks at series of models, autoencoders, measures and interventions of a plan; removes them when they are to be made
again, with everything that was made from them.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core import canonical
from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError
from release_kit.sae.grid.units import INTERVENE, MEASURE, MODEL, TRAIN, Unit
from release_kit.sae.pipeline.identity import changes
from release_kit.sae.pipeline.models import series_problem
from release_kit.sae.pipeline.paths import (
    INTERVENTION_FILE,
    MEASURE_FILE,
    MODELS,
    SaeKey,
    intervention_folder,
    measure_folder,
)
from release_kit.sae.pipeline.plan import keys, steps_of
from release_kit.sae.pipeline.read import find_stale, is_finished, read_finished, remove_made
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.prepare.series import SERIES_FILE
from release_kit.sae.spec.model import SaeStudy

N_SHOWN = 5


class StaleError(SaeError):
    """Something on disk was made from other settings, texts or models than the study asks for now."""


@dataclass(frozen=True, kw_only=True)
class Stale:
    """One thing that was made from something else.

    Attributes:
        kind: of the unit that made it.
        size: of the model.
        key: None for a series of models.
        changed: from what it was made, and from what it would be.
        unknown: what it would be made from cannot be looked at, its model say.
    """

    kind: str
    size: str
    key: SaeKey | None
    changed: str
    unknown: bool = False

    def sentence(self) -> str:
        """Return one line: what it is, what changed."""
        if self.key is None:
            return f"language models of {self.size}: {self.changed}"
        what = {TRAIN: "", MEASURE: "measures of ", INTERVENE: "interventions on "}[self.kind]
        return f"{what}{self.key.title}: {self.changed}"


def find_all_stale(study: SaeStudy, units: Sequence[Unit]) -> list[Stale]:
    """Return everything of a plan that was made from something else; what follows from another entry is not repeated.

    Of a size whose models are to be trained first nothing is said: only they tell.

    Raises:
        SaeError: the texts cannot be read.
    """
    found = [
        Stale(kind=MODEL, size=unit.size, key=None, changed=problem)
        for unit in units
        if unit.kind == MODEL and (problem := series_problem(study, unit.size))
    ]
    bad_sizes = {one.size for one in found}
    bad_sizes |= {unit.size for unit in units if unit.kind == MODEL and not unit.is_done(study.folder)}
    trained = [key for unit in units if unit.kind == TRAIN and unit.size not in bad_sizes for key in unit.keys]
    stale = find_stale(study, trained)
    found += [
        Stale(kind=TRAIN, size=one.key.size, key=one.key, changed=one.changed, unknown=one.unknown) for one in stale
    ]
    bad_keys = {one.key for one in stale}
    measured = [key for unit in units if unit.kind == MEASURE for key in unit.keys if key in set(trained) - bad_keys]
    found += [*_measures(study, measured)]
    bad_keys |= {one.key for one in found if one.key is not None}
    for unit in units:
        if unit.kind == INTERVENE and unit.size not in bad_sizes:
            found += [*_interventions(study, [key for key in unit.keys if not {key, _donor(study, key)} & bad_keys])]
    return found


def see_to_stale(study: SaeStudy, units: Sequence[Unit], *, redo: bool) -> None:
    """Refuse to go on over things that were made from something else, or remove them to be made again.

    Raises:
        StaleError: names them and what changed.
    """
    found = find_all_stale(study, units)
    if found and not redo:
        lines = [one.sentence() for one in found[:N_SHOWN]]
        lines += [f"and {len(found) - N_SHOWN} more"] if len(found) > N_SHOWN else []
        what = f"{counted(len(found), 'thing')} made from something else than the study asks for now"
        step = "restore what changed, take another folder, or make them again with --redo-stale"
        raise StaleError("\n  ".join([what, *lines]), where=str(study.file), next_step=step)
    for one in found:
        _remove(study, one)


def _measures(study: SaeStudy, wanted: Sequence[SaeKey]) -> Iterator[Stale]:
    from release_kit.sae.measure.settings import SETTINGS, measure_identity
    from release_kit.sae.measure.write import read_recorded

    text = study_texts(study).held_out_digest
    for key in wanted:
        there = read_recorded(measure_folder(study.folder, key), MEASURE_FILE, key)
        if there is None or not is_finished(study.folder, key):
            continue
        asked = measure_identity(study, read_finished(study.folder, key), text, SETTINGS)
        if canonical.digest(asked) != there.record["identity_digest"]:
            yield Stale(kind=MEASURE, size=key.size, key=key, changed=_said(there.record, asked))


def _interventions(study: SaeStudy, wanted: Sequence[SaeKey]) -> Iterator[Stale]:
    """Hold interventions against the measures that they came from and what the study puts in."""
    from release_kit.sae.intervene.cell import settings_at
    from release_kit.sae.measure.write import read_recorded

    for key in wanted:
        there = read_recorded(intervention_folder(study.folder, key), INTERVENTION_FILE, key)
        both = [
            read_recorded(measure_folder(study.folder, one), MEASURE_FILE, one) for one in (key, _donor(study, key))
        ]
        if there is None or None in both:
            continue
        measures = [one.record["identity_digest"] for one in both if one is not None]
        asked = {**there.record["identity"], "intervene": settings_at(study, key.size, key.step), "measures": measures}
        if canonical.digest(asked) != there.record["identity_digest"]:
            yield Stale(kind=INTERVENE, size=key.size, key=key, changed=_said(there.record, asked))


def _said(record: Any, asked: dict[str, Any]) -> str:
    was, now = record["identity"].get("version"), asked.get("version")
    if was != now:
        return f"made by another version of release_kit (its format {was}, now {now})"
    if record["identity"] | {"sae_files": asked.get("sae_files")} == asked:
        return "the autoencoder has been made again since, with other bytes"
    return changes(dict(record["identity"]), asked) or "its record was changed by hand"


def _donor(study: SaeStudy, key: SaeKey) -> SaeKey:
    return SaeKey(size=key.size, step=steps_of(study, key.size)[-1], layer=key.layer, seed=key.seed)


def _remove(study: SaeStudy, one: Stale) -> None:
    """Remove a thing and what was made from it; what says that it is finished goes first."""
    if one.key is None:
        for key in keys(study, {"size": (one.size,)}):
            remove_made(study.folder, key)
        home = study.folder / MODELS / one.size
        (home / SERIES_FILE).unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)
        return
    if one.kind == TRAIN:
        remove_made(study.folder, one.key)
    if one.kind == MEASURE:
        _remove_folder(measure_folder(study.folder, one.key), MEASURE_FILE)
    _remove_folder(intervention_folder(study.folder, one.key), INTERVENTION_FILE)
    if one.kind != INTERVENE and one.key == _donor(study, one.key):
        for step in steps_of(study, one.size):
            taker = SaeKey(size=one.size, step=step, layer=one.key.layer, seed=one.key.seed)
            _remove_folder(intervention_folder(study.folder, taker), INTERVENTION_FILE)


def _remove_folder(folder: Any, last: str) -> None:
    (folder / last).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
