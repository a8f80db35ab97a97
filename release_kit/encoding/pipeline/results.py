"""What one mode of an analysis found, in memory: fits, chosen layers, tests, partitions, ceilings.

Everything in it is read from folders that are complete; ``summary.py`` makes the tables of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.designs import Features, Part
from release_kit.encoding.pipeline.fits import Group
from release_kit.encoding.pipeline.inputs import Inputs
from release_kit.encoding.pipeline.judging import Judged
from release_kit.encoding.pipeline.model_facts import model_facts
from release_kit.encoding.pipeline.partitions import Partitioned
from release_kit.encoding.pipeline.regions import Regions, top_voxels
from release_kit.encoding.pipeline.repeats import ceiling_of_repeats
from release_kit.encoding.pipeline.units import Fitted
from release_kit.encoding.spec.model import Analysis
from release_kit.encoding.statistics.ceiling import annotator_ceiling, subject_ceiling
from release_kit.encoding.statistics.profiles import LayerProfile, layer_profile

CEILING_TILE = 4096
REPEATS, SUBJECTS, ANNOTATORS = "repeats", "between subjects", "between annotators of "
_OWN_SPACES = ("T1w", "T2w", "native", "func", "boldref", "individual")
"""Spaces in which a voxel of one subject is no voxel of another."""


@dataclass(eq=False)
class ModeResult:
    """Everything that one mode found.

    Attributes:
        analysis: the file.
        choices: of the mode.
        inputs: dataset and plans, after samples were dropped.
        features: the files of features.
        groups: subjects with the same samples.
        regions: subject → named regions.
        fits: (subject, part) → fit of every layer.
        profiles: (subject, feature, annotator) → its layers, the chosen one among them.
        judged: (subject, part) → test of chosen fits.
        partitions: of banded models.
        repeats: subject → (n_voxels,) the ceiling that its held-out repeats set.
        ceiling: subject → (lower, upper) bound of each voxel, between subjects.
        agreement: (subject, feature) → (n_voxels,) the ceiling that disagreement of annotators sets, where features are
            those of each annotator.
    """

    analysis: Analysis
    choices: Choices
    inputs: Inputs
    features: Features
    groups: list[Group]
    regions: Mapping[str, Regions]
    fits: dict[tuple[str, Part], Fitted] = field(default_factory=dict)
    profiles: dict[tuple[str, str, str], LayerProfile] = field(default_factory=dict)
    judged: dict[tuple[str, Part], Judged] = field(default_factory=dict)
    partitions: list[Partitioned] = field(default_factory=list)
    repeats: dict[str, npt.NDArray] = field(default_factory=dict)
    ceiling: dict[str, tuple[npt.NDArray, npt.NDArray]] = field(default_factory=dict)
    agreement: dict[tuple[str, str], npt.NDArray] = field(default_factory=dict)

    def chosen(self, subject: str, feature: str, annotator: str | None = None) -> Part:
        """Return the layer of a feature that cross-validation chose; of the first annotator where none is named."""
        annotator = annotator or self.features.first(feature).annotators[0]
        return Part(feature=feature, layer=self.profiles[subject, feature, annotator].best, annotator=annotator)

    def is_chosen(self, subject: str, part: Part) -> bool:
        """Return whether a layer is the chosen one."""
        return self.profiles[subject, part.feature, part.annotator].best == part.layer

    def fit(self, subject: str, part: Part) -> Fitted:
        """Return one fit."""
        return self.fits[subject, part]

    def n_parameters(self, feature: str) -> int | None:
        """Return the size of a feature's model, as the file says it or counted; None for features without one."""
        return model_facts(self.analysis.features[feature]).n_parameters

    def best_ceiling(self, subject: str) -> tuple[str, npt.NDArray] | None:
        """Return the source of the ceiling that scores of a subject are divided by, and its values: of repeats where
        there are any, else the lower bound between subjects; None where there is neither."""
        if subject in self.repeats:
            return REPEATS, self.repeats[subject]
        return (SUBJECTS, self.ceiling[subject][0]) if subject in self.ceiling else None

    def fit_ids(self) -> set[str]:
        """Return the folders of fits that these results are made of."""
        found = {fit.fit_id for fit in self.fits.values()}
        return found | {fit_id for each in self.partitions for fit_id in each.fit_ids}


def choose_layers(result: ModeResult) -> None:
    """Fill ``profiles``: the layer with the largest mean score of cross-validation over the voxels that any layer
    predicts best there; held-out scores are never looked at."""
    layers: dict[tuple[str, str, str], dict[int, Fitted]] = {}
    for (subject, part), fit in result.fits.items():
        layers.setdefault((subject, part.feature, part.annotator), {})[part.layer] = fit
    for key, fits in layers.items():
        top = top_voxels(*(fit.cv for fit in fits.values()))
        result.profiles[key] = layer_profile(
            {layer: mean_of(fit.cv, top) for layer, fit in fits.items()},
            {layer: mean_of(fit.r, top) for layer, fit in fits.items()},
        )


def mean_of(values: npt.NDArray, inside: npt.NDArray[np.bool_]) -> float:
    """Return the mean over the voxels of a region that have a value; NaN where none has."""
    known = np.isfinite(values) & inside
    return float(np.mean(values[known], dtype=np.float64)) if known.any() else float("nan")


def shared_space(analysis: Analysis) -> bool:
    """Return whether a voxel (vertex) is the same place in every subject, as far as names say."""
    use = analysis.dataset
    if use.layout != "bids" or (use.space in _OWN_SPACES) or (use.space or "").startswith("fsnative"):
        return False
    return use.space is not None


def between_repeats(result: ModeResult) -> None:
    """Fill ``repeats`` for every subject some of whose held-out runs show the same seconds again."""
    for group in result.groups:
        for plan in group.plans:
            if plan.repeats:
                cleaned = group.cleaned(plan.subject)
                averaged = plan.average_repeats
                found = ceiling_of_repeats(cleaned.columns, plan.repeats, cleaned.n_voxels, averaged=averaged)
                if found is not None:
                    result.repeats[plan.subject] = np.where(cleaned.nonfinite, np.nan, found)


def between_subjects(result: ModeResult) -> None:
    """Fill ``ceiling`` for every group of at least two subjects who saw the same film, in one space."""
    if not shared_space(result.analysis):
        return
    dataset = result.inputs.dataset
    for group in result.groups:
        masks = [dataset.mask(plan.subject) for plan in group.plans]
        same = all(
            mask.kind == masks[0].kind
            and np.array_equal(mask.selected, masks[0].selected)
            and (mask.kind == SURFACE or np.allclose(mask.affine, masks[0].affine))
            for mask in masks
        )
        if len(masks) < 2 or not same:
            continue
        measured = [group.held_out(plan.subject) for plan in group.plans]
        n_voxels = masks[0].n_voxels
        bounds = np.full((2, len(measured), n_voxels), np.nan)
        for start in range(0, n_voxels, CEILING_TILE):
            tile = slice(start, start + CEILING_TILE)
            found = subject_ceiling(np.stack([y[:, tile] for y in measured]))
            bounds[0, :, tile], bounds[1, :, tile] = found.lower, found.upper
        for k, plan in enumerate(group.plans):
            result.ceiling[plan.subject] = (bounds[0, k], bounds[1, k])


def between_annotators(result: ModeResult) -> None:
    """Fill ``agreement`` for every feature that was made of each annotator by itself, at their chosen layers."""
    everybody: dict[tuple[str, str], list[str]] = {}
    for subject, feature, annotator in result.profiles:
        everybody.setdefault((subject, feature), []).append(annotator)
    for (subject, feature), annotators in everybody.items():
        if len(annotators) < 2:
            continue
        predictions = [result.fit(subject, result.chosen(subject, feature, who)).prediction() for who in annotators]
        ceiling = np.full(predictions[0].shape[1], np.nan)
        for start in range(0, len(ceiling), CEILING_TILE):
            tile = slice(start, start + CEILING_TILE)
            ceiling[tile] = annotator_ceiling(np.stack([each[:, tile] for each in predictions]))
        result.agreement[subject, feature] = ceiling
