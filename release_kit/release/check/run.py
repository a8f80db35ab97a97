"""``check``: survey once, let every family look, apply what the authors accept, sort.

The families know nothing of each other; what is accepted is decided here.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from release_kit.core.digest_cache import DigestCache
from release_kit.core.records import nearest
from release_kit.core.study import STUDY_FILE, Study
from release_kit.release.check.adapters import check_adapters
from release_kit.release.check.analysis import check_analysis
from release_kit.release.check.codes import CODES, FAMILIES, problem
from release_kit.release.check.dataset import check_dataset
from release_kit.release.check.foreign import check_foreign
from release_kit.release.check.freshness import check_freshness, is_built
from release_kit.release.check.grid import check_grid
from release_kit.release.check.labels import check_labels
from release_kit.release.check.licence import check_licence
from release_kit.release.check.payloads import check_payloads
from release_kit.release.check.problem import ERROR, NOTE, SEVERITIES, WARNING, Problem
from release_kit.release.check.results import check_results
from release_kit.release.check.results_chance import check_results_chance
from release_kit.release.check.results_compared import check_results_compared
from release_kit.release.check.secrets import check_secrets
from release_kit.release.check.survey import survey_study
from release_kit.release.check.views import Survey
from release_kit.release.check.weights import check_weights

_FAMILY_CHECKS: tuple[Callable[[Survey], Any], ...] = (
    check_grid, check_payloads, check_labels, check_weights, check_adapters, check_results, check_results_compared,
    check_results_chance, check_foreign, check_secrets, check_licence, check_analysis,
)  # fmt: skip


_DATASET_CHECKS = (check_grid, check_dataset, check_secrets, check_licence)
"""Parts of a dataset are no checkpoints; what is wrong inside a BIDS dataset is said by `release-kit bids validate`."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Everything that is wrong, and how much was looked at."""

    study: Study
    problems: tuple[Problem, ...]
    """Sorted by family, then from error to note, then by code and place."""
    n_declared: int
    n_missing: int
    """Declared cells that are neither on disk nor in the results."""
    n_cells: int
    n_files: int
    n_results: int
    built: bool

    def count(self, severity: str) -> int:
        """Return how many problems have ``severity``."""
        return sum(1 for found in self.problems if found.severity == severity)

    def is_good(self, *, strict: bool = False) -> bool:
        """Return whether nothing is refused: no error, and with ``strict`` no warning either."""
        return not self.count(ERROR) and not (strict and self.count(WARNING))

    def to_dict(self, *, strict: bool = False) -> dict[str, Any]:
        """Return the JSON form of ``--json``."""
        return {
            "ok": self.is_good(strict=strict),
            "study": self.study.name,
            "version": self.study.version,
            "n_declared": self.n_declared,
            "n_missing": self.n_missing,
            "n_cells": self.n_cells,
            "n_files": self.n_files,
            "n_results": self.n_results,
            "built": self.built,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "codes": dict(sorted(Counter(found.code for found in self.problems).items())),
            "problems": [found.to_dict() for found in self.problems],
        }


def check_study(
    study: Study,
    *,
    cache: DigestCache | None = None,
    workers: int | None = None,
    on_stage: Callable[[str, int | None], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> CheckReport:
    """Report everything that is wrong with ``study`` and its release; nothing on disk makes it stop.

    Args:
        study: the declared study.
        cache: remembered digests; after a build nothing but small files is read.
        workers: hashing threads.
        on_stage: told the name of each stage and its size in bytes, where it has one.
        on_bytes: told the size of every file that is hashed or remembered.
    """
    survey = survey_study(study, cache=cache, workers=workers, on_stage=on_stage, on_bytes=on_bytes)
    if on_stage:
        on_stage("checking", None)
    families = _DATASET_CHECKS if study.is_dataset else _FAMILY_CHECKS
    found = [each for check in families for each in check(survey)]
    found += check_freshness(survey, cache)
    found = apply_allowances(found, study.allow)
    return CheckReport(
        study=study,
        problems=tuple(sorted(found, key=lambda each: (FAMILIES.index(each.family), each.order))),
        n_declared=len(survey.declared),
        n_missing=len(survey.missing),
        n_cells=len(survey.cells),
        n_files=survey.n_files,
        n_results=len(survey.results),
        built=is_built(survey),
    )


def apply_allowances(found: Sequence[Problem], allow: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Turn accepted problems into notes that carry their reason; an entry that matches nothing is a problem itself.

    Args:
        found: problems.
        allow: entries ``{code, where (glob, or None for everywhere), reason}`` of ``study.yaml``. ``where`` is held
            against the place, the file and the cell id of a problem.
    """
    used = [False] * len(allow)
    result = []
    for each in found:
        for index, entry in enumerate(allow):
            if entry["code"] == each.code and _is_at(each, entry["where"]):
                used[index] = True
                each = replace(each, severity=NOTE, reason=each.reason or entry["reason"])
        result.append(each)
    for index, entry in enumerate(allow):
        where = f"{STUDY_FILE}: allow[{index}]"
        if entry["code"] not in CODES:
            what = f"{entry['code']!r} is no code{nearest(entry['code'], list(CODES))}"
            result.append(problem("allow-unknown", where, what, path=STUDY_FILE))
        elif not used[index]:
            at = f" at {entry['where']!r}" if entry["where"] else ""
            what = f"no {entry['code']}{at} was found"
            result.append(problem("allow-unused", where, what, path=STUDY_FILE))
    return result


def _is_at(found: Problem, where: str | None) -> bool:
    places = (found.where, found.path, found.cell_id)
    return where is None or any(place is not None and fnmatchcase(place, where) for place in places)
