"""The inputs of an analysis: its dataset, and for each subject the runs, samples, splits and folds.

Owns what is held out and who shares samples with whom. No voxel is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest
from release_kit.core.errors import ReleaseKitError
from release_kit.encoding.arrays import Fold, Samples
from release_kit.encoding.data.layout import Dataset, ResponsesSpec, open_dataset
from release_kit.encoding.data.problems import DataError, DataProblem, problems_of, refuse
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.data.samples import leave_one_title_out, plan_samples, run_folds, title_folds
from release_kit.encoding.pipeline.choices import PAPER_N_FOLDS, Choices, paper_groups
from release_kit.encoding.pipeline.repeats import find_repeats, later_rows
from release_kit.encoding.spec.model import Analysis


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One division of a subject's samples: ``name`` is the held-out title, or ``held-out``."""

    name: str
    samples: Samples
    folds: tuple[Fold, ...]

    @cached_property
    def train(self) -> npt.NDArray[np.int64]:
        """Rows of training samples."""
        return np.flatnonzero(self.samples.train)

    @cached_property
    def test(self) -> npt.NDArray[np.int64]:
        """Rows of held-out samples."""
        return np.flatnonzero(~self.samples.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectPlan:
    """What is used of one subject.

    Attributes:
        subject: label.
        runs: all runs of the dataset.
        splits: one, or one a title; all have the same rows.
        average_repeats: judge models by the mean over held-out repeats, not by each of them.
    """

    subject: str
    runs: tuple[RunInfo, ...]
    splits: tuple[Split, ...]
    average_repeats: bool = True

    @property
    def samples(self) -> Samples:
        """The samples of the first split; rows are those of all splits."""
        return self.splits[0].samples

    @property
    def tr_s(self) -> float:
        """Seconds from volume to volume."""
        return self.runs[0].tr_s

    @cached_property
    def used_runs(self) -> tuple[RunInfo, ...]:
        """The runs that samples are of."""
        by_name = {run.name: run for run in self.runs}
        return tuple(by_name[self.samples.runs[self.samples.run[part.start]]] for part in self.samples.borders)

    @cached_property
    def all_held_out(self) -> npt.NDArray[np.int64]:
        """Rows that any split holds out, in order."""
        return np.unique(np.concatenate([split.test for split in self.splits]))

    @cached_property
    def repeats(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Held-out rows that show the same, (n_presentations, n_times) for every set of runs."""
        return find_repeats(self.runs, self.samples, self.all_held_out)

    @cached_property
    def held_out(self) -> npt.NDArray[np.int64]:
        """The rows of predictions: held-out ones; where repeats are averaged, the first of them stands for all."""
        if not self.average_repeats:
            return self.all_held_out
        return np.setdiff1d(self.all_held_out, later_rows(self.repeats))

    def scored(self, split: Split) -> npt.NDArray[np.bool_]:
        """Return which held-out rows of a split are predicted: (n_test,)."""
        return np.isin(split.test, self.held_out)

    @cached_property
    def test_borders(self) -> tuple[slice, ...]:
        """The stretch of each run among held-out rows."""
        chosen = np.zeros(self.samples.n, bool)
        chosen[self.held_out] = True
        return self.samples.only(chosen).borders

    @cached_property
    def key(self) -> str:
        """Digest of rows, splits, folds and of what each run shows: subjects with the same key share features' rows."""
        shown = [
            [run.name, run.stim_id, run.tr_s, run.stim_start_s, run.onset_s, run.shown_s] for run in self.used_runs
        ]
        rows = [[list(map(int, split.samples.run)), list(map(int, split.samples.volume))] for split in self.splits[:1]]
        splits = [
            [split.name, split.train.tolist(), [[f.train.tolist(), f.test.tolist()] for f in split.folds]]
            for split in self.splits
        ]
        averaged = np.setdiff1d(self.all_held_out, self.held_out).tolist()
        return digest([shown, rows, list(self.samples.titles), splits, averaged])

    def without(self, dropped: npt.NDArray[np.bool_], choices: Choices) -> "SubjectPlan":
        """Return the plan without the samples marked in ``dropped (n_samples,)``."""
        splits = tuple(_split(each.name, each.samples.only(~dropped), choices) for each in self.splits)
        return replace(self, splits=splits)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """An opened dataset and the plan of every subject."""

    dataset: Dataset
    plans: Mapping[str, SubjectPlan]
    _digests: dict[tuple[str, str], str] = field(default_factory=dict)

    def digest(self, subject: str, run: RunInfo) -> str:
        """Return the digest of everything that a run's responses are read from; files are read once for all fits."""
        key = (subject, run.name)
        if key not in self._digests:
            self._digests[key] = self.dataset.digest(subject, run)
        return self._digests[key]

    def groups(self) -> list[tuple[SubjectPlan, ...]]:
        """Return subjects by equal samples: features are placed and decomposed once for each group."""
        found: dict[str, list[SubjectPlan]] = {}
        for plan in self.plans.values():
            found.setdefault(plan.key, []).append(plan)
        return [tuple(plans) for plans in found.values()]


def responses_spec(analysis: Analysis) -> ResponsesSpec:
    """Return which recordings are the responses."""
    use = analysis.dataset
    return ResponsesSpec(
        layout=use.layout,
        derivative=use.derivative,
        space=use.space,
        desc=use.desc,
        mask=use.mask,
        leave_out=analysis.samples.leave_out,
        kind=use.kind,
    )


def open_inputs(analysis: Analysis, choices: Choices, dataset: Dataset | None = None) -> Inputs:
    """Open the dataset and plan the samples of every subject.

    Raises:
        DataError: everything that keeps subjects and runs from being used.
        ReleaseKitError: there is no such dataset.
    """
    dataset = dataset or open_dataset(analysis.dataset.path, responses_spec(analysis))
    problems: list[DataProblem] = []
    plans: dict[str, SubjectPlan] = {}
    for subject in analysis.subjects or dataset.subjects:
        try:
            plans[subject] = plan_subject(subject, dataset.runs(subject), choices)
        except ReleaseKitError as error:
            problems += problems_of(error, subject)
    refuse(problems, str(analysis.dataset.path))
    return Inputs(dataset=dataset, plans=plans)


def plan_subject(subject: str, runs: tuple[RunInfo, ...], choices: Choices) -> SubjectPlan:
    """Return the samples, splits and folds of one subject.

    Raises:
        AnalysisError: nothing is left to train on or to hold out, or there are too few titles or runs for folds.
    """
    samples = plan_samples(runs, choices.rule)
    if choices.leave_one_title_out:
        splits = tuple(_split(title, each, choices) for title, each in leave_one_title_out(samples))
    else:
        if samples.train.all():
            raise DataError([DataProblem(subject=subject, what="no sample is held out", next_step="see samples.test")])
        splits = (_split("held-out", samples, choices),)
    return SubjectPlan(subject=subject, runs=runs, splits=splits, average_repeats=choices.average_repeats)


def _split(name: str, samples: Samples, choices: Choices) -> Split:
    return Split(name=name, samples=samples, folds=_folds(samples, choices))


def _folds(samples: Samples, choices: Choices) -> tuple[Fold, ...]:
    if choices.folds == "run":
        return run_folds(samples, choices.n_folds)
    if choices.folds == "title":
        return title_folds(samples, choices.n_folds)
    titles = samples.only(samples.train).title_of_sample
    names = tuple(samples.title_names[k] for k in np.unique(titles))
    if groups := paper_groups(names):
        return title_folds(samples, groups=groups)
    # Studies of fewer titles: as near to the published code's four groups as they allow.
    if len(names) > 1:
        return title_folds(samples, min(PAPER_N_FOLDS, len(names)))
    return run_folds(samples)
