"""What an analysis will do and what keeps it from being done, found before anything is computed.

Headers, annotations, the first volumes of each run (or all of them) and the names of models are read; no weight. The
estimates of memory and time are counted from sizes, and are no promise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from release_kit.bids.annotations.problems import AnnotationError
from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted
from release_kit.encoding.data.check import check_dataset
from release_kit.encoding.data.layout import Dataset, open_dataset
from release_kit.encoding.data.problems import DataError, DataProblem, problems_of
from release_kit.encoding.data.runs import EDGE_S, RunInfo
from release_kit.encoding.data.same_bytes import same_recordings
from release_kit.encoding.data.values import look_at_values
from release_kit.encoding.pipeline.check_features import FeatureFacts, SeenFeatures, look_at_bands, look_at_feature
from release_kit.encoding.pipeline.choices import choices_of, modes_of
from release_kit.encoding.pipeline.inputs import Inputs, SubjectPlan, plan_subject, responses_spec
from release_kit.encoding.pipeline.judging import few_permutations, why_untestable
from release_kit.encoding.pipeline.partitions import wanted_unions
from release_kit.encoding.pipeline.regions import read_regions
from release_kit.encoding.spec.model import Analysis

LONGER = 0.1
"""Share of a run's volumes after its stimulus from which on it is said: the response to the end takes some seconds."""
FLOPS_PER_S = 4e10
"""What two ordinary cores reach in matrix products of float32, taken low."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found.

    Attributes:
        problems: what keeps the analysis from being run.
        runs: for each mode, a row a run of a subject: subject, run, title, n_volumes, n_train, n_held_out.
        features: what each will be.
        notes: what does not keep the analysis from being run, but should be known: a run that a level covers in part.
        n_fits: of all modes, features, layers and subjects; None where a model's layers are not known.
        n_unions: further fits of banded models.
        memory_bytes: of the largest fit, about.
        disk_bytes: of predictions and cleaned responses, about.
        seconds: of all fits on two cores, about; None where layers are not known.
        looked_at: which values were read; empty: none.
    """

    problems: tuple[DataProblem, ...]
    runs: tuple[Mapping[str, Any], ...]
    features: tuple[FeatureFacts, ...]
    notes: tuple[str, ...]
    n_fits: int | None
    n_unions: int
    memory_bytes: int
    disk_bytes: int
    seconds: float | None
    looked_at: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing keeps the analysis from being run."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "problems": [vars(problem) for problem in self.problems],
            "runs": [dict(row) for row in self.runs],
            "features": [feature.to_dict() for feature in self.features],
            "notes": list(self.notes),
            "looked_at": self.looked_at,
            "fits": self.n_fits,
            "unions": self.n_unions,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
            "seconds": self.seconds,
        }


def check_analysis(analysis: Analysis, *, values: bool = False) -> Check:
    """Return what an analysis will do, and everything that is wrong with it and its inputs.

    Args:
        analysis: the file.
        values: read every value of every recording, not only the first volumes.
    """
    try:
        dataset = open_dataset(analysis.dataset.path, responses_spec(analysis))
    except ReleaseKitError as error:
        return _nothing([DataProblem(what=str(error))])
    problems = list(_of_dataset(analysis, dataset))
    plans: dict[str, dict[str, SubjectPlan]] = {}
    for mode in modes_of(analysis):
        choices = choices_of(analysis, mode)
        plans[mode] = {}
        for subject in analysis.subjects or dataset.subjects:
            try:
                plan = plan_subject(subject, dataset.runs(subject), choices)
            except ReleaseKitError as error:
                problems += problems_of(error, subject)
                continue
            plans[mode][subject] = plan
            if why := why_untestable(plan, choices.test):
                step = "shorter statistics.block_s, or permutations: 0"
                problems.append(DataProblem(subject=subject, what=why, next_step=step))
    features = SeenFeatures()
    main = modes_of(analysis)[0]
    inputs = Inputs(dataset=dataset, plans=plans[main])
    for name in analysis.features:
        try:
            look_at_feature(analysis, inputs, choices_of(analysis, main), name, features)
        except AnnotationError:
            continue  # said file by file
        except ReleaseKitError as error:
            level = f"no annotation of level {analysis.features[name].level!r}"
            if not any(level in problem.what for problem in problems):
                problems.append(DataProblem(what=str(error)))
    look_at_bands(analysis, inputs, choices_of(analysis, main), features)
    problems += features.problems
    notes = features.notes
    sizes = {}
    for subject in plans[main]:
        try:
            mask = dataset.mask(subject)
            sizes[subject] = mask.n_voxels
            read_regions(analysis.regions, mask, subject)
        except ReleaseKitError as error:
            problems += problems_of(error, subject)
    problems += [
        DataProblem(subject=subject, what="has a flatmap, but is no subject here", next_step="see flatmaps")
        for subject in analysis.flatmaps
        if subject not in (analysis.subjects or dataset.subjects)
    ]
    used = [run for subject in sizes for run in plans[main][subject].used_runs]
    problems += same_recordings(dataset, used)
    seen = look_at_values(dataset, used, every=values)
    problems += seen.problems
    notes += [*seen.notes, *_volumes_without_stimulus(used)]
    rows = [row for mode, of_mode in plans.items() for plan in of_mode.values() for row in _rows(mode, plan)]
    estimate = _estimate(analysis, plans, features.facts, sizes)
    few = few_permutations(choices_of(analysis, main).test, max(sizes.values(), default=0))
    notes += [few] if few else []
    unique = {problem.sentence(): problem for problem in problems}
    return Check(
        problems=tuple(unique.values()),
        runs=tuple(rows),
        features=tuple(features.facts),
        notes=tuple(dict.fromkeys(notes)),
        looked_at=seen.looked_at,
        **estimate,
    )


def refuse_problems(analysis: Analysis) -> None:
    """Raise everything that keeps an analysis from being run.

    Raises:
        DataError: there is at least one problem.
    """
    found = check_analysis(analysis)
    if found.problems:
        raise DataError(found.problems, where=str(analysis.file))


def _of_dataset(analysis: Analysis, dataset: Dataset) -> Iterator[DataProblem]:
    levels = {(use.level, use.language): None for use in analysis.features.values() if use.level is not None}
    yield from check_dataset(
        dataset,
        subjects=analysis.subjects or None,
        levels=[(level, language) for level, language in levels if level is not None],
        leave_out=analysis.samples.leave_out,
    )


def _volumes_without_stimulus(runs: Sequence[RunInfo]) -> Iterator[str]:
    """Yield a sentence for runs much longer than what their events say is shown: what comes after is not used."""
    found: dict[str, list[str]] = {}
    for run in runs:
        after = int(np.sum(run.volume_times() >= run.onset_s + run.shown_s - EDGE_S))
        if after > LONGER * run.n_volumes:
            shown = f"come after the stimulus has ended ({run.onset_s + run.shown_s:g} s) and are not used"
            what = f"{run.name}: {after:,} of {counted(run.n_volumes, 'volume')} {shown}"
            found.setdefault(what, []).append(run.subject)
    for what, subjects in found.items():
        yield f"{', '.join(f'sub-{subject}' for subject in subjects)}, {what}"


def _rows(mode: str, plan: SubjectPlan) -> Iterator[dict[str, Any]]:
    split = plan.splits[0]
    for run, part in zip(plan.used_runs, split.samples.borders, strict=True):
        n_train = int(split.samples.train[part].sum())
        n_held_out = part.stop - part.start - n_train
        yield {
            "mode": mode,
            "subject": plan.subject,
            "run": run.name,
            "title": run.title,
            "n_volumes": run.n_volumes,
            "n_train": n_train,
            "n_held_out": n_held_out,
        }


def _estimate(
    analysis: Analysis,
    plans: Mapping[str, Mapping[str, SubjectPlan]],
    features: list[FeatureFacts],
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """Return counts and sizes: a fit is a Gram matrix, one decomposition a fold, a product with all voxels an alpha."""
    n_unions = sum(
        len(wanted_unions(use)) - len(use.features) * (use.unions == "all") for use in analysis.bands.values()
    )
    known = all(feature.layers is not None for feature in features)
    n_fits = flops = disk = memory = 0
    for mode, of_mode in plans.items():
        choices = choices_of(analysis, mode)
        wide = len(choices.delays_s) if choices.delay_kind == "concatenate" else 1
        for subject, plan in of_mode.items():
            n_train, n_held_out = len(plan.splits[0].train), len(plan.held_out)
            voxels = sizes.get(subject, 0)
            disk += 4 * plan.samples.n * voxels
            for feature in features:
                p = (feature.width or 1000) * wide
                side = min(p, n_train)
                n = (feature.layers or 1) * len(plan.splits)
                one = 2.0 * n_train * p * side + 20.0 * side**3 * len(plan.splits[0].folds)
                one += 2.0 * n_train * side * voxels * (1 + 0.6 * len(choices.ridge.alphas))
                flops += one * n
                n_fits += feature.layers or 1
                disk += 4 * n_held_out * voxels * (feature.layers or 1)
                memory = max(memory, 4 * (n_train * p + 2 * side**2 + side * voxels + 2 * n_held_out * voxels))
    return {
        "n_fits": n_fits if known else None,
        "n_unions": n_unions * sum(len(each) for each in plans.values()),
        "memory_bytes": int(memory),
        "disk_bytes": int(disk),
        "seconds": flops / FLOPS_PER_S if known else None,
    }


def _nothing(problems: list[DataProblem]) -> Check:
    return Check(
        problems=tuple(problems),
        runs=(),
        features=(),
        notes=(),
        n_fits=None,
        n_unions=0,
        memory_bytes=0,
        disk_bytes=0,
        seconds=None,
    )


def sentence(check: Check) -> str:
    """Return the estimate as one line."""
    fits = "fits of layers that the models will tell" if check.n_fits is None else counted(check.n_fits, "fit")
    unions = f" and {counted(check.n_unions, 'union')} of bands" if check.n_unions else ""
    time = "" if check.seconds is None else f", about {_duration(check.seconds)} for the fits on two cores"
    gb = f"about {check.memory_bytes / 1e9:.1f} GB of memory, {check.disk_bytes / 1e9:.1f} GB of disk"
    return f"{fits}{unions}: {gb}{time}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
