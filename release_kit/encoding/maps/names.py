"""Names of files of statistical maps in a BIDS derivative, and the words behind their labels.

Owns entity order and which characters a label may have. BIDS 1.11 has no rule for maps of statistics: they are named as
other derivatives are, and the derivative's ``.bidsignore`` says so to the validator.
"""

import re

from release_kit.encoding.errors import AnalysisError

SUFFIX = "statmap"
_LABEL = re.compile(r"[0-9A-Za-z]+")

STATISTICS = {
    "r": ("Pearson correlation of measured and predicted response, held-out data", "1"),
    "r2": ("share of variance that the prediction explains, held-out data", "1"),
    "cvr": ("mean Pearson correlation over the folds of cross-validation, training data", "1"),
    "p": ("one-sided p of a permutation of blocks, never zero", "1"),
    "q": ("p adjusted for the number of voxels: expected share of false ones among all with a value this small", "1"),
    "ceiling": ("lower bound of the largest correlation that noise allows", "1"),
    "rnormalised": ("Pearson correlation divided by its ceiling", "1"),
    "rdiff": ("difference of two Pearson correlations, held-out data", "1"),
    "uniquer2": ("share of variance that a band explains and no other band does, held-out data", "1"),
    "uniquer2low": ("lower end of the 95 % block-bootstrap interval of uniquer2", "1"),
    "uniquerlow": ("lower end of the 95 % block-bootstrap interval of uniquer", "1"),
    "sharedr2": ("share of variance that bands explain in common, held-out data", "1"),
    "uniquer": ("drop of the correlation when a band is left out, held-out data", "1"),
    "sharedr": ("correlation that bands have in common, by inclusion and exclusion, held-out data", "1"),
    "rmean": ("mean over subjects of the Pearson correlation, held-out data", "1"),
    "alpha": ("regularisation that cross-validation chose", "1"),
}
"""Label of ``stat-`` → what the values are, unit."""


def label(text: str) -> str:
    """Return text as a BIDS label: letters and digits only.

    Raises:
        AnalysisError: nothing would be left.
    """
    found = "".join(_LABEL.findall(text))
    if not found:
        raise AnalysisError(f"{text!r} holds no letter and no digit, so that it cannot name a file", where="map")
    return found


def stem(
    subject: str | None, statistic: str, desc: str, *, task: str | None = None, space: str | None = None,
    hemi: str | None = None,
) -> str:  # fmt: skip
    """Return path without ending below the derivative: ``sub-01/func/sub-01_hemi-L_space-…_stat-r_desc-…_statmap``.

    Maps over subjects lie at the root: the validator refuses folders of other names, whatever ``.bidsignore`` says.

    Args:
        subject: label; None for a map over subjects.
        statistic: one of ``STATISTICS``.
        desc: label of the model.
        task: label, where all runs have the same.
        space: label of the space.
        hemi: ``L`` or ``R`` for a surface.
    """
    parts = {"sub": subject, "task": task, "hemi": hemi, "space": space, "stat": statistic, "desc": desc}
    name = "_".join(f"{key}-{label(value)}" for key, value in parts.items() if value)
    return f"sub-{label(subject)}/func/{name}_{SUFFIX}" if subject else f"{name}_{SUFFIX}"
