"""Many fits in one call: features of every layer and level, responses of every subject.

Features are decomposed once for all subjects, responses are looked at once for all features; one fit is held at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from release_kit.encoding.arrays import Fold
from release_kit.encoding.errors import FitError
from release_kit.encoding.solve.checks import check_problem, inspect_responses
from release_kit.encoding.solve.ridge import RidgeFit, fit_prepared, fit_ridge, prepare
from release_kit.encoding.solve.settings import RidgeSettings


class NamedFit(NamedTuple):
    """One of many fits: the names of its features and its responses, and the model."""

    feature: str
    subject: str
    fit: RidgeFit


def fit_many(
    features: Mapping[str, npt.NDArray[Any]],
    responses: Mapping[str, npt.NDArray[Any]],
    folds: Sequence[Fold],
    settings: RidgeSettings | None = None,
) -> Iterator[NamedFit]:
    """Yield the fit of every feature space to every subject: for each feature space all subjects, in the order given.

    Each fit equals `fit_ridge` on the same arrays with the same solver.

    Args:
        features: name → (n_samples, n_features); numbers of features may differ.
        responses: subject → (n_samples, n_voxels); numbers of voxels may differ.
        folds: cross-validation, the same for all.
        settings: the same for all.

    Raises:
        FitError: before the first fit, everything that is wrong with any features, responses or folds.
    """
    settings = settings or RidgeSettings()
    found = _check(features, responses, folds)
    return _fits(features, responses, folds, settings, found)


def _check(
    features: Mapping[str, npt.NDArray[Any]], responses: Mapping[str, npt.NDArray[Any]], folds: Sequence[Fold]
) -> dict[str, Any]:
    """Refuse what cannot be fitted, all at once; return what was found in responses."""
    if not features or not responses:
        raise FitError("no features" if not features else "no responses", where="fits", next_step="give at least one")
    wrong: list[str] = []
    found: dict[str, Any] = {}
    for name, x in features.items():
        for y in responses.values():
            try:
                check_problem(x, y, folds, name)
            except FitError as error:
                wrong += [part for part in error.what.split("; ") if part not in wrong]
    for subject, y in responses.items() if not wrong else ():
        try:
            found[subject] = inspect_responses(y, folds, subject)
        except FitError as error:
            wrong.append(f"{subject}: {error.what}")
    if wrong:
        raise FitError("; ".join(wrong), where="fits", next_step="correct the inputs; nothing was fitted")
    return found


def _fits(
    features: Mapping[str, npt.NDArray[Any]],
    responses: Mapping[str, npt.NDArray[Any]],
    folds: Sequence[Fold],
    settings: RidgeSettings,
    found: Mapping[str, Any],
) -> Iterator[NamedFit]:
    if settings.backend == "himalaya":
        for name, x in features.items():
            for subject, y in responses.items():
                yield NamedFit(name, subject, fit_ridge(x, y, folds, settings))
        return
    n_voxels = int(np.sum([y.shape[1] for y in responses.values()]))
    for name, x in features.items():
        prepared = prepare(x, folds, settings, n_voxels=n_voxels, keep=len(responses) > 1)
        for subject, y in responses.items():
            yield NamedFit(name, subject, fit_prepared(prepared, y, found=found[subject]))
