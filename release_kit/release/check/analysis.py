"""The analysis of a study: is it whole, and is it of the results of today?

Reads ``analysis/summary.json`` and the files that it names. Silent for a study without an analysis.
"""

from collections.abc import Iterator

from release_kit.core.analysis_summary import SUMMARY_FILE, read_analysis_files, read_summary, results_digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.hashing import hash_file
from release_kit.core.results import RESULTS_FILE, read_results
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import Survey


def check_analysis(survey: Survey) -> Iterator[Problem]:
    """Yield what is wrong with the analysis: files that are damaged, results or tables that have changed since."""
    folder = survey.study.folder
    try:
        summary = read_summary(folder)
        if summary is None:
            return
        read_analysis_files(folder, summary)
    except ReleaseKitError as error:
        yield problem("analysis-broken", SUMMARY_FILE, error.what, next_step=error.next_step, path=SUMMARY_FILE)
        return
    if results_digest(_rows(survey)) != summary.results_sha256:
        yield problem(
            "analysis-stale", SUMMARY_FILE, "was made from other results than those of now", path=SUMMARY_FILE
        )
    changed = [path for path, sha256 in summary.sources.items() if _sha256(survey, path) != sha256]
    if changed:
        what = f"was made from another version of {', '.join(sorted(changed))}"
        yield problem("analysis-stale", SUMMARY_FILE, what, path=SUMMARY_FILE)


def _rows(survey: Survey) -> list:
    """Return the results as a build takes them: from the sources, or else from the table that lies there."""
    table = survey.study.folder / RESULTS_FILE
    if survey.results or survey.study.results or not table.is_file():
        return list(survey.results)
    try:
        return read_results(table)
    except ReleaseKitError:
        return []


def _sha256(survey: Survey, path: str) -> str | None:
    file = survey.study.folder / path
    return hash_file(file).sha256 if file.is_file() else None
