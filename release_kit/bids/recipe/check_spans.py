"""Whether a recipe agrees with itself: spans of stimuli that meet, names that BIDS has rules for. Opens no source."""

import itertools
from collections.abc import Iterator

from release_kit.bids.recipe.model import Recipe, Run, Shown
from release_kit.bids.recipe.problems import Problem, problem
from release_kit.bids.recipe.pseudonyms import is_published
from release_kit.core.errors import StudyError

EPSILON_S = 1e-3
"""Times that differ by less are the same: nobody writes them finer."""


def check_spans(recipe: Recipe) -> Iterator[Problem]:
    """Yield what is wrong with the spans that runs show.

    Parts of a stimulus are compared in the recipe's order; where a part begins at or before the start of the one
    before it, a new showing of the stimulus has begun.
    """
    for label, stimulus in recipe.stimuli.items():
        parts = [(run, run.shows) for run in recipe.runs if run.shows is not None and run.shows.stimulus == label]
        if not parts:
            step = "declare the runs that show it, or take it out"
            yield problem("unused", "no run shows this stimulus", f"stimuli.{label}", step)
            continue
        for run, shows in parts:
            yield from _inside(run, shows, stimulus.duration_s)
        for showing in _showings(parts):
            yield from _meeting(showing, stimulus.duration_s)
    used = {run.task for run in recipe.runs}
    for label in recipe.tasks:
        if label not in used:
            step = "declare its runs, or take it out"
            yield problem("unused", "no run has this task", f"tasks.{label}", step)


def check_names(recipe: Recipe) -> Iterator[Problem]:
    """Yield labels and suffixes that give no valid BIDS name, and pseudonyms that hide nothing."""
    folded: dict[str, str] = {}
    for subject in recipe.subjects:
        place = f"subjects.{subject.label}"
        if is_published(subject.label, subject.source):
            step = "give another label, or `allow` it with a reason if that name identifies nobody"
            yield problem("pseudonym", "the label is the name in the lab", place, step)
        if folded.setdefault(subject.label.casefold(), subject.label) != subject.label:
            what = f"differs from {folded[subject.label.casefold()]!r} in upper and lower case only"
            yield problem("bids-name", what, place, "many file systems keep one of both only; rename it")
    for run in recipe.runs:
        names = {"session": run.session, "task": run.task, "run": run.run}
        yield from _named(run_name(run), suffix=run.suffix, datatype="func", **names)
    for image in recipe.anatomy:
        yield from _named(f"anatomy {image.suffix}", suffix=image.suffix, datatype="anat", session=image.session)


def run_name(run: Run, subject: str | None = None) -> str:
    """Return how reports name a run: ``sub-01 ses-2 task-film run-1``."""
    parts = [("sub", subject), ("ses", run.session), ("task", run.task), ("run", run.run)]
    name = " ".join(f"{entity}-{label}" for entity, label in parts if label is not None)
    return name if run.suffix == "bold" else f"{name} {run.suffix}"


def _named(place: str, **names) -> Iterator[Problem]:
    from release_kit.bids.schema import bids_name

    try:
        bids_name(subject="01", **names)
    except StudyError as error:
        yield problem("bids-name", error.what, place, error.next_step or "correct it in the recipe")


def _inside(run: Run, shows: Shown, duration_s: float) -> Iterator[Problem]:
    place = run_name(run)
    if shows.end_s > duration_s + run.tr_s:
        what = f"shows {shows.stimulus!r} up to {shows.end_s:g} s, but it has {duration_s:g} s"
        yield problem("span-outside", what, place, "correct start_s, duration_s or the stimulus's duration_s")
    if shows.overlap_s >= shows.duration_s:
        what = f"its overlap of {shows.overlap_s:g} s is all it shows ({shows.duration_s:g} s)"
        yield problem("overlap", what, place, "correct overlap_s")


def _showings(parts: list[tuple[Run, Shown]]) -> list[list[tuple[Run, Shown]]]:
    showings: list[list[tuple[Run, Shown]]] = []
    for run, shows in parts:
        if not showings or shows.start_s <= showings[-1][-1][1].start_s:
            showings.append([])
        showings[-1].append((run, shows))
    return showings


def _meeting(parts: list[tuple[Run, Shown]], duration_s: float) -> Iterator[Problem]:
    first, last = parts[0], parts[-1]
    if first[1].start_s > EPSILON_S:
        yield _gap(first[0], first[1].stimulus, 0.0, first[1].start_s)
    if first[1].overlap_s > EPSILON_S:
        what = f"says that its first {first[1].overlap_s:g} s were shown before, but it is the first part"
        yield problem("overlap", what, run_name(first[0]), "take overlap_s out, or list the parts in order")
    for (before, shown), (run, shows) in itertools.pairwise(parts):
        common = shown.end_s - shows.start_s
        if common < -EPSILON_S and shows.overlap_s <= EPSILON_S:
            yield _gap(run, shows.stimulus, shown.end_s, shows.start_s)
        elif abs(common - shows.overlap_s) > EPSILON_S:
            begin = shown.end_s - shows.overlap_s
            what = (
                f"begins at {shows.start_s:g} s with an overlap of {shows.overlap_s:g} s, but {run_name(before)} ended "
                f"at {shown.end_s:g} s: expected to begin at {begin:g} s"
            )
            yield problem("overlap", what, run_name(run), "correct start_s, overlap_s or the durations")
    if duration_s - last[1].end_s > last[0].tr_s:
        yield _gap(last[0], last[1].stimulus, last[1].end_s, duration_s)


def _gap(run: Run, stimulus: str, start_s: float, end_s: float) -> Problem:
    what = f"no run shows {start_s:g} to {end_s:g} s of {stimulus!r}"
    return problem("gap", what, run_name(run), "correct the spans; if it was not shown, all is well")
