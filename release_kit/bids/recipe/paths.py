"""Where the sources of a recipe lie: file patterns filled with names, wildcards resolved to one file.

Decides paths only; whether they are what they should be is ``check.py``'s.
"""

import glob
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import (
    Anatomy,
    AnnotationSource,
    MatDerivative,
    Recipe,
    Recording,
    Run,
    Stimulus,
    Subject,
)
from release_kit.core.errors import StudyError
from release_kit.core.files import safe_relative_path

WILD = "*?"
PLACEHOLDER = r"\{(?P<name>[a-z]+)(?:![a-z])?(?::[^{}]*)?\}"
"""A name in braces, with its format (``{run:02d}``)."""


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """One file of an annotation source; ``run`` is None when its times are the stimulus's."""

    path: Path
    stimulus: Stimulus
    run: Run | None = None


def source_path(recipe: Recipe, pattern: str, **names: Any) -> Path:
    """Return the path that ``pattern`` means when its names are filled in.

    A pattern without ``*`` and ``?`` gives a path whether or not it exists.

    Raises:
        StudyError: a name that the pattern needs is not known here; a wildcard matches no file, or several.
    """
    found = source_matches(recipe, pattern, **names)
    if len(found) == 1:
        return found[0]
    shown = fill_pattern(pattern, **names)
    if not found:
        raise StudyError(
            "no file matches", where=str(recipe.root / shown), next_step="put it there or mend the pattern"
        )
    listed = ", ".join(path.name for path in found[:5])
    step = "make the pattern more exact, or move the file that is not meant"
    raise StudyError(f"{len(found)} files match: {listed}", where=str(recipe.root / shown), next_step=step)


def source_matches(recipe: Recipe, pattern: str, **names: Any) -> list[Path]:
    """Return every path that ``pattern`` can mean: without wildcards one, existing or not; else what matches."""
    if not any(character in pattern for character in WILD):
        return [recipe.root / safe_relative_path(fill_pattern(pattern, **names), where=pattern)]
    escaped = {name: glob.escape(value) if isinstance(value, str) else value for name, value in names.items()}
    wild = fill_pattern(pattern.replace("[", "[[]"), **escaped)
    safe_relative_path(fill_pattern(pattern, **names), where=pattern)
    return sorted(recipe.root.glob(wild))


def pattern_shape(pattern: str) -> str:
    """Return the glob of everything that has the form of a pattern, whoever and whichever run it is."""
    return re.sub(r"\*+", "*", re.sub(PLACEHOLDER, "*", pattern.replace("[", "[[]")))


def fill_pattern(pattern: str, **names: Any) -> str:
    """Return ``pattern`` with its names filled in.

    Raises:
        StudyError: a name has no value here (a pattern names ``{session}``, but the run has none).
    """
    known = {name: value for name, value in names.items() if value is not None}
    try:
        return pattern.format(**known)
    except (KeyError, ValueError, IndexError) as error:
        what = f"the pattern needs {error.args[0]!r}" if isinstance(error, KeyError) else f"is no pattern: {error}"
        step = "take it out of the pattern, or declare it"
        raise StudyError(f"{what}, which is not known here", where=pattern, next_step=step) from error


def run_source(recipe: Recipe, run: Run, subject: Subject, recording: Recording | None = None) -> Path:
    """Return the file of one run of one subject (of ``recording``, when a derivative of the run is meant)."""
    return _one(recipe, recording or run.recording_of(subject.label), run_names(run, subject))


def anatomy_source(recipe: Recipe, anatomy: Anatomy, subject: Subject) -> Path:
    """Return the file of one anatomical image of one subject."""
    return _one(recipe, anatomy.recording_of(subject.label), anatomy_names(anatomy, subject))


def recording_matches(recipe: Recipe, recording: Recording, **names: Any) -> list[Path]:
    """Return every path that a recording can mean; of a series of files a wildcard in the last part stays as it is."""
    folder, slash, last = recording.pattern.rpartition("/")
    if recording.kind != "nifti-series" or not any(character in last for character in WILD):
        return source_matches(recipe, recording.pattern, **names)
    folders = source_matches(recipe, folder, **names) if slash else [recipe.root]
    return [path / fill_pattern(last, **names) for path in folders]


def _one(recipe: Recipe, recording: Recording, names: dict[str, Any]) -> Path:
    found = recording_matches(recipe, recording, **names)
    return found[0] if len(found) == 1 else source_path(recipe, recording.pattern, **names)


def anatomy_names(anatomy: Anatomy, subject: Subject) -> dict[str, Any]:
    """Return the names that the file pattern of an anatomical image may use."""
    return {"subject": subject.label, "source": subject.source, "session": anatomy.session}


def run_names(run: Run, subject: Subject) -> dict[str, Any]:
    """Return the names that the file patterns of a run may use."""
    return {
        "subject": subject.label,
        "source": subject.source,
        "session": run.session,
        "task": run.task,
        "run": run.run,
        "name": _lab_name(run),
        "stimulus": run.shows.stimulus if run.shows else None,
    }


def annotation_names(source: AnnotationSource, stimulus: str, run: Run | None) -> dict[str, Any]:
    """Return the names that the file patterns of an annotation source may use."""
    names: dict[str, Any] = {"stimulus": stimulus, "level": source.level, "annotator": source.annotator}
    if run is not None:
        names |= {"session": run.session, "task": run.task, "run": run.run, "name": _lab_name(run)}
    return names


def _lab_name(run: Run) -> str:
    return run.name or f"{run.task}_run-{run.run:02d}"


def annotation_files(recipe: Recipe, source: AnnotationSource) -> list[AnnotationFile]:
    """Return the files of an annotation source, in the recipe's order, without those it declares missing.

    Runs that show the same span from the same file (a film seen in two sessions) give one entry.

    Raises:
        StudyError: a wildcard matches no file, or several.
    """
    result: list[AnnotationFile] = []
    seen = set()
    for stimulus, run in annotation_units(recipe, source):
        path = source_path(recipe, source.pattern, **annotation_names(source, stimulus.label, run))
        span = (path, stimulus.label, (run.shows.start_s, run.shows.onset_s) if run and run.shows else None)
        if span not in seen:
            seen.add(span)
            result.append(AnnotationFile(path=path, stimulus=stimulus, run=run))
    return result


def annotation_units(recipe: Recipe, source: AnnotationSource) -> list[tuple[Stimulus, Run | None]]:
    """Return the stimuli, or the runs with their stimulus, that a source should have a file of."""
    if source.clock == "stimulus":
        found = [(stimulus, None) for stimulus in recipe.stimuli.values()]
        return [unit for unit in found if why_unannotated(source, *unit) is None]
    return [
        (recipe.stimuli[run.shows.stimulus], run)
        for run in recipe.runs
        if run.shows is not None and why_unannotated(source, recipe.stimuli[run.shows.stimulus], run) is None
    ]


def why_unannotated(source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> str | None:
    """Return why a source has no file of a stimulus or a run, as the recipe declares it; None where it should."""
    return _declared(source.missing, [stimulus.label, *(_run_names(run) if run else ())])


def why_underived(derivative: MatDerivative, subject: str, run: Run) -> str | None:
    """Return why a derivative lacks a run of a subject, as the recipe declares it; None where it should be there."""
    runs = _run_names(run)
    return _declared(derivative.missing, [subject, *runs, *(f"sub-{subject}_{name}" for name in runs)])


def _run_names(run: Run) -> list[str]:
    """Return the names by which ``missing`` may name a run; without session it stands for every session."""
    name = f"{run.task}_run-{run.run}"
    return [name, f"ses-{run.session}_{name}"] if run.session else [name]


def _declared(missing: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((missing[name] for name in names if name in missing), None)
