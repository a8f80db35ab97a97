"""Whether every annotation file that a recipe promises is there, can be read, and ends when its run or stimulus does.

Coverage, order and agreement are the quality report's.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from release_kit.bids.recipe.model import AnnotationSource, Recipe, Run, Stimulus
from release_kit.bids.recipe.paths import (
    annotation_names,
    annotation_units,
    pattern_shape,
    source_matches,
    why_unannotated,
)
from release_kit.bids.recipe.problems import Problem, listed, problem
from release_kit.core.canonical import digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted

Reading = tuple[AnnotationSource, Stimulus, Run | None]
"""One way in which a file is read."""

LONG_S = 1.0
"""A line a second rounds the end of a run up; what goes on longer is another run's, or on another clock."""

MAX_LINES = 20
"""Lines of one file that are named; a wrong option makes every line of every file wrong."""


def check_annotations(recipe: Recipe) -> Iterator[Problem]:
    """Yield what is wrong with the annotation files of a recipe, file by file."""
    readers: dict[tuple[str, str], list[str]] = defaultdict(list)
    known: dict[Path, list[Reading]] = defaultdict(list)
    for source in recipe.annotations:
        wrong = _options(source)
        yield from wrong
        for stimulus, run in _all_units(recipe, source):
            path, problems = _file(recipe, source, stimulus, run)
            yield from problems
            if path is None:
                continue
            known[path] += [] if wrong else [(source, stimulus, run)]
            form = digest([source.reader, source.language, source.level, {**source.options}])
            if source.id not in readers[str(path), form]:
                readers[str(path), form].append(source.id)
    for path, readings in known.items():  # all sources of a file together, so that its lines are taken apart once
        for source, stimulus, run in readings:
            yield from _content(path, source, stimulus, run)
    for (path, _), ids in readers.items():
        if len(ids) > 1:
            what = f"is read in the same way by {listed(ids)}"
            yield problem("annotation-twice", what, path, "name the annotator in the pattern, or in `options`")
    yield from _surplus(recipe, set(known))


def _options(source: AnnotationSource) -> list[Problem]:
    """Return what is wrong with how a source is to be read, which is so for each of its files."""
    from release_kit.bids.annotations.read import reader_options

    try:
        reader_options(source)
    except ReleaseKitError as error:
        step = error.next_step or "correct the reader or its options"
        return [problem("annotation-unreadable", error.what, f"annotations.{source.id}", step)]
    return []


def _all_units(recipe: Recipe, source: AnnotationSource) -> list[tuple[Stimulus, Run | None]]:
    from dataclasses import replace

    return annotation_units(recipe, replace(source, missing={}))


def _file(
    recipe: Recipe, source: AnnotationSource, stimulus: Stimulus, run: Run | None
) -> tuple[Path | None, list[Problem]]:
    place = f"annotations {source.id} {f'{run.task}_run-{run.run}' if run else stimulus.label}"
    try:
        matches = source_matches(recipe, source.pattern, **annotation_names(source, stimulus.label, run))
    except ReleaseKitError as error:
        return None, [problem("pattern", error.what, place, error.next_step or "mend the pattern")]
    there = [path for path in matches if path.is_file()]
    reason = why_unannotated(source, stimulus, run)
    if reason is not None:
        what, step = f"is declared missing ({reason}), but is there", "take the entry out of `missing`"
        return None, [problem("missing-but-there", what, str(path), step) for path in there]
    if len(there) > 1:
        shown = listed(path.name for path in there)
        return None, [problem("two-files", f"{len(there)} files match: {shown}", place, "make the pattern more exact")]
    if not there:
        what = f"{matches[0] if matches else source.pattern} is not there"
        step = "put it there, mend the pattern, or say why in `missing`"
        return None, [problem("annotation-missing", what, place, step)]
    return there[0], []


def _content(path: Path, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> Iterator[Problem]:
    from release_kit.bids.annotations.problems import AnnotationError
    from release_kit.bids.annotations.read import last_end

    try:
        end_s = last_end(path, source, stimulus, run)
    except AnnotationError as error:
        step = "correct the file, or the reader's options"
        for one in error.problems[:MAX_LINES]:
            where = one.path if one.line is None else f"{one.path}:{one.line}"
            yield problem("annotation-unreadable", one.what, where, step)
        if (more := len(error.problems) - MAX_LINES) > 0:
            yield problem("annotation-unreadable", f"{more:,} further lines like these", str(path), step)
        return
    except ReleaseKitError as error:
        step = error.next_step or "correct the file, or the reader's options"
        yield problem("annotation-unreadable", error.what, error.where or str(path), step)
        return
    if end_s is None:
        yield problem("annotation-empty", "holds no annotation", str(path), "say in `missing` that there is none")
        return
    if run is not None and run.shows is not None and end_s > run.shows.end_s + LONG_S:
        into = end_s - run.shows.start_s
        what = f"goes on to {into:g} s, but {run.task} run {run.run} shows {run.shows.duration_s:g} s"
    elif run is None and end_s > stimulus.duration_s + LONG_S:
        what = f"goes on to {end_s:g} s, but {stimulus.label!r} has {stimulus.duration_s:g} s"
    else:
        return
    yield problem("annotation-long", what, str(path), "name the right file or clock, or correct the span")


def _surplus(recipe: Recipe, known: set[Path]) -> Iterator[Problem]:
    """Files of a pattern's form that no stimulus and no run accounts for: a third part that nobody declared."""
    promised = set(known)
    for source in recipe.annotations:
        for stimulus, run in _all_units(recipe, source):
            promised |= set(_quietly(recipe, source, stimulus, run))
    found: set[Path] = set()
    for source in recipe.annotations:
        found |= set(recipe.root.glob(pattern_shape(source.pattern)))
    folders: dict[Path, list[str]] = defaultdict(list)
    for path in sorted(found - promised):
        folders[path.parent].append(path.name)
    for folder, names in folders.items():
        what = f"{counted(len(names), 'file')} that no source names: {listed(names, 6)}"
        yield problem("annotation-surplus", what, str(folder), "declare them, or leave them out knowingly")


def _quietly(recipe: Recipe, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> list[Path]:
    try:
        return source_matches(recipe, source.pattern, **annotation_names(source, stimulus.label, run))
    except ReleaseKitError:
        return []
