"""Datasets inside a dataset that are no derivatives: the raw data of a study (``rawdata/``, ``sourcedata/raw/``).

Decides which of them are judged by themselves and says what they were found to be in terms of the whole. Derivatives
are parts of a survey (``survey.py``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import OWN, Finding
from release_kit.bids.validate.report import Unchecked, ValidationReport
from release_kit.bids.validate.survey import DESCRIPTION, Survey

_OF_WHOLE_PATHS = "name"
"""Sub-code of what the name of a folder above tells, which a dataset inside it does not see."""


def nested_datasets(survey: Survey) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the datasets inside that are judged by themselves, and those that are only named; sorted.

    What lies in ``sourcedata/`` is by the specification nobody's business, unless the whole is a study
    (``DatasetType``), whose raw data lie there.
    """
    top = survey.json_of(DESCRIPTION)
    is_study = isinstance(top, dict) and top.get("DatasetType") == "study"
    found: list[str] = []
    for entry in survey.entries:
        folder, _, name = entry.path.rpartition("/")
        inside = any(folder.startswith(f"{known}/") for known in found)
        if name == DESCRIPTION and folder and "derivatives" not in folder.split("/") and not inside:
            found.append(folder)
    judged = tuple(path for path in found if is_study or "sourcedata" not in path.split("/"))
    return judged, tuple(path for path in found if path not in judged)


def without_nested(survey: Survey, judged: Iterable[str]) -> Survey:
    """Return the survey of what is not part of a dataset that is judged by itself."""
    tops = tuple(f"{path}/" for path in judged)
    if not tops:
        return survey
    kept = [
        replace(part, entries=tuple(entry for entry in part.entries if not entry.path.startswith(tops)))
        for part in survey.parts
        if not f"{part.path}/".startswith(tops)
    ]
    entries = tuple(entry for entry in survey.entries if not entry.path.startswith(tops))
    return replace(survey, entries=entries, parts=tuple(kept))


def own_of_whole(findings: Iterable[Finding], judged: Iterable[str]) -> Iterator[Finding]:
    """Yield what our own checks found of the whole, without what a dataset that is judged by itself says of itself."""
    tops = tuple(f"{path}/" for path in judged)
    for one in findings:
        if one.source != OWN or one.sub_code == _OF_WHOLE_PATHS or not one.path.startswith(tops):
            yield one


def named_only(paths: Iterable[str]) -> Iterator[Finding]:
    """Yield a note for each dataset that was not judged."""
    for path in paths:
        yield finding("nested-not-judged", path, f"validate it by itself: release-kit bids validate …/{path}")


def seen_from_above(report: ValidationReport, at: str) -> ValidationReport:
    """Return the report of a dataset inside, every place in it named from the top."""

    def above(path: str) -> str:
        return at if path == "." else f"{at}/{path}"

    return replace(
        report,
        verdicts=tuple(replace(one, dataset=above(one.dataset)) for one in report.verdicts),
        findings=tuple(replace(one, path=above(one.path), dataset=above(one.dataset)) for one in report.findings),
        not_checked=tuple(
            Unchecked(what=one.what, n=one.n, examples=tuple(map(above, one.examples))) for one in report.not_checked
        ),
    )
