"""What an analysis does where the published code and careful practice part: the choices of each mode, as one record.

Pure. ``corrected`` follows ``encoding.yaml``; ``paper`` puts the published code's choices in place of some of its keys.
``DIFFERENCES`` lists them one by one; docs/encoding-modes.md is held against it.
"""

from dataclasses import dataclass, replace
from typing import Any

from release_kit.encoding.data.clean import CleanSettings
from release_kit.encoding.data.samples import PAPER_FOLDS, SampleRule
from release_kit.encoding.solve.settings import RidgeSettings
from release_kit.encoding.spec.model import Analysis

CORRECTED, PAPER, BOTH = "corrected", "paper", "both"
PAPER_ALPHAS = tuple(10.0**power for power in range(-12, 13))
PAPER_BLOCK = 10
"""Samples of a block of the published code's shuffle."""
PAPER_N_FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One choice that the modes make differently."""

    key: str
    """Of ``encoding.yaml``, or what it would be called."""
    paper: str
    corrected: str
    why: str


DIFFERENCES = (
    Difference(
        key="samples.drop_start_s",
        paper="20 s are dropped at the start of every run but the first of an episode",
        corrected="dropped in every run (`drop_first_run_start`)",
        why="the signal settles in the first run as well; the paper's text says that all runs are cut",
    ),
    Difference(
        key="samples.drop_overlap",
        paper="what a run repeats goes only because it lies in the first 20 s",
        corrected="dropped by what the events say; a split that shares seconds is refused",
        why="a model has been fitted to these very seconds",
    ),
    Difference(
        key="samples.folds",
        paper="four groups of titles",
        corrected="one fold a title, or as the file says",
        why="no declared groups are needed, and each title is judged by models of all others",
    ),
    Difference(
        key="delays.kind",
        paper="the mean over the delays",
        corrected="side by side, so that each voxel finds its own response in time",
        why="the mean assumes one response for all voxels",
    ),
    Difference(
        key="delays across borders",
        paper="runs of a title are joined, then shifted: the first seconds of a run get features of the run before, "
        "the first of a title zeros",
        corrected="looked up in the stimulus time of the same run",
        why="what was seen in the run before was seen minutes or days earlier",
    ),
    Difference(
        key="clean.features",
        paper="mean and slow drifts of each run are taken out of responses alone",
        corrected="out of the delayed features as well: by the same filter, for a running median by a running mean",
        why="features that keep what responses have lost predict what is not there: scores and unique parts come out "
        "too small",
    ),
    Difference(
        key="special tokens",
        paper="`[CLS]`, `</s>` and their like count in the mean over tokens",
        corrected="only the text's own tokens count",
        why="they are the same in every second and carry no text",
    ),
    Difference(
        key="ridge.alphas",
        paper="25 powers of ten from -12 to 12",
        corrected="as the file says",
        why="the same grid where the file says so; it is a choice, not a fault",
    ),
    Difference(
        key="statistics.null",
        paper="one shuffle of blocks of 10 samples over all held-out runs; p is the share of all voxels' shuffled r "
        "that reach the voxel's r, and may be 0",
        corrected="1000 repetitions for each voxel inside runs, p = (1 + b) / (1 + n)",
        why="one shuffle, pooled, tests no voxel; a p of 0 claims what no number of shuffles can show; 10 samples are "
        "shorter than the autocorrelation",
    ),
    Difference(
        key="unique variance",
        paper="a difference of correlations, without an interval",
        corrected="a difference of R², with an interval from resampled blocks",
        why="correlations do not add up; a difference without an interval cannot be judged",
    ),
)


@dataclass(frozen=True, kw_only=True)
class TestChoices:
    """How a held-out score is judged."""

    __test__ = False

    null: str
    """``block``, ``shift``, or ``pooled``: the published code's one shuffle."""
    permutations: int
    block_s: float
    """Seconds; of ``pooled`` the block is ``PAPER_BLOCK`` samples."""
    across_runs: bool
    fdr: str
    level: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return what identifies a test; the level is applied when tables are made."""
        values = {
            name: getattr(self, name) for name in ("null", "permutations", "block_s", "across_runs", "fdr", "seed")
        }
        return values | ({"permutations": 1, "block_s": None} if self.null == "pooled" else {})


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Everything that a mode decides."""

    mode: str
    rule: SampleRule
    leave_one_title_out: bool
    folds: str
    """``title``, ``run`` or ``paper``."""
    n_folds: int | None
    clean: CleanSettings
    clean_features: CleanSettings | None
    """What is taken out of the columns of designs; None: nothing."""
    delays_s: tuple[float, ...]
    delay_kind: str
    borders: str
    """``run`` or ``title``, see ``features.place``."""
    special_tokens: bool
    ridge: RidgeSettings
    test: TestChoices
    metric: str
    """Of the partition: ``r2`` or ``r``."""
    bootstrap: int
    average_repeats: bool


def modes_of(analysis: Analysis) -> tuple[str, ...]:
    """Return the modes that an analysis runs, the one that its main tables are of first."""
    return (CORRECTED, PAPER) if analysis.mode == BOTH else (analysis.mode,)


def choices_of(analysis: Analysis, mode: str) -> Choices:
    """Return what ``mode`` decides for an analysis."""
    said = _said(analysis)
    if mode == CORRECTED:
        return said
    rule = replace(said.rule, drop_start_s=20.0, drop_first_run_start=False, drop_overlap=False, refuse_shared=False)
    return replace(
        said,
        mode=PAPER,
        rule=rule,
        folds="paper",
        clean_features=None,
        delay_kind="average",
        borders="title",
        special_tokens=True,
        ridge=replace(said.ridge, alphas=PAPER_ALPHAS),
        test=replace(said.test, null="pooled", across_runs=True, fdr="bh"),
        metric="r",
        bootstrap=0,
    )


def paper_groups(titles: tuple[str, ...]) -> tuple[tuple[str, ...], ...] | None:
    """Return the published code's groups of titles where they name every one of these, else None."""
    named = {title for group in PAPER_FOLDS for title in group}
    return PAPER_FOLDS if set(titles) <= named else None


def _clean_features(analysis: Analysis) -> CleanSettings | None:
    use = analysis.clean
    if use.features == "none":
        return None
    return CleanSettings(detrend=use.detrend if use.features == "same" else use.features, window_s=use.window_s)


def _said(analysis: Analysis) -> Choices:
    """Return what the file says."""
    samples, statistics, ridge = analysis.samples, analysis.statistics, analysis.ridge
    test: Any = {"last-run": "last", "runs": samples.test_runs}.get(samples.test, "none")
    return Choices(
        mode=CORRECTED,
        rule=SampleRule(
            drop_start_s=samples.drop_start_s,
            drop_first_run_start=samples.drop_first_run_start,
            drop_overlap=samples.drop_overlap,
            test_runs=test,
            test_last=samples.test_last,
            holdout_titles=samples.test_titles,
            leave_out=samples.leave_out,
        ),
        leave_one_title_out=samples.test == "leave-one-title-out",
        folds=samples.folds,
        n_folds=samples.n_folds,
        clean=CleanSettings(detrend=analysis.clean.detrend, window_s=analysis.clean.window_s),
        clean_features=_clean_features(analysis),
        delays_s=analysis.delays.seconds,
        delay_kind=analysis.delays.kind,
        borders="run",
        special_tokens=False,
        ridge=RidgeSettings(
            alphas=ridge.alphas,
            solver=ridge.solver,
            score=ridge.score,
            precision=ridge.precision,
            backend=ridge.backend,
            device=ridge.device,
            memory_bytes=int(ridge.memory_gb * 10**9),
        ),
        test=TestChoices(
            null=statistics.null,
            permutations=statistics.permutations,
            block_s=statistics.block_s,
            across_runs=statistics.across_runs,
            fdr=statistics.fdr,
            level=statistics.level,
            seed=analysis.seed,
        ),
        metric="r2",
        bootstrap=statistics.bootstrap,
        average_repeats=samples.repeats == "mean",
    )
