"""What features will be and what keeps them from being made: levels, annotators, models, widths, bands.

Texts and headers are read, and the vocabulary of a bag of words is counted; no weight is read and nothing is made.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from release_kit.core.canonical import digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted
from release_kit.encoding.data.problems import DataProblem
from release_kit.encoding.data.runs import RunInfo
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.encoders import private_identity
from release_kit.encoding.features.media_files import media_of
from release_kit.encoding.features.model_check import model_problems
from release_kit.encoding.features.model_files import sha256_of
from release_kit.encoding.features.place import training_bins
from release_kit.encoding.features.spec import TEXT_MODELS, FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts, bin_stimuli
from release_kit.encoding.features.word_vectors import vector_width
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.designs import BIN_S, spec_of
from release_kit.encoding.pipeline.inputs import Inputs
from release_kit.encoding.pipeline.model_facts import model_facts
from release_kit.encoding.spec.model import Analysis, FeatureUse

LACKING = 0.1
"""Share of a run's seconds without annotation from which on it is said: sparse levels are nothing unusual."""


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """What is known of a feature before it is made; ``layers`` and ``width`` are None where only a run can tell."""

    name: str
    layers: int | None
    width: int | None
    n_stimuli: int
    n_bins: int
    n_missing: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(vars(self))


@dataclass(kw_only=True)
class SeenFeatures:
    """What was found: facts and texts of the features that can be made, problems of all, and notes."""

    facts: list[FeatureFacts] = field(default_factory=list)
    problems: list[DataProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    """Feature → what its values depend on apart from weights, as a digest."""


def look_at_feature(analysis: Analysis, inputs: Inputs, choices: Choices, name: str, seen: SeenFeatures) -> None:
    """Add what is known of a feature to ``seen``.

    Raises:
        ReleaseKitError: its level cannot be read, or a run lacks it.
    """
    use = analysis.features[name]
    spec = spec_of(use, choices)
    table = inputs.dataset.annotations() if use.level is not None else None
    runs = [run for plan in inputs.plans.values() for run in plan.used_runs]
    binned = bin_stimuli(table, runs, spec)
    facts = model_facts(use)
    wrong = _of_model(use, facts.n_layers) + _of_media(use, runs)
    seen.problems += [DataProblem(what=str(error)) for error in wrong]
    full = _width(use, spec, inputs, choices, binned) if facts.width is None else facts.width
    if full is not None and use.pca and use.pca > full:
        seen.notes.append(f"features.{name}: pca is {use.pca:,}, but there are {full:,} dimensions: all are kept")
    seen.facts.append(
        FeatureFacts(
            name=name,
            layers=len(use.layers) or facts.n_layers,
            width=min(use.pca, full) if use.pca and full else use.pca or full,
            n_stimuli=len(binned),
            n_bins=sum(each.n_bins for each in binned),
            n_missing=sum(int(each.missing.sum()) for each in binned) if use.level is not None else 0,
        )
    )
    # Levels with the same texts are one level under two names.
    texts = [[each.stim_id, each.annotators, each.rows, each.held] for each in binned]
    seen.contents[name] = digest([spec.identity(), use.pca, str(use.media), texts])
    if use.level is not None:
        seen.notes += _covered_in_part(use, runs, binned)
        seen.notes += _annotators_that_end(use, runs, binned)


def look_at_bands(analysis: Analysis, inputs: Inputs, choices: Choices, seen: SeenFeatures) -> None:
    """Add to ``seen`` which models have more columns than samples, and which bands are one feature twice."""
    n_train = min((len(plan.splits[0].train) for plan in inputs.plans.values()), default=0)
    n_delays = len(choices.delays_s) if choices.delay_kind == "concatenate" else 1
    columns = {each.name: each.width * n_delays for each in seen.facts if each.width is not None}
    models = {f"features.{name}": (name,) for name in columns}
    models |= {f"bands.{use.name}": use.features for use in analysis.bands.values() if {*use.features} <= {*columns}}
    for name, parts in models.items():
        total = sum(columns[part] for part in parts)
        if n_train and total > n_train:
            bands = f" ({', '.join(f'{part}: {columns[part]:,}' for part in parts)})" if len(parts) > 1 else ""
            seen.notes.append(
                f"{name}: {total:,} columns{bands} for {counted(n_train, 'training sample')}: fitted in "
                f"{_form(choices.ridge.solver)} form; only the penalty decides between them"
            )
    for band in analysis.bands.values():
        seen.problems += [
            DataProblem(
                what=f"bands.{band.name}: {one} and {other} are the same features (same texts, settings and model), "
                "so neither explains anything alone",
                next_step="leave one of them out",
            )
            for k, other in enumerate(band.features)
            for one in band.features[:k]
            if _same(analysis.features[one], analysis.features[other], seen.contents)
        ]


def _form(solver: str) -> str:
    return "primal" if solver == "primal" else "dual"


def _same(one: FeatureUse, other: FeatureUse, contents: Mapping[str, str]) -> bool:
    """Return whether two features have the same values; models are compared by content where their sizes agree."""
    if one.name not in contents or contents[one.name] != contents.get(other.name):
        return False
    return one.model == other.model or _weights(one) == _weights(other)


def _weights(use: FeatureUse) -> list[Any]:
    """Return the digests of the files of weights."""
    assert use.model is not None
    files = [use.model] if use.model.is_file() else sorted(use.model.glob("*.safetensors"))
    try:
        return sorted(sha256_of(files, use.model.parent).values())
    except ReleaseKitError:
        return [use.name]


def _of_model(use: FeatureUse, n_layers: int | None) -> list[FeatureError]:
    """Return what keeps a model from being opened; layers are known of models of texts only."""
    if use.model is None or use.kind == "static":
        return []
    where = f"features.{use.name}, model {use.model}"
    found = model_problems(use.model, use.kind, where)
    absent = [layer for layer in use.layers if n_layers is not None and layer >= n_layers]
    if absent and use.kind in TEXT_MODELS:
        found.append(FeatureError(f"there is no layer {absent[0]}: its layers are 0 to {n_layers - 1}", where=where))
    return found


def _of_media(use: FeatureUse, runs: Sequence[RunInfo]) -> list[FeatureError]:
    """Return the stimuli of which frames or sound are not here, each with the runs that show it."""
    if use.media is None:
        return []
    found = []
    for stim_id in sorted({run.stim_id for run in runs}):
        try:
            media_of(use.media, stim_id, sound=use.kind == "audio")
        except ReleaseKitError as error:
            named = ", ".join(dict.fromkeys(run.name for run in runs if run.stim_id == stim_id))
            where = f"features.{use.name}, {named}"
            what = f"{error.where}: {error.what}" if error.where else error.what
            found.append(FeatureError(what, where=where, next_step=error.next_step))
    return found


def _width(
    use: FeatureUse, spec: FeatureSpec, inputs: Inputs, choices: Choices, binned: Sequence[BinnedTexts]
) -> int | None:
    """Return the length of word vectors, or the words of a bag's training texts."""
    if use.kind == "static" and use.model is not None:
        return vector_width(use.model)
    if use.kind != "bag-of-words" or not binned:
        return None
    n_bins = {each.stim_id: each.n_bins for each in binned}
    seen = {name: np.zeros(n, bool) for name, n in n_bins.items()}
    for plan in inputs.plans.values():
        bins = training_bins(plan.runs, plan.splits[0].samples, choices.delays_s, BIN_S, n_bins)
        for name, mask in bins.items():
            seen[name] |= mask
    return len(private_identity(spec, binned, seen)["vocabulary"])


def _covered_in_part(use: FeatureUse, runs: Sequence[RunInfo], binned: Sequence[BinnedTexts]) -> Iterator[str]:
    """Yield a sentence for every run of which a level lacks more than ``LACKING`` of its seconds."""
    missing = {each.stim_id: each.missing for each in binned}
    for run in _each_once(runs):
        part = missing[run.stim_id][_shown(run)]
        if len(part) and LACKING < part.mean() < 1:  # a level that a run has not at all is a problem, not a note
            yield (
                f"{run.name}: {_level(use)} lacks {int(part.sum()):,} of its "
                f"{counted(len(part), 'second')} (missing: {use.missing})"
            )


def _annotators_that_end(use: FeatureUse, runs: Sequence[RunInfo], binned: Sequence[BinnedTexts]) -> Iterator[str]:
    """Yield a sentence for every run in which one of several annotators ends long before it does.

    Of a run in which an annotator wrote nothing although they wrote of the film before, too.
    """
    texts = {each.stim_id: each for each in binned}
    for run in _each_once(runs):
        each = texts[run.stim_id]
        if len(each.annotators) < 2:
            continue
        start, stop = _shown(run).start, min(_shown(run).stop, each.n_bins)
        written = np.array([[text is not None for text in of_one] for of_one in each.texts])
        ends = [int(np.flatnonzero(of_one)[-1]) + 1 if of_one.any() else 0 for of_one in written]
        for name, end in zip(each.annotators, ends, strict=True):
            lacking = stop - max(start, end)
            # A film that everybody leaves uncovered at its end is the level's, not the annotator's.
            if lacking > LACKING * (stop - start) and max(ends) - end > LACKING * (stop - start):
                yield (
                    f"{run.name}: annotator {name} of {_level(use)} ends {lacking:,} of its "
                    f"{counted(stop - start, 'second')} before it does; others go on"
                )


def _each_once(runs: Sequence[RunInfo]) -> list[RunInfo]:
    return list({run.name: run for run in runs}.values())


def _shown(run: RunInfo) -> slice:
    """Return the seconds of the stimulus that a run shows."""
    return slice(int(run.stim_start_s), math.ceil(run.stim_end_s))


def _level(use: FeatureUse) -> str:
    return f"level {use.level!r}" + (f" in {use.language!r}" if use.language else "")
