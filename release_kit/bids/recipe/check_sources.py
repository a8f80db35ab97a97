"""Whether every recording that a recipe promises is one file, and every file one recording. Reads names and sizes.

What headers say is ``check_headers.py``'s.
"""

import filecmp
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.check_spans import run_name
from release_kit.bids.recipe.model import Anatomy, MatDerivative, Recipe, Recording, Run, Subject
from release_kit.bids.recipe.paths import (
    PLACEHOLDER,
    WILD,
    anatomy_names,
    pattern_shape,
    recording_matches,
    run_names,
    source_path,
    why_underived,
)
from release_kit.bids.recipe.problems import Problem, listed, problem
from release_kit.core.canonical import digest
from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted

FILE_OPTIONS = ("mask", "reference")
"""Options of a reader that name a file, by a pattern like the recording's own."""
ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One recording that the recipe promises; ``path`` is None where no single file can be named."""

    name: str
    """How reports name it: ``sub-01 task-film run-1``."""
    recording: Recording
    path: Path | None
    subject: Subject
    run: Run | None = None
    anatomy: Anatomy | None = None
    derivative: MatDerivative | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    absent: str | None = None
    """Why the recipe says that there is no such recording."""

    @property
    def exists(self) -> bool:
        """Whether something is there (a series by a pattern: the folder it lies in)."""
        if self.path is None:
            return False
        wild = any(character in self.path.name for character in WILD)
        return any(self.path.parent.glob(self.path.name)) if wild else self.path.exists()


def expected_recordings(recipe: Recipe) -> tuple[list[Expected], list[Problem]]:
    """Return every recording that the recipe promises, and the problems of naming their files."""
    found: list[Expected] = []
    problems: list[Problem] = []
    for subject in recipe.subjects:
        for run in recipe.runs:
            name, names = run_name(run, subject.label), run_names(run, subject)
            absent = run.missing.get(subject.label)
            facts = {"subject": subject, "run": run, "absent": absent}
            found.append(_expected(recipe, name, run.recording_of(subject.label), names, problems, **facts))
            for derivative in recipe.derivatives if absent is None else ():
                recording, title = derivative.recording, f"{name} {derivative.name}"
                facts |= {"derivative": derivative, "absent": why_underived(derivative, subject.label, run)}
                found.append(_expected(recipe, title, recording, names, problems, **facts))
        for image in recipe.anatomy:
            session = f" ses-{image.session}" if image.session else ""
            name = f"sub-{subject.label}{session} {image.suffix}"
            names, absent = anatomy_names(image, subject), image.missing.get(subject.label)
            facts = {"subject": subject, "anatomy": image, "absent": absent}
            found.append(_expected(recipe, name, image.recording_of(subject.label), names, problems, **facts))
    return found, problems


def check_sources(recipe: Recipe, expected: list[Expected]) -> Iterator[Problem]:
    """Yield what is wrong with the files: missing, surplus, two for one run, one for two, the same bytes twice."""
    there = [one for one in expected if one.exists]
    surplus = surplus_recordings(recipe, expected)
    for one in expected:
        if one.absent is not None and one.exists:
            what = f"is declared missing ({one.absent}), but {one.path} is there"
            yield problem("missing-but-there", what, one.name, "take the entry out of `missing`, or the file away")
        elif one.absent is None and one.path is not None and not one.exists:
            yield _missing(one, surplus)
    yield from _two_files(there)
    yield from _two_runs(there)
    yield from _same_content(there)
    yield from _surplus(recipe, surplus)


def surplus_recordings(recipe: Recipe, expected: Iterable[Expected]) -> list[Path]:
    """Return recordings that no run names: files of a pattern's form, and images beside those that are named."""
    expected = list(expected)
    claimed = set(_claimed(expected))
    folders = {path.parent for path in claimed if path.parent.is_dir()}
    found = {path for folder in folders for path in folder.iterdir() if path.name.endswith(ENDINGS)}
    for recording in {one.recording.pattern: one.recording for one in expected}.values():
        alike = recipe.root.glob(pattern_shape(recording.pattern))
        found |= {path for path in alike if _is_recording(path, recording.kind)}
    masks = {str(one.options[name]) for one in expected for name in FILE_OPTIONS if name in one.options}
    kept = (path for path in found if path not in claimed and str(path) not in masks)
    return sorted(path for path in kept if path.suffix not in (".json", ".hdr"))


def _is_recording(path: Path, kind: str) -> bool:
    """Whether what has the form of a pattern can be a recording of that kind, and not a folder of texts beside them."""
    if kind == "mat":
        return path.suffix == ".mat"
    if path.is_dir():
        names = [] if kind == "nifti" else [entry.name.lower() for entry in os.scandir(path) if entry.is_file()]
        return any(name.endswith((*ENDINGS, ".dcm", ".ima")) or "." not in name for name in names)
    return path.name.endswith(ENDINGS) or (kind == "dicom" and path.suffix.lower() in (".dcm", ".ima"))


def _expected(
    recipe: Recipe, name: str, recording: Recording, names: dict[str, Any], problems: list[Problem], **facts: Any
) -> Expected:
    path, options = None, dict(recording.options)
    try:
        matches = recording_matches(recipe, recording, **names)
        if len(matches) == 1:
            path = matches[0]
        elif not facts["absent"]:
            problems.append(_not_one(recipe, name, recording, matches))
        for key in FILE_OPTIONS:
            if isinstance(options.get(key), str):
                options[key] = source_path(recipe, options[key], **names)
    except ReleaseKitError as error:
        problems.append(
            problem("pattern", error.what, f"{name} ({error.where})", error.next_step or "mend the pattern")
        )
    return Expected(name=name, recording=recording, path=path, options=options, **facts)


def _not_one(recipe: Recipe, name: str, recording: Recording, matches: list[Path]) -> Problem:
    if not matches:
        step = "put it there, mend the pattern, or say why in `missing`"
        return problem("file-missing", f"no file matches {recording.pattern}", name, step)
    shown = listed(str(path.relative_to(recipe.root)) for path in matches)
    step = "make the pattern more exact, or move away what is not meant"
    return problem("two-files", f"{len(matches)} files match {recording.pattern}: {shown}", name, step)


def _missing(one: Expected, surplus: list[Path]) -> Problem:
    import difflib

    what, step = f"{one.path} is not there", "put it there, mend the pattern, or say why in `missing`"
    names = {path.name: path for path in surplus if one.path and path.parent == one.path.parent}
    if one.path and (close := difflib.get_close_matches(one.path.name, names, n=1, cutoff=0.7)):
        step = f"is it {close[0]!r}, which no run names? else {step}"
    return problem("file-missing", what, one.name, step)


def _stem(name: str) -> str:
    return re.sub(r"\.(nii|img|hdr)(\.gz)?\Z", "", name)


def _two_files(there: list[Expected]) -> Iterator[Problem]:
    """``run1.nii`` beside ``run1.nii.gz``: nobody can tell which one was meant."""
    siblings: dict[Path, dict[str, list[str]]] = {}
    for one in there:
        if one.path is None or one.recording.kind != "nifti" or not one.path.is_file():
            continue
        if one.path.parent not in siblings:
            by_stem = siblings[one.path.parent] = defaultdict(list)
            for name in sorted(entry.name for entry in os.scandir(one.path.parent)):
                if name.endswith(ENDINGS):
                    by_stem[_stem(name)].append(name)
        names = siblings[one.path.parent][_stem(one.path.name)]
        if len(names) > 1:
            what = f"{len(names)} files for one recording: {listed(names)}, in {one.path.parent}"
            yield problem("two-files", what, one.name, "keep the one that is meant")


def _two_runs(there: list[Expected]) -> Iterator[Problem]:
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in there:
        options = digest({name: str(value) for name, value in one.options.items()})
        users[os.path.realpath(str(one.path)), options].append(one.name)
    for (path, _), names in users.items():
        if len(names) > 1:
            step = "let the pattern name what tells them apart ({run}, {session}, {source})"
            yield problem("two-runs", f"is one file for {len(names)} recordings: {listed(names)}", path, step)


def _same_content(there: list[Expected]) -> Iterator[Problem]:
    """Equal size and equal gzip check sum (or equal samples) first; only then are the files compared byte by byte."""
    groups: dict[tuple, dict[str, Expected]] = defaultdict(dict)
    for one in there:
        if one.path is not None and one.path.is_file():
            real = os.path.realpath(one.path)
            groups[_fingerprint(Path(real))].setdefault(real, one)
    yield from _same_folders(there)
    for group in groups.values():
        waiting = sorted(group.items())
        while len(waiting) > 1:
            (first, one), *others = waiting
            same = {path: two.name for path, two in others if filecmp.cmp(first, path, shallow=False)}
            waiting = [pair for pair in others if pair[0] not in same]
            if not same:
                continue
            what = f"has the same bytes as {listed(same.values())}: one of the labels is wrong"
            yield problem("same-content", what, one.name, "find out which recording it is, and put the other in place")


def _same_folders(there: list[Expected]) -> Iterator[Problem]:
    """Folders of DICOM, and series of files: the same files whatever they are called. Sizes first, bytes only then."""
    groups: dict[tuple, dict[str, tuple[Expected, list[Path]]]] = defaultdict(dict)
    for one in there:
        if one.path is not None and not one.path.is_file() and (files := _files(one.path)):
            sizes = tuple(sorted(path.stat().st_size for path in files))
            groups[sizes].setdefault(os.path.realpath(one.path), (one, files))
    for group in groups.values():
        same: dict[tuple, list[Expected]] = defaultdict(list)
        for one, files in group.values() if len(group) > 1 else ():
            same[tuple(sorted(_sha256(path) for path in files))].append(one)
        for first, *others in same.values():
            if others:
                what = f"has the same files as {listed(one.name for one in others)}: one of the labels is wrong"
                step = "find out which recording it is, and put the other in place"
                yield problem("same-content", what, first.name, step)


def _files(path: Path) -> list[Path]:
    found = path.parent.glob(path.name) if any(sign in path.name for sign in WILD) else path.rglob("*")
    return sorted(one for one in found if one.is_file())


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fingerprint(path: Path) -> tuple:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        blocks = []
        for offset in (size // 2, max(size - 4096, 0)):
            stream.seek(offset)
            blocks.append(stream.read(4096))
    return size, *blocks


def _surplus(recipe: Recipe, surplus: list[Path]) -> Iterator[Problem]:
    folders: dict[Path, list[str]] = defaultdict(list)
    named = [*recipe.runs, *recipe.anatomy]
    patterns = [it.pattern for one in named for it in (one.recording, *one.subjects.values())]
    for path in surplus:
        folders[path.parent].append(_described(path, recipe.root, patterns))
    for folder, names in sorted(folders.items()):
        what = f"{counted(len(names), 'recording')} that no run names: {listed(names, 6)}"
        yield problem("file-surplus", what, str(folder), "declare the runs, or leave them out knowingly")


def _described(path: Path, root: Path, patterns: list[str]) -> str:
    """Return the file's name with what its pattern says of it: ``film_run3.nii.gz (source AB12, task film, run 3)``."""
    for pattern in dict.fromkeys(patterns):
        if match := re.fullmatch(_expression(pattern), path.relative_to(root).as_posix()):
            said = ", ".join(f"{name} {text}" for name, text in match.groupdict().items())
            return f"{path.name} ({said})"
    return path.name


def _expression(pattern: str) -> str:
    seen: set[str] = set()

    def group(match: re.Match) -> str:
        name = match["name"]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^/]+?)"

    parts = re.split(f"({PLACEHOLDER})", pattern)
    texts = parts[::3]
    fields = parts[1::3]
    wild = [re.escape(text).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for text in texts]
    groups = [re.sub(PLACEHOLDER, group, text) for text in fields]
    return "".join(text + part for text, part in zip(wild, [*groups, ""], strict=True))


def _claimed(expected: Iterable[Expected]) -> Iterator[Path]:
    for one in expected:
        if one.path is None:
            continue
        if any(character in one.path.name for character in WILD):
            yield from one.path.parent.glob(one.path.name)
        yield one.path
        if one.path.name.endswith(".hdr"):
            yield one.path.with_suffix(".img")
