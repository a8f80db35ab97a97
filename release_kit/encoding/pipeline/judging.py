"""Whether the voxels of a fit are predicted better than chance: one folder a test, beside the fit that it judges.

Owns which test a mode asks for and where its result lies; the tests are ``statistics/``'s and ``pooled.py``'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FitError
from release_kit.encoding.pipeline.choices import PAPER_BLOCK, TestChoices
from release_kit.encoding.pipeline.identity import TEST_CODE, code_digest
from release_kit.encoding.pipeline.inputs import SubjectPlan
from release_kit.encoding.pipeline.pooled import pooled_shuffle_p
from release_kit.encoding.pipeline.units import (
    Fitted,
    OnDamage,
    float_column,
    read_columns,
    read_complete,
    write_complete,
    write_table,
)
from release_kit.encoding.statistics.multiple import (
    called,
    fdr,
    max_statistic_p,
    permutations_needed,
    share_needed,
    stuck_tests,
)
from release_kit.encoding.statistics.permutation import permutation_test

TEST_FILE = "test.json"
TESTS = "tests"
LARGE_SHARE = 0.1
"""Of voxels: a test that can call nobody unless more of them reach the smallest p is said to have too few
permutations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What a test says of each voxel of a fit.

    Attributes:
        fitted: the fit.
        p: (n_voxels,) one-sided; NaN where nothing is scored.
        q: (n_voxels,) adjusted for the number of voxels.
        p_max: (n_voxels,) with the chance of even one false voxel held down; NaN for ``pooled``.
        level: of significance.
        home: folder of the test.
    """

    fitted: Fitted
    p: npt.NDArray
    q: npt.NDArray
    p_max: npt.NDArray
    level: float
    home: Path

    @property
    def significant(self) -> npt.NDArray[np.bool_]:
        """(n_voxels,) True where q is at most the level."""
        return called(self.q, self.level)


def block_samples(test: TestChoices, plan: SubjectPlan) -> int:
    """Return the samples of a block."""
    return PAPER_BLOCK if test.null == "pooled" else max(1, round(test.block_s / plan.tr_s))


def judge(
    fitted: Fitted,
    plan: SubjectPlan,
    test: TestChoices,
    measured: Callable[[], FloatArray],
    on_damage: OnDamage = None,
) -> Judged | None:
    """Return the test of a fit, made now or found beside it; None where no test is asked for.

    Args:
        fitted: the fit.
        plan: samples of its subject.
        test: which test.
        measured: returns the (n_held_out, n_voxels) measured responses.
        on_damage: told each file of a test that is not what was recorded; the test is made again.

    Raises:
        FitError: runs too short for its blocks, with subject and fit.
    """
    if not test.permutations:
        return None
    identity = {"fit_id": fitted.fit_id, "test": test.to_dict(), "code": code_digest(TEST_CODE)}
    home = fitted.folder / TESTS / digest(identity)[:16]
    if read_complete(home, TEST_FILE, identity, on_damage) is None:
        try:
            _make(fitted, plan, test, measured(), home, identity)
        except FitError as error:
            raise FitError(error.what, where=fitted.fit_id, next_step=error.next_step) from error
    columns = read_columns(home / "voxels.parquet")
    return Judged(fitted=fitted, p=columns["p"], q=columns["q"], p_max=columns["p_max"], level=test.level, home=home)


def why_untestable(plan: SubjectPlan, test: TestChoices) -> str | None:
    """Return why held-out runs are too short for a test, or None; nothing is read."""
    lengths = [part.stop - part.start for part in plan.test_borders]
    borders = [slice(sum(lengths[:k]), sum(lengths[: k + 1])) for k in range(len(lengths))]
    empty = np.zeros((sum(lengths), 0), np.float32)
    if not test.permutations or test.null == "pooled":
        return None
    try:
        permutation_test(
            empty, empty, borders, block=block_samples(test, plan), n=test.permutations,
            null=test.null, across_runs=test.across_runs,
        )  # fmt: skip
    except ReleaseKitError as error:
        step = f" — {error.next_step}" if error.next_step else ""
        return f"{error.what}{step}"
    return None


def few_permutations(test: TestChoices, n_voxels: int) -> str | None:
    """Return a sentence where a test has so few permutations that a tenth of voxels could not be called, or None."""
    if not test.permutations or test.null == "pooled" or not n_voxels:
        return None
    share = share_needed(test.permutations, test.level, n_voxels, test.fdr)
    if share <= LARGE_SHARE * (1 + 1e-9):
        return None
    least = permutations_needed(LARGE_SHARE, test.level, n_voxels, test.fdr)
    smallest = 1 / (test.permutations + 1)
    what = (
        f"needs {100 * share:.0f} % of voxels with the smallest p ({smallest:.2g})" if share <= 1 else "is impossible"
    )
    return (
        f"statistics.permutations: with {test.permutations:,}, q <= {test.level:g} ({test.fdr}) {what}; "
        f"{least:,} or more are enough where {100 * LARGE_SHARE:g} % are predicted"
    )


def lacking_permutations(p: npt.NDArray, test: Mapping[str, Any], level: float) -> str | None:
    """Return a sentence where voxels are not called only because there are too few permutations, or None.

    Args:
        p: (n_voxels,), NaN where nothing is scored.
        test: ``TestChoices.to_dict()``, as it stands in ``test.json``.
        level: of significance.
    """
    if test["null"] == "pooled":
        return None
    n, known = test["permutations"], int(np.isfinite(p).sum())
    stuck = stuck_tests(p, n, level, test["fdr"])
    if not stuck:
        return None
    least = permutations_needed(stuck / known, level, known, test["fdr"])
    return (
        f"{stuck:,} of {counted(known, 'voxel')} reach the smallest p of {n:,} permutations ({1 / (n + 1):.2g}), more "
        f"than chance gives, but none can have q <= {level:g} ({test['fdr']}): "
        f"that takes at least {least:,} permutations"
    )


def largest_alphas(judged: Judged, alphas: Sequence[float]) -> str | None:
    """Return a sentence where many called voxels have the largest penalty that was tried, or None.

    A voxel that nothing predicts has it rightly: only voxels that are called are counted. The smallest is no sign of a
    fault; a voxel with little noise needs no penalty.

    Args:
        judged: a test and its fit.
        alphas: that were tried.
    """
    called = judged.significant
    if len(alphas) < 2 or not called.any():
        return None
    chosen = np.asarray(judged.fitted.columns["alpha"], np.float64)[called]
    share = float(np.isclose(chosen, max(alphas), rtol=1e-4).mean())
    if share <= LARGE_SHARE:
        return None
    return (
        f"{100 * share:.0f} % of the voxels that are called have the largest alpha that was tried "
        f"({max(alphas):g}): raise ridge.alphas.to"
    )


def _make(
    fitted: Fitted, plan: SubjectPlan, test: TestChoices, y: FloatArray, home: Path, identity: Mapping[str, Any]
) -> None:
    import pyarrow as pa

    predicted = fitted.prediction()
    block = block_samples(test, plan)
    if test.null == "pooled":
        p = pooled_shuffle_p(y, np.asarray(predicted), block=block, seed=test.seed)
        p_max = np.full(len(p), np.nan)
    else:
        found = permutation_test(
            y, predicted, plan.test_borders, block=block, n=test.permutations, seed=test.seed,
            null=test.null, across_runs=test.across_runs,
        )  # fmt: skip
        p, p_max = found.p, max_statistic_p(found.r, found.max_null)
    scored = np.isfinite(fitted.r)
    p, p_max = np.where(scored, p, np.nan), np.where(scored, p_max, np.nan)
    columns = {"p": p, "q": fdr(p, test.fdr), "p_max": p_max}
    voxels = pa.array(np.arange(len(p)), pa.int32())
    write_table(
        home / "voxels.parquet",
        pa.table({"voxel": voxels, **{name: float_column(values) for name, values in columns.items()}}),
    )
    write_complete(home, TEST_FILE, identity, ("voxels.parquet",), {"block": block, "n_runs": len(plan.test_borders)})
