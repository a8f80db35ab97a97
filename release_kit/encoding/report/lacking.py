"""Which tests of a finished analysis call no voxel only because they have too few permutations."""

from release_kit.encoding.pipeline.finished import Finished
from release_kit.encoding.pipeline.judging import lacking_permutations
from release_kit.encoding.report.verdicts import Tested


def lacking_of(finished: Finished, mode: str) -> dict[Tested, str]:
    """Return subject, feature and annotator of these tests of a mode, and what to say of each.

    Args:
        finished: the analysis.
        mode: ``corrected`` or ``paper``.
    """
    found = {}
    for fit in finished.chosen:
        if fit.mode == mode and fit.test is not None:
            text = lacking_permutations(fit.values["p"], fit.test["identity"]["test"], finished.level)
            if text:
                found[fit.subject, fit.feature, fit.annotator] = text
    return found
