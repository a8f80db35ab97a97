"""Which files of a published dataset an analysis of one subject and some levels needs; pure decisions on names.

Only what the analysis reads: responses, mask and reference of one subject, annotations of the levels, and the small
files that say what was shown. Raw recordings, other subjects, features and results of others stay where they are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.bids.annotations.bep044 import FOLDER as STIMULI
from release_kit.bids.recipe.model import Run
from release_kit.bids.recipe.paths import annotation_names, fill_pattern
from release_kit.bids.validate.survey import parse_name
from release_kit.bids.versioning.paths import level_of, subject_of
from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.encoding.data.layout import ResponsesSpec
from release_kit.encoding.data.masks import SURFACE
from release_kit.encoding.data.published import (
    FOLDER,
    MASK_FILE,
    REFERENCE,
    names_of,
    published_name,
    read_published_recipe,
    response_path,
)

_ALWAYS = re.compile(r"[^/]*\.(json|tsv)|README[^/]*|CHANGES|LICENSE")
_WORDS = (".json", ".tsv")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for."""

    subject: str
    levels: tuple[str, ...]
    language: str | None = None
    """None: every language of the levels."""
    tasks: tuple[str, ...] = ()
    """Films; none named is all."""


def layout_of(paths: Sequence[str]) -> str:
    """Return the layout of a dataset with these files: ``ds005531`` or ``bids``."""
    published = any(path.startswith(f"{FOLDER}/sub-") and path.endswith(".mat") for path in paths)
    return "ds005531" if published else "bids"


def plan_fetch(
    paths: Sequence[str], wish: Wish, responses: ResponsesSpec, levels: Mapping[str, str], where: str
) -> list[str]:
    """Return the files that are needed, sorted.

    Args:
        paths: every file of the dataset.
        wish: whose responses, which levels.
        responses: the layout, and which recordings are the responses.
        levels: annotation id → level, of a BIDS dataset.
        where: the dataset, for the sentences of errors.

    Raises:
        UsageError: a subject, level, language or task that the dataset lacks, no responses, no mask; the first of them.
    """
    plan = _plan_published if responses.layout == "ds005531" else _plan_bids
    return sorted(set(plan(paths, wish, responses, levels, where)))


def _plan_published(
    paths: Sequence[str], wish: Wish, responses: ResponsesSpec, levels: Mapping[str, str], where: str
) -> Iterator[str]:
    recipe, there = read_published_recipe(Path()), set(paths)
    subjects = sorted({subject_of(path) or "" for path in paths if path.startswith(f"{FOLDER}/sub-")})
    _known("subject", [wish.subject], subjects, where)
    _known("task", wish.tasks, sorted({run.task for run in recipe.runs}), where)
    _known("level", wish.levels, sorted({source.level for source in recipe.annotations}), where)
    skipped = set(responses.leave_out)
    runs = [run for run in recipe.runs if (not wish.tasks or run.task in wish.tasks) and not names_of(run) & skipped]
    needed = [response_path(wish.subject, run) for run in runs]
    needed.append(f"{FOLDER}/sub-{wish.subject}/{MASK_FILE}")
    sources = [source for source in recipe.annotations if source.level in wish.levels]
    languages = sorted({source.language for source in sources})
    _known("language", [wish.language] if wish.language else [], languages, where)
    for source in sources:
        if wish.language in (None, source.language):
            needed += [_annotation_path(source, run) for run in runs]
    if missing := sorted(set(needed) - there):
        raise UsageError(f"the dataset lacks {len(missing)} files: {', '.join(missing[:3])}", where=where)
    yield from needed
    yield from there & {REFERENCE.format(subject=wish.subject)}
    yield from (path for path in paths if _ALWAYS.fullmatch(path))
    yield from there & {
        f"sub-{wish.subject}/func/sub-{wish.subject}_task-{published_name(run)}_bold.json" for run in runs
    }


def _annotation_path(source, run: Run) -> str:
    return fill_pattern(source.pattern, **annotation_names(source, run.shows.stimulus if run.shows else "", run))


def _plan_bids(
    paths: Sequence[str], wish: Wish, responses: ResponsesSpec, levels: Mapping[str, str], where: str
) -> Iterator[str]:
    folder = f"derivatives/{responses.derivative}/" if responses.derivative else ""
    of_subject = [path for path in paths if subject_of(path) == wish.subject]
    _known("subject", [wish.subject], sorted({subject_of(path) for path in paths} - {None}), where)
    _known("level", wish.levels, sorted(set(levels.values())), where)
    recordings = [path for path in of_subject if _is_response(path, folder, responses)]
    tasks = sorted({parse_name(path)[0]["task"] for path in recordings})
    _known("task", wish.tasks, tasks, where)
    recordings = [path for path in recordings if _of_tasks(path, wish.tasks)]
    if not recordings:
        derivatives = sorted({path.split("/")[1] for path in of_subject if path.startswith("derivatives/")})
        step = f"derivatives with files of sub-{wish.subject}: {', '.join(derivatives) or 'none'}"
        raise UsageError(
            f"there are no responses of sub-{wish.subject} in {folder or '.'}", where=where, next_step=step
        )
    yield from recordings
    yield from _masks(set(paths), wish, responses, folder, where)
    yield from (path for path in paths if _says_something(path, wish, folder, levels))


def _says_something(path: str, wish: Wish, folder: str, levels: Mapping[str, str]) -> bool:
    """Return whether a file says what was shown, or what was annotated at a level that is asked for."""
    subject, level = subject_of(path), level_of(path, levels)
    if subject is not None:
        near = path.startswith((f"sub-{wish.subject}/", f"{folder}sub-{wish.subject}/"))
        return near and path.endswith(_WORDS) and _of_tasks(path, wish.tasks)
    if level is not None:
        return level in wish.levels
    if path.startswith(f"{STIMULI}/") or (folder and path.startswith(folder)):
        return path.endswith(_WORDS)
    return bool(_ALWAYS.fullmatch(path))


def _is_response(path: str, folder: str, responses: ResponsesSpec) -> bool:
    names, suffix, extension = parse_name(path)
    wanted = (".func.gii",) if responses.kind == SURFACE else (".nii", ".nii.gz")
    asked = {"space": responses.space, "desc": responses.desc}
    return (
        path.startswith(f"{folder}sub-")
        and suffix == "bold"
        and extension in wanted
        and "task" in names
        and not {names["task"], path} & set(responses.leave_out)
        and all(label is None or names.get(name) == label for name, label in asked.items())
    )


def _masks(there: set[str], wish: Wish, responses: ResponsesSpec, folder: str, where: str) -> Iterator[str]:
    if responses.mask is None:
        return
    for hemi in ("L", "R") if responses.kind == SURFACE else ("",):
        names = {"subject": wish.subject, "space": responses.space, "desc": responses.desc, "hemi": hemi}
        path = fill_pattern(responses.mask, **names)
        found = [each for each in (f"{folder}{path}", path) if each in there]
        if not found:
            raise UsageError(f"the dataset has no mask {folder}{path}", where=where)
        yield found[0]


def _of_tasks(path: str, tasks: tuple[str, ...]) -> bool:
    task = parse_name(path)[0].get("task")
    return not tasks or task is None or task in tasks


def _known(what: str, asked: Sequence[str], there: Sequence[str], where: str) -> None:
    for name in asked:
        if name not in there:
            listed = f"; there are: {', '.join(there)}" if there else ""
            raise UsageError(f"the dataset has no {what} {name!r}{nearest(name, there)}{listed}", where=where)
