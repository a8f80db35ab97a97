"""Holds the recipe against the recordings before anything is written; not again for what was found good already."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.convert.identity import plain, source_files, text_code
from release_kit.bids.convert.jobs import ImageJob
from release_kit.bids.convert.state import State
from release_kit.bids.convert.texts import annotation_sources
from release_kit.bids.recipe.model import Recipe
from release_kit.core.canonical import digest
from release_kit.core.digest_cache import stamp_of
from release_kit.core.errors import ReleaseKitError

if TYPE_CHECKING:
    from release_kit.bids.recordings.header import ImageFacts

MARK = "recipe"


def check_before(
    recipe: Recipe,
    annotated: Recipe,
    jobs: list[ImageJob],
    state: State,
    said: str,
    say: Callable[[Mapping[str, Any]], None],
    kept: Path | None = None,
) -> "dict[str, ImageFacts]":
    """Refuse a recipe that contradicts its recordings.

    Args:
        recipe: the study, with recordings where they lie.
        annotated: the same with annotations where they lie, which is elsewhere for the recipe inside a dataset.
        jobs: the images.
        state: what was found good before.
        said: ``recipe_digest``.
        say: told of headers and warnings.
        kept: folder in which converted DICOM is kept for the images.

    Returns:
        The facts of recordings, where the check has read them: target → facts.

    Raises:
        StudyError: everything that is wrong.
    """
    if state.marks.get(MARK) == (identity := _identity(annotated, jobs, said)) and identity:
        return {}
    from release_kit.bids.recipe.check import check_recipe
    from release_kit.bids.recipe.check_annotations import check_annotations

    tell = {"on_event": lambda _, done, total: say({"event": "header", "n": done, "total": total}), "kept": kept}
    if annotated.root == recipe.root:
        report = check_recipe(recipe, **tell)
    else:
        apart = list(check_annotations(annotated))
        report = check_recipe(replace(recipe, annotations=()), known=apart, **tell)
    report.refuse()
    if identity := _identity(annotated, jobs, said):
        state.mark(MARK, identity)
    say({"event": "checked", "warnings": [f"{problem.where}: {problem.what}" for problem in report.warnings]})
    read = {(str(one.expected.path), plain_key(one.expected.options)): one.facts for one in report.facts}
    keys = {job.target: (str(job.source), plain_key(job.options)) for job in jobs}
    return {target: read[key] for target, key in keys.items() if key in read}


def plain_key(options: Mapping[str, Any]) -> str:
    """Return the options of a reader as something that can be looked up."""
    return digest(plain(options))


def _identity(annotated: Recipe, jobs: list[ImageJob], said: str) -> str:
    """Return what was looked at: the recipe and the state of every source; empty when one is not there."""
    try:
        recordings = [(str(path), path) for job in jobs for path in source_files(job)]
        sources = [*recordings, *annotation_sources(annotated)]
        stamps = [[name, *stamp_of(path.stat())] for name, path in sources]
    except (ReleaseKitError, OSError):
        return ""
    return digest({"recipe": said, "stamps": stamps, "code": text_code()})
