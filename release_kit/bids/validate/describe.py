"""What a dataset says of itself and of its participants: description, licence, README, CHANGES, participants, scans."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.explained import cited, read_citation
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.images import Looked
from release_kit.bids.validate.survey import DESCRIPTION, Part, Survey
from release_kit.bids.validate.tables import Table, read_table

_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
_README = re.compile(r"README(\.(md|rst|txt))?")
_SESSION_IN_TASK = re.compile(r"(?i)(.*?)ses(?:s|sion)?-?(\d+)\Z")
README_WORDS = 20
SESSION_HOURS = 3.0
SESSION_RUNS = 20
"""More than this many runs, where their length is not known, were not recorded in one visit."""


def check_description(survey: Survey) -> Iterator[Finding]:
    """Yield what the dataset and its derivatives do not say of themselves."""
    for part in survey.parts:
        yield from _description(survey, part)
    raw = survey.parts[0]
    top = {entry.path for entry in raw.entries if "/" not in entry.path}
    readme = next((name for name in sorted(top) if _README.fullmatch(name)), None)
    if readme is None:
        yield finding("readme-absent", ".", "there is no README, README.md, README.rst or README.txt")
    elif survey.by_path[readme].readable and len(survey.bytes_of(readme).split()) < README_WORDS:
        yield finding("readme-absent", readme, f"it has less than {README_WORDS} words")
    if "CHANGES" not in top and "CHANGES.md" not in top:
        yield finding("changes-absent", ".", "there is no CHANGES")
    for path in survey.loose:
        n = sum(entry.path.startswith(f"{path}/") for entry in survey.entries)
        yield finding("derivative-undescribed", path, f"{n:,} files without {DESCRIPTION}")
    for part in survey.parts:
        path = ".bidsignore" if part.path == "." else f"{part.path}/.bidsignore"
        if path in survey.by_path and survey.by_path[path].readable:
            lines = survey.bytes_of(path).decode(errors="replace").split("\n")
            patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if patterns:
                yield finding("bidsignore", path, f"hidden: {', '.join(patterns[:20])}")


def _description(survey: Survey, part: Part) -> Iterator[Finding]:
    path = DESCRIPTION if part.path == "." else f"{part.path}/{DESCRIPTION}"
    if path not in survey.by_path:
        yield finding("description-absent", part.path, f"there is no {DESCRIPTION}")
        return
    value = survey.json_of(path)
    if not isinstance(value, dict):
        if survey.by_path[path].readable:
            yield finding("file-unreadable", path, "it is no JSON object")
        return
    version = value.get("BIDSVersion")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        bare = version.lstrip("vV") if isinstance(version, str) else ""
        step = f'write "{bare}"' if _VERSION.fullmatch(bare) else None
        yield finding("bids-version", path, f"BIDSVersion is {version!r}", next_step=step)
    if part.path == ".":
        citation = read_citation(survey)
        if not str(value.get("License") or cited(citation, "License") or "").strip():
            yield finding("licence-absent", path, "License is missing or empty, and no CITATION.cff names one")
        if not (value.get("Authors") or cited(citation, "Authors")):
            yield finding("authors-absent", path, "Authors is missing or empty, and no CITATION.cff names any")


def check_participants(survey: Survey, looked: Looked) -> Iterator[Finding]:
    """Yield what is wrong with participants, sessions and scans of the raw dataset."""
    raw = survey.parts[0]
    folders = sorted({entry.path.split("/")[0] for entry in raw.entries if _in_subject(entry.path)})
    if not folders:
        return
    yield from _participants(survey, folders)
    yield from _sessions(survey, raw, looked, folders)
    if not any(entry.suffix == "scans" and entry.extension == ".tsv" for entry in raw.entries):
        yield finding("scans-absent", ".", f"no scans.tsv for any of {len(folders)} subjects")


def _in_subject(path: str) -> bool:
    return path.startswith("sub-") and "/" in path


def _participants(survey: Survey, folders: list[str]) -> Iterator[Finding]:
    path = "participants.tsv"
    if path not in survey.by_path:
        yield finding("participants-absent", ".", f"{len(folders)} subjects, no {path}")
        return
    if not survey.by_path[path].readable:
        return
    table = read_table(survey, path)
    if isinstance(table, str):
        yield finding("file-unreadable", path, table)
        return
    if "participant_id" not in table.columns:
        yield finding("file-unreadable", path, f"no column participant_id; it has {', '.join(table.columns)}")
        return
    listed = Counter(table.column("participant_id"))
    for name in sorted(set(folders) - set(listed)):
        yield finding("participant-unlisted", name, f"{path} has no row {name}")
    for name in sorted(set(listed) - set(folders)):
        yield finding("participant-without-data", path, f"{name or 'an empty id'} has no folder")
    for name, n in sorted(listed.items()):
        if n > 1:
            yield finding("participant-twice", path, f"{name} has {n} rows")
    yield from table_cells(survey, table)


def table_cells(survey: Survey, table: Table) -> Iterator[Finding]:
    """Yield empty cells, rows of another width, and columns that the JSON file beside the table does not describe."""
    empty = [row for row, cells in enumerate(table.rows, start=1) if any(not cell.strip() for cell in cells)]
    if empty:
        what = f"{len(empty)} of {len(table.rows)} rows have an empty cell, the first is row {empty[0]}"
        yield finding("cell-empty", table.path, what, row=empty[0])
    if table.ragged:
        what = f"{len(table.ragged)} rows have more or fewer cells than there are columns"
        yield finding("file-unreadable", table.path, what, row=table.ragged[0])
    beside = table.path.removesuffix(".tsv") + ".json"
    if beside in survey.by_path and not survey.by_path[beside].readable:
        return
    described = survey.json_of(beside)
    known = set(described) if isinstance(described, dict) else set()
    lacking = [column for column in table.columns if column not in known | {"participant_id", "filename"}]
    if lacking:
        where = "is not there" if beside not in survey.by_path else "does not name them"
        yield finding("columns-undescribed", table.path, f"{', '.join(lacking)}: {beside} {where}")


def _sessions(survey: Survey, raw: Part, looked: Looked, folders: list[str]) -> Iterator[Finding]:
    coded: dict[str, set[str]] = defaultdict(set)
    runs: dict[str, list[float | None]] = defaultdict(list)
    for image in raw.images():
        task = image.entities.get("task")
        if task is None or "ses" in image.entities or image.suffix != "bold":
            continue
        if found := _SESSION_IN_TASK.fullmatch(task):
            coded[found[1]].add(task)
        lasts = looked.duration_s(survey, raw, image)
        runs[image.path.split("/")[0]].append(lasts[0] if lasts else None)
    for plain, tasks in sorted(coded.items()):
        names = ", ".join(sorted(tasks))
        yield finding("session-in-task", ".", f"tasks {names}: the task is {plain or 'unnamed'}, the number a session")
    for subject, lengths in sorted(runs.items()):
        hours = sum(length for length in lengths if length) / 3600
        unknown = None in lengths
        if hours > SESSION_HOURS or (unknown and len(lengths) > SESSION_RUNS):
            how_long = "of unknown length" if unknown else f"of {hours:.1f} h"
            yield finding("sessions-absent", subject, f"{len(lengths)} runs {how_long} and no session")
