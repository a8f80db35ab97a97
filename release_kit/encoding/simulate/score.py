"""What a finished analysis of a simulated study recovered of what was planted: one record, and whether it holds.

Reads ``dataset/derivatives/truth`` and the results beside it. The planted unique part is that of endless training data:
a fitted model explains less, so errors are a little below 0 (docs/encoding-truth.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.core.errors import RecordError
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.partition.sets import FloatMap, Union, unique
from release_kit.encoding.pipeline.finished import ChosenFit, Finished, read_finished
from release_kit.encoding.simulate.dataset import TRUTH
from release_kit.encoding.spec.read import read_analysis
from release_kit.encoding.statistics.multiple import called

LEVEL = 0.05
CHANCE = 0.001
"""How rarely a test at its nominal rate is said to miss it, over all fits together."""


@dataclass(frozen=True, kw_only=True)
class FitScore:
    """One band's model of one subject against what was planted.

    Attributes:
        mode, subject, band: which.
        r: mean over the voxels that the band explains.
        attainable_r: the mean over them of what endless data would give.
        overlap: share of the k best voxels that the band explains, k being how many it does.
        n_null: voxels without any signal.
        false_p: how many of them have p below .05.
        false_q: how many of them are called at FDR .05.
        n_called: voxels called at FDR .05.
    """

    mode: str
    subject: str
    band: str
    r: float
    attainable_r: float
    overlap: float
    n_null: int
    false_p: int
    false_q: int
    n_called: int


@dataclass(frozen=True, kw_only=True)
class PartScore:
    """The mean over a region of what one band adds: planted, found, and the interval of the error; R² or (paper) r."""

    mode: str
    subject: str
    region: str
    band: str
    metric: str
    planted: float
    found: float
    error: float
    error_low: float | None
    error_high: float | None


@dataclass(frozen=True, kw_only=True)
class StudyScore:
    """Everything that was recovered."""

    fits: tuple[FitScore, ...]
    parts: tuple[PartScore, ...]

    @cached_property
    def most_false(self) -> Mapping[str, int]:
        """Mode → the largest number of false voxels of one fit that a test at its nominal rate still gives."""
        from scipy.stats import binom

        judged = [fit for fit in self.fits if fit.mode == "corrected"]
        return {fit.mode: int(binom.ppf(1 - CHANCE / len(judged), fit.n_null, LEVEL)) for fit in judged}

    @property
    def ok(self) -> bool:
        """Whether no fit of mode corrected has more false voxels than its rate allows."""
        return all(fit.false_p <= self.most_false[fit.mode] for fit in self.fits if fit.mode in self.most_false)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "ok": self.ok,
            "most_false": dict(self.most_false),
            "fits": [asdict(fit) for fit in self.fits],
            "parts": [asdict(part) for part in self.parts],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Truth:
    null: npt.NDArray[np.bool_]
    scores: Mapping[Union, FloatMap]


def score_study(folder: Path) -> StudyScore:
    """Hold a finished analysis of a simulated study against what was planted.

    Args:
        folder: that ``write_study`` filled and ``run_analysis`` finished.

    Raises:
        AnalysisError: it was not finished, or nothing says what was planted.
    """
    home = read_analysis(folder).dataset.path / "derivatives" / TRUTH
    if not home.is_dir():
        step = "name a folder that `release-kit encoding simulate --out` wrote"
        raise AnalysisError("is no simulated study: nothing says what was planted", where=str(folder), next_step=step)
    finished = read_finished(folder)
    truth = {subject: _read_truth(home / f"sub-{subject}_truth.tsv") for subject in finished.subjects}
    regions = _read_regions(home / "regions.tsv")
    bands = {feature["name"]: feature["level"] for feature in finished.record["features"]}
    return StudyScore(
        fits=tuple(_fit(fit, bands[fit.feature], truth[fit.subject]) for fit in finished.chosen),
        parts=tuple(_parts(finished, bands, truth, regions)),
    )


def _fit(fit: ChosenFit, band: str, truth: _Truth) -> FitScore:
    planted = truth.scores[frozenset([band])]
    signal = planted > LEVEL
    r = fit.values["r"]
    p, q = (fit.values.get(name, np.full(len(r), np.nan)) for name in ("p", "q"))
    best = np.argsort(-np.nan_to_num(r, nan=-1), kind="stable")[: int(signal.sum())]
    found = called(q, LEVEL)
    return FitScore(
        mode=fit.mode,
        subject=fit.subject,
        band=band,
        r=float(np.nanmean(r[signal])),
        attainable_r=float(np.sqrt(planted[signal]).mean()),
        overlap=float(signal[best].mean()),
        n_null=int(truth.null.sum()),
        false_p=int((p[truth.null] < LEVEL).sum()),
        false_q=int(found[truth.null].sum()),
        n_called=int(found.sum()),
    )


def _parts(
    finished: Finished,
    bands: Mapping[str, str],
    truth: Mapping[str, _Truth],
    regions: Mapping[str, npt.NDArray[np.bool_]],
) -> Iterator[PartScore]:
    """Yield unique parts of every named region in which something was planted, or nothing."""
    for row in finished.rows("partition"):
        kind, _, feature = row["part"].partition(":")
        if kind != "unique" or row["region"] not in regions or row["value"] is None or row["metric"] not in ("r", "r2"):
            continue
        scores = truth[row["subject"]].scores
        of_metric = {union: np.sqrt(r2) if row["metric"] == "r" else r2 for union, r2 in scores.items()}
        band = bands[feature]
        inside = regions[row["region"]]
        planted = float(unique(of_metric, sorted(bands.values()))[f"unique:{band}"][inside].mean())
        low, high = (None if row[end] is None else row[end] - planted for end in ("low", "high"))
        yield PartScore(
            mode=row["mode"], subject=row["subject"], region=row["region"], band=band, metric=row["metric"],
            planted=planted, found=row["value"], error=row["value"] - planted, error_low=low, error_high=high,
        )  # fmt: skip


def _read_truth(path: Path) -> _Truth:
    header, rows = _read(path)
    values = np.array([[np.nan if cell is None else float(cell) for cell in row] for row in rows])
    scores = {frozenset(name.split("+")): values[:, 2 + k] for k, name in enumerate(header[2:])}
    return _Truth(null=values[:, 1] == 1, scores=scores)


def _read_regions(path: Path) -> dict[str, npt.NDArray[np.bool_]]:
    _, rows = _read(path)
    names = [row[1] for row in rows]
    return {str(name): np.array([each == name for each in names]) for name in dict.fromkeys(names)}


def _read(path: Path) -> tuple[list[str], list[list[str | None]]]:
    try:
        return parse_tsv(path.read_bytes(), str(path))
    except (OSError, RecordError) as error:
        step = "simulate the study again"
        raise AnalysisError(f"what was planted cannot be read ({error})", where=str(path), next_step=step) from error
