"""The parts of a first recipe beyond the runs: anatomical images, DICOM series, annotation files, matrices.

Gives lines of YAML; the order of the file and the runs are ``draft.py``'s.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.guess_names import guess_name, label, most_common
from release_kit.bids.recipe.look import Found, FoundSeries
from release_kit.bids.recordings.header import ImageFacts, read_facts
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grammar.values import FILL_IN

_SUFFIXES = (
    ("T1w", r"(?i)t1|mprage|mpr|anat|struct|bravo|spgr"),
    ("T2w", r"(?i)t2|space|tse"),
    ("FLAIR", r"(?i)flair"),
    ("PDw", r"(?i)(?<![a-z])pd(?![a-z])"),
)
_LEVELS = (
    ("timeplace", r"(?i)time_?-?place|scene|location"),
    ("summary", r"(?i)summary|synopsis"),
    ("story", r"(?i)story|narrat|plot"),
    ("object", r"(?i)object"),
    ("speech", r"(?i)speech|transcri|subtitle|dialog|utter|caption"),
)
_LANGUAGES = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?P<language>(?i:en|ja|jp|de|fr|es|zh|ko|it|nl|pt))(?![A-Za-z])"
)
_ANNOTATOR = re.compile(r"(?:^|[_.-])(?P<annotator>[AR]\d{1,2})(?=$|[_.-])")
_FUNCTIONAL = re.compile(r"(?i)bold|epi|fmri|func|ep2d|cmrr|rest|task")
_NOT_FUNCTIONAL = re.compile(r"(?i)dwi|dmri|dti|diff|field|fmap|sbref|scout|localizer|phoenix")


def anatomy_lines(found: Found, sources: list[str]) -> list[str]:
    """Return ``anatomy``: one entry a form of name whose suffix can be told; the others in comments."""
    groups: dict[str, list[str]] = defaultdict(list)
    for image in found.anatomical:
        groups[guess_name(image.path, sources, of_run=False).pattern].append(image.path)
    lines, unknown = [], []
    for pattern, paths in sorted(groups.items()):
        suffix = _suffix(paths[0].rsplit("/")[-1])
        if suffix is None:
            unknown.append(f"#   {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
        else:
            entry = f"suffix: {suffix}, pattern: {_quoted(pattern)}, deface: true"
            lines.append(f"  - {{{_session(pattern, paths, sources)}{entry}}}  # guessed from the name")
    for (pattern, description), members in sorted(_dicom_groups(found, sources).items()):
        if suffix := _suffix(description):
            where = f"{_session(pattern, [one.path + '/x' for one in members], sources)}suffix: {suffix}, kind: dicom"
            options = f"options: {{series: {_quoted(description)}}}"
            lines.append(
                f"  - {{{where}, pattern: {_quoted(pattern)}, {options}, deface: true}}  # guessed from the name"
            )
    head = ["anatomy:"] if lines else []
    tail = ["# Single volumes whose kind no name tells; add them to `anatomy`, or leave them out:", *unknown]
    return head + lines + (tail if unknown else [])


def dicom_runs(found: Found, sources: list[str]) -> list[dict[str, Any]]:
    """Return the functional series of DICOM folders as fields of ``draft.RunGuess``."""
    runs: list[dict[str, Any]] = []
    numbers: dict[str, int] = defaultdict(int)
    for (pattern, description), members in _dicom_groups(found, sources).items():
        first = members[0]
        if not _is_functional(first):
            continue
        named = guess_name(f"{description}.dcm", ())
        task = label(named.task, "task")
        numbers[task] = named.run or numbers[task] + 1
        wanted = description or first.number
        facts = _dicom_facts(found.folder / first.path, wanted)
        sizes = sorted({series.n_files for series in members})
        runs.append(
            {
                "session": guess_name(f"{first.path}/x", sources, of_run=False).session,
                "task": task,
                "run": numbers[task],
                "pattern": pattern,
                "kind": "dicom",
                "n_volumes": facts.n_volumes if facts else None,
                "tr_s": facts.tr_s if facts else None,
                "options": (("series", wanted),),
                "note": f"series {first.number} of {'/'.join(map(str, sizes))} files",
            }
        )
    return runs


def _is_functional(series: FoundSeries) -> bool:
    """Siemens stores echo-planar volumes as mosaics; elsewhere only the name tells."""
    if series.n_images < 2 or _NOT_FUNCTIONAL.search(series.description) or _suffix(series.description):
        return False
    return series.mosaic or bool(_FUNCTIONAL.search(series.description))


def _dicom_groups(found: Found, sources: list[str]) -> dict[tuple[str, str], list[FoundSeries]]:
    """Series of the same description in folders of the same form."""
    groups: dict[tuple[str, str], list[FoundSeries]] = defaultdict(list)
    for series in found.dicom:
        pattern = guess_name(f"{series.path}/x", sources, of_run=False).pattern.removesuffix("/x")
        groups[pattern, series.description].append(series)
    return groups


def _dicom_facts(folder: Path, series: int | str | None) -> ImageFacts | None:
    """Only a conversion tells how many volumes there are, and their TR; None where it is refused."""
    try:
        return read_facts(folder, "dicom", {"series": series})
    except ReleaseKitError:
        return None


def _suffix(name: str) -> str | None:
    if re.search(r"(?i)scout|localizer", name):
        return None
    return next((suffix for suffix, words in _SUFFIXES if re.search(words, name)), None)


def annotation_lines(found: Found, tasks: list[str]) -> list[str]:
    """Return ``annotations``: files whose names differ in task and run only are one source."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, reader in found.annotations.items():
        groups[_annotation_pattern(path, tasks), reader].append(path)
    used: set[str] = set()
    entries = [_annotation(found, pattern, reader, paths, used) for (pattern, reader), paths in sorted(groups.items())]
    head = ["annotations:  # guessed from names; a source is one annotator at one level in one language"]
    return head + entries if entries else []


def _annotation(found: Found, pattern: str, reader: str, paths: list[str], used: set[str]) -> str:
    stem = pattern.rsplit("/")[-1].rsplit(".", 1)[0]
    level = next((name for name, words in _LEVELS if re.search(words, stem)), None)
    marked = _LANGUAGES.search(stem)
    language = marked["language"].lower().replace("jp", "ja") if marked else _script(found.folder / paths[0])
    named = _ANNOTATOR.search(stem)
    annotator = named["annotator"] if named else "A01"
    name = f"{level or 'annotation'}{annotator}{language}"
    while name in used:
        name += "x"
    used.add(name)
    clock = "clock: run, " if "{run" in pattern else ""
    return (
        f"  - {{id: {name}, level: {level or _quoted(FILL_IN)}, annotator: {annotator}, "
        f"language: {language or _quoted(FILL_IN)}, reader: {reader}, {clock}pattern: {_quoted(pattern)}}}"
        f"  # {len(paths)} file{'s' if len(paths) > 1 else ''}"
    )


def _script(path: Path) -> str:
    """Kana are Japanese and Hangul Korean; other scripts are of many languages."""
    try:
        text = path.read_bytes()[:65536].decode("utf-8", "ignore")
    except OSError:
        return ""
    return "ja" if re.search("[\u3041-\u30ff]", text) else "ko" if re.search("[\uac00-\ud7a3]", text) else ""


def derivative_lines(found: Found, sources: list[str]) -> list[str]:
    """Return ``derivatives``: matrices whose names tell subject, task and run; the others in comments."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in found.matrices:
        guess = guess_name(path, sources)
        complete = guess.source is not None and guess.run is not None and "{task}" in guess.pattern
        groups[guess.pattern if complete else ""].append(path)
    lines = []
    for number, (pattern, paths) in enumerate(sorted(groups.items())):
        if not pattern:
            continue
        name = "preprocessed" if not lines else f"preprocessed{number + 1}"
        options = f'options: {{variable: "{FILL_IN}", mask: "{FILL_IN}"}}'
        lines.append(
            f'  - {{name: {name}, description: "{FILL_IN}", kind: mat, pattern: {_quoted(pattern)}, {options}}}'
            f"  # {len(paths)} files"
        )
    rest = groups.get("", [])
    tail = [f"# Matrices that belong to no run by their name (masks?): {', '.join(rest[:6])}"] if rest else []
    return (["derivatives:"] if lines else []) + lines + tail


def _annotation_pattern(path: str, tasks: list[str]) -> str:
    folder, slash, name = path.rpartition("/")
    name = name.replace("{", "{{").replace("}", "}}")
    run = re.search(r"(?i)(?<![a-z])(?:run|part)[-_ ]?(?P<run>\d{1,3})(?!\d)", name)
    if run:
        width = f":0{len(run['run'])}d" if len(run["run"]) > 1 else ""
        name = f"{name[: run.start('run')]}{{run{width}}}{name[run.end('run') :]}"
    for task in sorted(tasks, key=len, reverse=True):
        if found := re.search(rf"(?<![A-Za-z0-9{{]){re.escape(task)}(?![A-Za-z0-9])", name):
            return f"{folder}{slash}{name[: found.start()]}{'{task}' if run else '{stimulus}'}{name[found.end() :]}"
    return f"{folder}{slash}{name}"


def _session(pattern: str, paths: list[str], sources: list[str]) -> str:
    if "{session}" not in pattern:
        return ""
    sessions = [guess_name(path, sources).session or "1" for path in paths]
    return f"session: {_quoted(label(str(most_common(sessions)), '1'))}, "


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
