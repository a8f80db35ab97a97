"""Models of all subjects, layers and features, each fitted once: what is there and whole is not fitted again.

Owns the order of the work: features are placed and decomposed once for all subjects with the same samples; responses
are read by tiles. What is fitted is ``solve/``'s, what a folder holds ``units.py``'s.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import TEMPORARY_PREFIX, write_error
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FitError
from release_kit.encoding.pipeline.banded import bands_of, forget_search, search_bands, split_scores
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.designs import Designs, Event, Part
from release_kit.encoding.pipeline.identity import FIT_CODE, code_digest, libraries, responses_identity
from release_kit.encoding.pipeline.inputs import Inputs, Split, SubjectPlan
from release_kit.encoding.pipeline.repeats import write_means
from release_kit.encoding.pipeline.responses import Cleaned, cleaned_responses
from release_kit.encoding.pipeline.units import FITS, PREDICTION_FILE, Fitted, Unit, finish_fit, read_fit, tell_damage
from release_kit.encoding.solve.checks import Inspected, check_problem, inspect_responses
from release_kit.encoding.solve.ridge import fit_prepared, fit_ridge, prepare
from release_kit.encoding.solve.scores import pearson, r2
from release_kit.encoding.spec.model import Analysis

CONSTANT, NONFINITE, STILL = "constant", "not finite", "prediction constant"

Model = Callable[[FloatArray], FloatArray]


@dataclass(eq=False)
class Group:
    """Subjects with the same samples, and what is needed to fit them.

    Args:
        analysis: the file.
        inputs: dataset and plans.
        choices: of the mode.
        plans: of the subjects.
        designs: matrices of their features.
        on_event: told what is done.
    """

    analysis: Analysis
    inputs: Inputs
    choices: Choices
    plans: tuple[SubjectPlan, ...]
    designs: Designs
    on_event: Event
    _cleaned: dict[str, Cleaned] = field(default_factory=dict)
    _inspected: dict[tuple[str, str], Inspected] = field(default_factory=dict)
    _means: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the analysis."""
        return self.analysis.folder

    def plan(self, subject: str) -> SubjectPlan:
        """Return the plan of a subject of the group."""
        return next(plan for plan in self.plans if plan.subject == subject)

    def cleaned(self, subject: str) -> Cleaned:
        """Return the cleaned responses of a subject, which are made when they are first asked for."""
        if subject not in self._cleaned:

            def say(run: str) -> None:
                self.on_event({"event": "cleaned", "subject": subject, "run": run})

            found = cleaned_responses(self.inputs, self.plan(subject), self.choices, self.folder, say)
            self._cleaned[subject] = found
            if found.text:
                self.on_event({"event": "voxels", "subject": subject, "text": found.text})
        return self._cleaned[subject]

    def inspected(self, subject: str, split: Split, y: FloatArray) -> Inspected:
        """Return means and constant voxels of training responses; they are looked at once for all layers."""
        key = (subject, split.name)
        if key not in self._inspected:
            self._inspected[key] = inspect_responses(y, split.folds)
        return self._inspected[key]

    def held_out(self, subject: str) -> FloatArray:
        """Return (n_held_out, n_voxels) measured responses in the order of predictions; repeats are their mean."""
        plan, cleaned = self.plan(subject), self.cleaned(subject)
        if len(plan.held_out) == len(plan.all_held_out):
            return cleaned.rows(plan.held_out)
        if subject not in self._means:
            path = cleaned.home / "means.npy"
            self._means[subject] = write_means(path, cleaned.rows, plan.held_out, plan.repeats, cleaned.n_voxels)
        return self._means[subject]

    def unit(self, subject: str, parts: Sequence[Part], label: str, search: Mapping[str, Any] | None = None) -> Unit:
        """Return the fit of a model, with everything that it depends on."""
        plan = self.plan(subject)
        identity = {
            "parts": [{"feature": part.feature, **self.designs.identity(part)} for part in parts],
            "search": dict(search) if search and len(parts) > 1 else None,
            "filter": self.designs.filter_identity(),
            "delays": [list(self.choices.delays_s), self.choices.delay_kind, self.choices.borders],
            "samples": plan.key,
            "responses": responses_identity(self.inputs, plan, self.choices),
            "ridge": self.choices.ridge.to_dict(),
            "seed": self.analysis.seed,
            "code": code_digest(FIT_CODE),
            "libraries": libraries(),
        }
        return Unit(subject=subject, label=label, parts=tuple(parts), identity=identity)


def fit_layers(group: Group, feature: str) -> dict[tuple[str, Part], Fitted]:
    """Fit every layer of a feature to every subject of a group, or find the fits.

    Raises:
        FitError: a model that cannot be fitted, with subject, feature and layer.
    """
    found: dict[tuple[str, Part], Fitted] = {}
    for part in group.designs.features.parts(feature):
        units = {plan.subject: group.unit(plan.subject, [part], part.label) for plan in group.plans}
        done = dict(_fit_units(group, [part], units, None))
        # Kept fits come before those that are made again; tables have the order of the file.
        found |= {(plan.subject, part): done[plan.subject] for plan in group.plans}
    return found


def fit_bands(
    group: Group,
    subject: str,
    parts: Sequence[Part],
    label: str,
    search: Mapping[str, Any] | None,
    *,
    split_off: bool = True,
) -> Fitted:
    """Fit several features as bands of one model to a subject, or find the fit; one part is a plain ridge.

    ``split_off``: also say what each band adds to R² by the product measure, which the search's model alone tells.
    """
    label = label if len(parts) > 1 else parts[0].label
    if search:
        search = {**search, "split_off": split_off}
    unit = group.unit(subject, parts, label, search)
    return next(fitted for _, fitted in _fit_units(group, parts, {subject: unit}, search))


def _fit_units(
    group: Group, parts: Sequence[Part], units: Mapping[str, Unit], search: Mapping[str, Any] | None
) -> Iterator[tuple[str, Fitted]]:
    """Yield the fit of each subject; those that are missing are fitted together, split by split."""
    pending: dict[str, _Running] = {}
    for subject, unit in units.items():
        fitted = read_fit(group.folder, unit, tell_damage(group.folder, group.on_event))
        if fitted is not None:
            group.on_event({"event": "kept", "fit_id": unit.fit_id})
            yield subject, fitted
        else:
            pending[subject] = _Running(group, unit)
    if not pending:
        return
    try:
        for split in group.plans[0].splits:
            _fit_split(group, parts, split, pending, search)
    except ReleaseKitError as error:
        # What was being fitted is said with it: the solver knows neither subject nor layer.
        named = ", ".join(f"sub-{subject}" for subject in pending)
        where = f"{'+'.join(part.label for part in parts)} of {named}"
        raise FitError(error.what, where=where, next_step=error.next_step) from error
    for subject, running in pending.items():
        fitted = running.finish()
        group.on_event({"event": "fitted", "fit_id": fitted.fit_id, "seconds": running.seconds})
        yield subject, fitted


def _fit_split(
    group: Group,
    parts: Sequence[Part],
    split: Split,
    pending: Mapping[str, "_Running"],
    search: Mapping[str, Any] | None,
) -> None:
    scored = group.plans[0].scored(split)
    pairs = [(x, x_test[scored]) for x, x_test in (group.designs.matrices(part, split) for part in parts)]
    if len(parts) > 1 and search:
        for running in pending.values():
            fit = search_bands(
                group, running.unit, parts, [x for x, _ in pairs], running.training(split), split, search
            )
            held_out = [x for _, x in pairs]
            running.take(split, fit.predict(bands_of(parts, held_out)), fit.alpha, fit.cv_score, "banded")
            if len(running.plan.splits) == 1 and search.get("split_off", True):
                running.more = split_scores(fit, parts, held_out, group.held_out(running.unit.subject))
        return
    x_train, x_test = (np.concatenate(side, axis=1) if len(pairs) > 1 else side[0] for side in zip(*pairs, strict=True))
    settings = group.choices.ridge
    if settings.backend == "himalaya":
        for running in pending.values():
            fit = fit_ridge(x_train, running.training(split), split.folds, settings)
            running.take(split, fit.predict(x_test), fit.alpha, fit.cv_score, fit.solver)
        return
    prepared = None
    n_voxels = sum(running.cleaned.n_voxels for running in pending.values())
    for running in pending.values():
        y = running.training(split)
        if prepared is None:
            check_problem(x_train, y, split.folds, parts[0].feature)
            prepared = prepare(x_train, split.folds, settings, n_voxels=n_voxels, keep=len(pending) > 1)
        fit = fit_prepared(prepared, y, found=group.inspected(running.unit.subject, split, y))
        running.take(split, fit.predict(x_test), fit.alpha, fit.cv_score, fit.solver)


class _Running:
    """A fit that is being made: its prediction grows on disk, split by split."""

    def __init__(self, group: Group, unit: Unit):
        self.unit = unit
        self.plan = group.plan(unit.subject)
        self.cleaned = group.cleaned(unit.subject)
        self._group = group
        self._start = time.monotonic()
        self._place = {row: k for k, row in enumerate(self.plan.held_out.tolist())}
        self._alphas: list[FloatArray] = []
        self._cv: list[FloatArray] = []
        self._solvers: list[str] = []
        self.more: Mapping[str, npt.NDArray] = {}
        """Further columns of ``voxels.parquet``."""
        self._home = group.folder / FITS / unit.fit_id
        self._temporary = self._home / f"{TEMPORARY_PREFIX}{PREDICTION_FILE}"
        self._prediction: npt.NDArray[np.float32] | None = None

    @property
    def seconds(self) -> float:
        """How long it has been made; said, and never written: the same inputs give the same files."""
        return round(time.monotonic() - self._start, 3)

    def training(self, split: Split) -> FloatArray:
        """Return the responses of training rows of this subject."""
        return self.cleaned.rows(split.train)

    def take(self, split: Split, predicted: FloatArray, alpha: FloatArray, cv: FloatArray, solver: str) -> None:
        """Keep what one split gave."""
        rows = [self._place[row] for row in split.test[self.plan.scored(split)].tolist()]
        self._target()[rows] = predicted
        self._alphas.append(alpha)
        self._cv.append(cv)
        self._solvers.append(solver)

    def finish(self) -> Fitted:
        """Score the held-out prediction and write the folder, ``fit.json`` last."""
        prediction = self._target()
        prediction.flush()
        y = self._group.held_out(self.unit.subject)
        columns = {
            "alpha": _geometric_mean(self._alphas),
            "cv_r": np.mean(self._cv, axis=0, dtype=np.float64),
            "r": pearson(y, prediction),
            "r2": r2(y, prediction),
        }
        reason = self._reasons(columns)
        columns |= self.more
        for name in columns:
            columns[name] = np.where([why is not None for why in reason], np.nan, columns[name])
        os.replace(self._temporary, self._home / PREDICTION_FILE)
        facts = {
            "solvers": sorted(set(self._solvers)),
            "n_train": [len(split.train) for split in self.plan.splits],
            "n_held_out": len(self.plan.held_out),
            "n_voxels": self.cleaned.n_voxels,
            "n_scored": sum(why is None for why in reason),
        }
        fitted = finish_fit(self._group.folder, self.unit, columns, reason, facts)
        forget_search(self._group.folder, self.unit)
        return fitted

    def _target(self) -> npt.NDArray[np.float32]:
        if self._prediction is None:
            try:
                self._home.mkdir(parents=True, exist_ok=True)
                shape = (len(self.plan.held_out), self.cleaned.n_voxels)
                self._prediction = np.lib.format.open_memmap(self._temporary, mode="w+", dtype=np.float32, shape=shape)
            except OSError as error:
                raise write_error(self._home, error) from error
        return self._prediction

    def _reasons(self, columns: Mapping[str, npt.NDArray]) -> list[str | None]:
        """Return for each voxel why it has no score, or None."""
        constant = self.cleaned.constant
        reasons: list[str | None] = [None] * self.cleaned.n_voxels
        unscored = ~np.isfinite(columns["cv_r"]) | ~np.isfinite(columns["r"])
        for voxel in np.flatnonzero(unscored | constant | self.cleaned.nonfinite):
            if self.cleaned.nonfinite[voxel]:
                reasons[voxel] = NONFINITE
            elif constant[voxel]:
                reasons[voxel] = CONSTANT
            elif not np.isfinite(columns["cv_r"][voxel]):
                reasons[voxel] = "constant in a fold"
            elif not np.isfinite(columns["r2"][voxel]):
                reasons[voxel] = "constant in held-out samples"
            else:
                reasons[voxel] = STILL
        return reasons


def _geometric_mean(alphas: Sequence[FloatArray]) -> npt.NDArray[np.float64]:
    if len(alphas) == 1:
        return np.asarray(alphas[0], np.float64)
    return np.exp(np.mean(np.log(np.asarray(alphas, np.float64)), axis=0))
