"""What a file's path says of subject, session, task and run, and the pattern that all files of a run share.

Guesses for a first recipe only; every one of them is shown to a person. Opens no file.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from release_kit.bids.recipe.paths import PLACEHOLDER

_SESSION = re.compile(
    r"(?i)(?<![a-z])(?:ses|sess|session|visit|day)[-_]?0*(?P<session>[a-z]?\d{1,3}|[a-z]\w*?)(?=$|[/_.-])"
)
_BIDS_TASK = re.compile(r"task-(?P<task>[A-Za-z0-9]+)")
_RUN = re.compile(r"(?i)(?<![a-z])(?:run|part|block|scan|r|p)[-_ ]?(?P<run>\d{1,3})(?!\d)")
_LAST_NUMBER = re.compile(r"(?<!\d)(?P<run>\d{1,2})\Z")
_BIDS_SUBJECT = re.compile(r"sub-(?P<source>[A-Za-z0-9]+)")
_ENDING = re.compile(r"\.(nii|img|hdr)(\.gz)?\Z|\.[A-Za-z0-9]{1,8}\Z")
_NO_TASK = re.compile(
    r"(?i)bold|func|epi|f?mri|nii|img|run|part|block|scan|task|sub|ses|sess|session|anat|raw|data|dicom|dcm|series|mb"
    r"|ep2d|cmrr|moco|vol|volumes|each|sec"
)
_NO_SUBJECT = re.compile(
    r"(?i)(func|anat|nii|nifti|raw|bold|dicom|data|recordings|scans|mri|fmri|preprocessed|derivatives)\w*"
)


@dataclass(frozen=True, kw_only=True)
class NameGuess:
    """What a path seems to say; ``pattern`` is the path with these names in braces."""

    path: str
    source: str | None
    session: str | None
    task: str
    run: int | None
    pattern: str


def guess_sources(paths: Iterable[str]) -> list[str]:
    """Return the names of subjects in paths: ``sub-`` labels, else folders, else first words of names."""
    paths = list(paths)
    if marked := {match["source"] for path in paths if (match := _BIDS_SUBJECT.search(path))}:
        return sorted(marked)
    levels = max((path.count("/") for path in paths), default=0)
    constant: list[str] = []
    for level in range(levels):
        names = {path.split("/")[level] for path in paths if path.count("/") > level}
        names = {name for name in names if not _NO_SUBJECT.fullmatch(name) and not _SESSION.fullmatch(name)}
        if len(names) > 1:
            return sorted(names)
        constant += names
    if constant:
        return constant[:1]
    firsts = {match[0] for path in paths if (match := re.match(r"[A-Za-z]{1,4}\d{1,5}(?=[_-])", path.rsplit("/")[-1]))}
    return sorted(firsts)


def guess_name(path: str, sources: Iterable[str], *, of_run: bool = True) -> NameGuess:
    """Return what a path seems to say.

    Args:
        path: relative to the folder of the sources, with ``/``.
        sources: names of subjects, as ``guess_sources`` gives them.
        of_run: whether task and run are looked for; an anatomical image has none.
    """
    marks = [None] * len(path)  # name → which characters it takes
    source = _take_source(path, sources, marks)
    session = _take(_SESSION, path, marks, "session")
    start = path.rfind("/") + 1
    ending = _ENDING.search(path, start)
    stop = ending.start() if ending else len(path)
    if not of_run:
        return NameGuess(
            path=path, source=source, session=session, task="", run=None, pattern=_pattern(path, marks, None)
        )
    task = _take(_BIDS_TASK, path, marks, "task", start, stop)
    run = _take(_RUN, path, marks, "run", start, stop) or _take(_LAST_NUMBER, path, marks, "run", start, stop)
    if task is None:
        task = _take_task(path, marks, start, stop)
    return NameGuess(
        path=path,
        source=source,
        session=session,
        task=task,
        run=int(run) if run else None,
        pattern=_pattern(path, marks, run),
    )


def common_pattern(patterns: Iterable[str]) -> str | None:
    """Return one pattern for all: equal parts stay, numbers and words that differ become ``*``; None if none fits."""
    expression = f"{PLACEHOLDER}|[^\\W_]+|[\\W_]".replace("?P<name>", "?:")
    parts = [re.findall(expression, pattern) for pattern in dict.fromkeys(patterns)]
    if len({len(one) for one in parts}) != 1:
        return None
    merged = [column[0] if len(set(column)) == 1 else "*" for column in zip(*parts, strict=True)]
    return None if "".join(merged).replace("*", "").strip("/_.-") == "" else "".join(merged)


def label(text: str, default: str) -> str:
    """Return letters and digits of ``text`` only, as BIDS has labels."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or default


def most_common(values: Iterable) -> object:
    """Return the most frequent value, the first of equally frequent ones; None for none."""
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None


def _take(
    expression: re.Pattern, path: str, marks: list, name: str, start: int = 0, stop: int | None = None
) -> str | None:
    """Take the last match that nothing else has taken."""
    stop = len(path) if stop is None else stop
    for match in reversed(list(expression.finditer(path[:stop], start))):
        begin, end = match.span(name)
        if not any(marks[begin:end]):
            marks[begin:end] = [name] * (end - begin)
            return match[name]
    return None


def _take_source(path: str, sources: Iterable[str], marks: list) -> str | None:
    for source in sorted(sources, key=len, reverse=True):
        found = list(re.finditer(rf"(?<![A-Za-z0-9]){re.escape(source)}(?![A-Za-z0-9])", path))
        for match in found:
            begin, end = match.span()
            marks[begin:end] = ["source"] * (end - begin)
        if found:
            return source
    return None


def _take_task(path: str, marks: list, start: int, stop: int) -> str:
    """The words of the file's name that are nothing else; one word can be named in the pattern, several cannot."""
    words = []
    for match in re.finditer(r"[A-Za-z][A-Za-z0-9]*|\d+", path[:stop]):
        begin, end = match.span()
        while end > begin and marks[end - 1]:
            end -= 1
        text = path[begin:end]
        free = begin >= start and not any(marks[begin:end])
        if free and len(text) > 1 and text[0].isalpha() and not _NO_TASK.fullmatch(text):
            words.append((text, begin, end))
    if len(words) == 1:
        text, begin, end = words[0]
        marks[begin:end] = ["task"] * (end - begin)
        return text
    return label("".join(text for text, _, _ in words), "task")


def _pattern(path: str, marks: list, run: str | None) -> str:
    parts, index = [], 0
    while index < len(path):
        name, end = marks[index], index + 1
        while end < len(path) and marks[end] == name and name:
            end += 1
        width = f":0{len(run)}d" if name == "run" and run and len(run) > 1 else ""
        parts.append(f"{{{name}{width}}}" if name else path[index].replace("{", "{{").replace("}", "}}"))
        index = end
    return "".join(parts)
