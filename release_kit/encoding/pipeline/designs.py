"""Features of an analysis as matrices: made once in the store, reduced on training seconds, placed at the samples.

Owns which settings of ``encoding.yaml`` become which feature space, and the matrices of each group of subjects with the
same samples. How features are made and placed is ``features/``'s.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import ReleaseKitError
from release_kit.core.records import nearest
from release_kit.encoding.arrays import FloatArray, Samples
from release_kit.encoding.errors import AnalysisError, FeatureError
from release_kit.encoding.features.pca import fit_pca
from release_kit.encoding.features.place import Placement, plan_placement, training_bins
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.features.store import DAMAGED, FeatureFiles, feature_files
from release_kit.encoding.features.texts import BinnedTexts, bin_stimuli
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.filtering import fill_gaps, filter_runs, whole_runs
from release_kit.encoding.pipeline.inputs import Inputs, Split, SubjectPlan
from release_kit.encoding.spec.model import Analysis, FeatureUse

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "features"
MEAN = "mean"
BIN_S = 1.0
MOST_COLUMNS = 2048
"""Of more columns it is not asked whether they are independent: it would take longer than a fit."""
_DEPENDS_ON_TRAINING = ("bag-of-words",)

Event = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One feature space as it enters a model: a layer of a feature, of one annotator or their mean."""

    feature: str
    layer: int
    annotator: str = MEAN

    @property
    def label(self) -> str:
        """How a folder names it."""
        who = "" if self.annotator == MEAN else f"_annotator-{self.annotator}"
        return f"{self.feature}_layer-{self.layer:02d}{who}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The files of every feature: feature → split → its files; splits share them unless training texts decide them."""

    files: Mapping[str, Mapping[str, FeatureFiles]]

    def of(self, feature: str, split: str) -> FeatureFiles:
        """Return the files of a feature for a split."""
        known = self.files[feature]
        return known[split] if split in known else known[""]

    def first(self, feature: str) -> FeatureFiles:
        """Return the files of a feature for its first split."""
        return next(iter(self.files[feature].values()))

    def parts(self, feature: str) -> list[Part]:
        """Return every layer and annotator of a feature, in order."""
        files = self.first(feature)
        return [
            Part(feature=feature, layer=layer, annotator=annotator)
            for annotator in files.annotators
            for layer in files.layers
        ]


def spec_of(use: FeatureUse, choices: Choices) -> FeatureSpec:
    """Return the feature space that a section of ``features`` describes."""
    annotators: str | tuple[str, ...] = use.annotators or "mean"
    return FeatureSpec(
        name=use.name,
        kind=use.kind,
        model=use.model,
        layers=use.layers or "all",
        pooling=use.pooling,
        special_tokens=choices.special_tokens and use.kind in ("causal", "encoder"),
        context_s=use.context_s,
        level=use.level,
        language=use.language,
        annotators="each" if annotators == ("each",) else annotators,
        missing=use.missing,
        bin_s=BIN_S,
        media=use.media,
        start_token=use.start_token,
        max_tokens=use.max_tokens,
        dtype=use.dtype,
        device=use.device,
        batch_size=use.batch_size,
        min_count=use.min_count,
        max_words=use.max_words,
        weighting=use.weighting,
    )


def make_features(
    analysis: Analysis, inputs: Inputs, choices: Choices, on_event: Event, *, names: Sequence[str] = ()
) -> Features:
    """Make the features of every section, or find them in the store.

    Args:
        analysis: the file.
        inputs: runs and samples of all subjects.
        choices: of the mode.
        on_event: told what is made.
        names: features to make; none: all.

    Raises:
        AnalysisError: everything that keeps any feature from being made.
    """
    table = _annotations(analysis, inputs)
    runs = [run for plan in inputs.plans.values() for run in plan.used_runs]
    binned: dict[str, tuple[FeatureSpec, tuple[BinnedTexts, ...]]] = {}
    problems: list[str] = []
    for name in names or analysis.features:
        try:
            spec = spec_of(analysis.features[name], choices)
            binned[name] = (spec, bin_stimuli(table, runs, spec))
        except ReleaseKitError as error:
            problems.append(str(error))
    if problems:
        raise AnalysisError("\n  ".join(["features cannot be made:", *problems]), where=str(analysis.file))
    found: dict[str, dict[str, FeatureFiles]] = {}
    for name, (spec, texts) in binned.items():
        on_event({"event": "feature", "name": name})
        splits = _train_bins(spec, texts, inputs, choices)
        found[name] = {
            split: feature_files(
                spec,
                texts,
                analysis.folder / FOLDER,
                lambda stimulus, done, n, name=name: on_event(
                    {"event": "stimulus", "name": name, "stimulus": stimulus, "done": done, "n": n}
                ),
                train_bins=bins,
                on_damage=lambda path: on_event(
                    {"event": "note", "text": f"{path.relative_to(analysis.folder).as_posix()} {DAMAGED}"}
                ),
            )
            for split, bins in splits.items()
        }
    _check_layers(analysis, found)
    return Features(files=found)


def drop_missing(analysis: Analysis, inputs: Inputs, features: Features, choices: Choices) -> Inputs:
    """Return inputs without the samples that see a second which a feature with ``missing: drop`` lacks.

    They are dropped for every feature, so that all models are judged on the same samples.
    """
    dropping = [name for name, use in analysis.features.items() if use.missing == "drop" and name in features.files]
    if not dropping:
        return inputs
    plans = {}
    for subject, plan in inputs.plans.items():
        dropped = np.zeros(plan.samples.n, bool)
        for name in dropping:
            files = features.first(name)
            placement = _placement(plan, plan.splits[0].samples, files, choices)
            for annotator in files.annotators:
                dropped |= placement.touches(files.missing_by_stimulus(annotator))
        plans[subject] = plan.without(dropped, choices) if dropped.any() else plan
    return Inputs(dataset=inputs.dataset, plans=plans)


@dataclass(eq=False)
class Designs:
    """The matrices of a group of subjects with the same samples.

    Args:
        analysis: sections of the features.
        features: their files.
        plan: of any subject of the group.
        choices: delays and borders.
    """

    analysis: Analysis
    features: Features
    plan: SubjectPlan
    choices: Choices
    _placements: dict[tuple, Placement] = field(default_factory=dict)
    _kept: dict[tuple[Part, str], tuple[FloatArray, FloatArray]] | None = None

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Hold every matrix that is made meanwhile: the unions of some bands are made of the same few."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def matrices(self, part: Part, split: Split) -> tuple[FloatArray, FloatArray]:
        """Return training and held-out rows of a part, each (n, n_features times delays) float32.

        Raises:
            FeatureError: the features do not cover a run, or training rows are all the same.
        """
        if self._kept is None:
            return self._made(part, split)
        key = (part, split.name)
        if key not in self._kept:
            self._kept[key] = self._made(part, split)
        return self._kept[key]

    def _made(self, part: Part, split: Split) -> tuple[FloatArray, FloatArray]:
        files = self.features.of(part.feature, split.name)
        stored = files.by_stimulus(part.layer, part.annotator)
        reduced = self._reduced(part, stored, split)
        if self.choices.clean_features is None:
            x = self._placement(split, files).apply(reduced)
            return x[split.train], x[split.test]
        whole, rows = whole_runs(split.samples, self.plan.runs)
        placement = self._placement(split, files, whole)
        x = placement.apply(reduced)
        if self.analysis.features[part.feature].missing == "drop":
            x = fill_gaps(x, placement.touches(files.missing_by_stimulus(part.annotator)), whole)
        x = filter_runs(x, whole, self.plan.runs, self.choices.clean_features)
        return x[rows[split.train]], x[rows[split.test]]

    def dependent_columns(self, part: Part, split: Split) -> tuple[int, int] | None:
        """Return the rank of a part over the seconds that training sees and its columns, where there are more of these.

        Both are before delays. Singular values are told from 0 at the rounding of float32, as features are stored.
        None: the columns are independent, more than the seconds (``check`` says so) or more than ``MOST_COLUMNS``.
        """
        files = self.features.of(part.feature, split.name)
        stored = self._reduced(part, files.by_stimulus(part.layer, part.annotator), split)
        n_bins = {name: len(array) for name, array in stored.items()}
        seen = _bins_seen((self.plan,), split.name, self.choices, n_bins)
        n_rows, n_columns = sum(int(mask.sum()) for mask in seen.values()), next(iter(stored.values())).shape[1]
        if n_columns > min(MOST_COLUMNS, n_rows):
            return None
        x = np.concatenate([stored[name][mask] for name, mask in sorted(seen.items())]).astype(np.float64)
        x -= x.mean(0)
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(x.T @ x), 0))
        least = singular.max(initial=0) * max(x.shape) * np.finfo(np.float32).eps
        rank = int((singular > least).sum())
        return (rank, n_columns) if rank < n_columns else None

    def n_padded(self, part: Part, split: Split) -> int:
        """Return for how many samples some delay looks to before the run showed anything."""
        placement = self._placement(split, self.features.of(part.feature, split.name))
        return int(placement.padded().any(axis=1).sum())

    def identity(self, part: Part) -> dict[str, Any]:
        """Return what the matrices of a part depend on, as JSON."""
        use = self.analysis.features[part.feature]
        keys = {split.name: self.features.of(part.feature, split.name).key for split in self.plan.splits}
        return {"features": keys, "layer": part.layer, "annotator": part.annotator, "pca": use.pca}

    def filter_identity(self) -> dict[str, Any] | None:
        """Return what the filter of features depends on, as JSON; None where they are not filtered."""
        if self.choices.clean_features is None:
            return None
        return {**vars(self.choices.clean_features), "n_volumes": [run.n_volumes for run in self.plan.used_runs]}

    def _reduced(self, part: Part, stored: Mapping[str, FloatArray], split: Split) -> Mapping[str, FloatArray]:
        n = self.analysis.features[part.feature].pca
        if n is None:
            return stored
        n_bins = {name: len(array) for name, array in stored.items()}
        seen = _bins_seen((self.plan,), split.name, self.choices, n_bins)
        rows = [stored[name][mask] for name, mask in sorted(seen.items()) if mask.any()]
        pca = fit_pca(np.concatenate(rows), n, self.analysis.seed)
        return {name: pca.apply(array) for name, array in stored.items()}

    def _placement(self, split: Split, files: FeatureFiles, whole: Samples | None = None) -> Placement:
        n_bins = {name: facts["counts"]["bins"] for name, facts in files.stimuli.items()}
        key = (split.name, whole is None, tuple(sorted(n_bins.items())))
        if key not in self._placements:
            samples = split.samples if whole is None else whole
            self._placements[key] = _placement(self.plan, samples, files, self.choices)
        return self._placements[key]


def _placement(plan: SubjectPlan, samples: Samples, files: FeatureFiles, choices: Choices) -> Placement:
    n_bins = {name: facts["counts"]["bins"] for name, facts in files.stimuli.items()}
    return plan_placement(plan.runs, samples, choices.delays_s, choices.delay_kind, BIN_S, n_bins, choices.borders)


def _annotations(analysis: Analysis, inputs: Inputs) -> "pa.Table | None":
    needed = any(use.level is not None for use in analysis.features.values())
    return inputs.dataset.annotations() if needed else None


def _train_bins(
    spec: FeatureSpec, texts: Sequence[BinnedTexts], inputs: Inputs, choices: Choices
) -> dict[str, Mapping[str, npt.NDArray[np.bool_]] | None]:
    """Return split → training bins, for features that training decides; else one entry, for all splits."""
    if spec.kind not in _DEPENDS_ON_TRAINING:
        return {"": None}
    n_bins = {each.stim_id: each.n_bins for each in texts}
    names = dict.fromkeys(split.name for plan in inputs.plans.values() for split in plan.splits)
    return {name: _bins_seen(tuple(inputs.plans.values()), name, choices, n_bins) for name in names}


def _bins_seen(
    plans: Sequence[SubjectPlan], split: str, choices: Choices, n_bins: Mapping[str, int]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return stimulus → bins that training samples of any subject see in this split."""
    found = {name: np.zeros(n, bool) for name, n in n_bins.items()}
    for plan in plans:
        for each in plan.splits:
            if each.name == split:
                seen = training_bins(plan.runs, each.samples, choices.delays_s, BIN_S, n_bins)
                for name, mask in seen.items():
                    found[name] |= mask
    return found


def _check_layers(analysis: Analysis, found: Mapping[str, Mapping[str, FeatureFiles]]) -> None:
    problems = []
    for name, files in found.items():
        there = next(iter(files.values())).layers
        absent = [layer for layer in analysis.features[name].layers if layer not in there]
        if absent:
            hint = nearest(str(absent[0]), [str(layer) for layer in there])
            problems.append(f"features.{name} has no layer {absent[0]}{hint}")
    if problems:
        raise FeatureError("; ".join(problems), where=str(analysis.file))
