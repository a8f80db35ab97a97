"""Holds a recipe against its recordings and annotations, before anything is written: one report of everything.

The checks themselves are ``check_spans``, ``check_sources``, ``check_headers``, ``check_annotations`` and
``check_privacy``; their codes ``codes.py``. Nothing is written.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.check_annotations import check_annotations
from release_kit.bids.recipe.check_headers import HeaderFacts, OnEvent, check_headers, read_headers
from release_kit.bids.recipe.check_privacy import check_privacy
from release_kit.bids.recipe.check_sources import check_sources, expected_recordings
from release_kit.bids.recipe.check_spans import check_names, check_spans
from release_kit.bids.recipe.codes import CODES
from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.problems import Problem, RecipeError, problem


@dataclass(frozen=True, kw_only=True)
class RecipeReport:
    """What the check found: ``problems`` (errors first, by code and place) and the ``facts`` of every header."""

    recipe: Recipe
    problems: tuple[Problem, ...]
    facts: tuple[HeaderFacts, ...]
    accepted: tuple[tuple[Problem, str], ...] = ()
    """Problems that the recipe allows, with its reason."""

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not refuse."""
        return not self.errors

    @cached_property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse a conversion."""
        return tuple(one for one in self.problems if one.severity == "error")

    @cached_property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are worth a look."""
        return tuple(one for one in self.problems if one.severity != "error")

    def refuse(self) -> None:
        """Raise the errors, if there are any.

        Raises:
            RecipeError: holds every error.
        """
        if self.errors:
            raise RecipeError(self.errors, where=self.recipe.dataset.name)

    def seconds(self) -> float:
        """Return how many seconds all functional runs last together, dummy scans included."""
        runs = [one for one in self.facts if one.expected.run and not one.expected.derivative]
        return sum(one.facts.n_volumes * one.expected.run.tr_s for one in runs if one.expected.run)

    def n_runs(self) -> int:
        """Return how many functional runs were read."""
        return sum(one.expected.run is not None and one.expected.derivative is None for one in self.facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "ok": self.ok,
            "dataset": self.recipe.dataset.name,
            "n_subjects": len(self.recipe.subjects),
            "n_runs": self.n_runs(),
            "seconds": self.seconds(),
            "n_errors": len(self.errors),
            "n_warnings": len(self.warnings),
            "codes": dict(sorted(Counter(one.code for one in self.problems).items())),
            "problems": [one.to_dict() for one in self.problems],
            "accepted": [{**one.to_dict(), "reason": reason} for one, reason in self.accepted],
            "recordings": [one.to_dict() for one in self.facts],
        }


def check_recipe(
    recipe: Recipe,
    *,
    workers: int | None = None,
    on_event: OnEvent = None,
    known: Iterable[Problem] = (),
    kept: Path | None = None,
) -> RecipeReport:
    """Return everything that is wrong with a recipe, its recordings and its annotation files.

    Args:
        recipe: the study.
        workers: threads that read headers; twice the cores (8 at most) if None.
        on_event: called as ``on_event("recording", done, total)``.
        known: problems found before (what a draft left open), reported with the others.
        kept: folder in which converted DICOM is kept for who converts it next.
    """
    found = [*known, *check_names(recipe), *check_spans(recipe)]
    headers: list[HeaderFacts] = []
    if recipe.root.is_dir():
        expected, unnamed = expected_recordings(recipe)
        headers, unreadable = read_headers(expected, workers=workers, on_event=on_event, kept=kept)
        found += [*unnamed, *unreadable, *check_sources(recipe, expected), *check_headers(headers)]
        found += [*check_annotations(recipe), *check_privacy(recipe)]
    else:
        step = "name it in `sources`, or with --sources"
        found.append(problem("sources-missing", "the folder of the sources is not there", str(recipe.root), step))
    problems, accepted = _allow(recipe, list(dict.fromkeys(found)))
    order = {code: place for place, code in enumerate(CODES)}
    problems.sort(key=lambda one: (one.severity != "error", order[one.code]))
    return RecipeReport(recipe=recipe, problems=tuple(problems), facts=tuple(headers), accepted=tuple(accepted))


def _allow(recipe: Recipe, found: list[Problem]) -> tuple[list[Problem], list[tuple[Problem, str]]]:
    """Take out what the recipe accepts; an entry that fits nothing is told, since it will hide something one day."""
    accepted: list[tuple[Problem, str]] = []
    for entry in recipe.allow:
        fitting = [one for one in found if one.code == entry["code"] and entry.get("where", "") in one.where + one.what]
        accepted += [(one, entry["reason"]) for one in fitting]
        found = [one for one in found if one not in fitting]
        if not fitting:
            what = (
                f"no problem {entry['code']!r}{' at ' + entry['where'] if 'where' in entry else ''} is found any more"
            )
            step = "take the entry out"
            found.append(Problem(code="unused", what=what, where="allow", next_step=step, severity="warning"))
    return [replace(one) for one in found], accepted
