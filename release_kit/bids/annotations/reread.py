"""Annotations back from what release_kit wrote: exports with their companions, and the ``stimuli/`` of a dataset.

Files that annotators have edited meanwhile are read as they now stand; the companion adds what the format cannot hold.
"""

from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations import bep044
from release_kit.bids.annotations.encodings import decode
from release_kit.bids.annotations.formats import COMPANION, FORMATS, TABLES, TIMED
from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem, Problems
from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.annotations.times import parse_span
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.bids.annotations.writers.companion import read_companion
from release_kit.core.annexed import pointer_key
from release_kit.core.errors import RecordError, ReleaseKitError, UsageError
from release_kit.core.records import nearest


def read_exports(path: Path, fmt: str | None = None) -> pa.Table:
    """Return the table of what ``write_annotations`` wrote.

    Args:
        path: a file, or a folder of files of one format.
        fmt: the format; None: told by the names.

    Raises:
        AnnotationError: the problems of all files together (a companion that is missing among them).
        RecordError: nothing to read, several formats in one folder, a file that does not follow its format.
    """
    fmt = fmt or _format(path)
    if fmt not in FORMATS:
        raise UsageError(f"{fmt!r} is no format of annotations{nearest(fmt, FORMATS)}")
    if fmt in TABLES:
        file = path / f"annotations{TABLES[fmt].suffix}" if path.is_dir() else path
        return TABLES[fmt].parse(_bytes(file), str(file))
    rows: list[Row] = []
    problems: list[AnnotationProblem] = []
    for file in _files(path, TIMED[fmt].suffix):
        try:
            rows += _timed_rows(file, fmt)
        except AnnotationError as error:
            problems += [AnnotationProblem(path=str(file), what=each.what, line=each.line) for each in error.problems]
        except ReleaseKitError as error:
            problems.append(AnnotationProblem(path=error.where or str(file), what=error.what))
    if problems:
        raise AnnotationError(problems)
    return annotation_table(rows)


def read_dataset_annotations(folder: Path) -> pa.Table:
    """Return the table of annotations of a BIDS dataset, from the events files of its ``stimuli/``.

    Events files that are not here (a partial download) are left out, and ``absent_annotations`` names them; those that
    are here must be listed in ``stimuli/annotations.tsv``.

    Raises:
        AnnotationError: the problems of all files together.
        RecordError: the dataset has no ``stimuli/annotations.tsv``.
    """
    listed = _listed(folder / bep044.ANNOTATIONS_TABLE)
    rows: list[Row] = []
    problems: list[AnnotationProblem] = []
    for path in filter(is_here, _event_files(folder)):
        try:
            rows += _event_rows(path, listed)
        except AnnotationError as error:
            problems += error.problems
        except ReleaseKitError as error:
            problems.append(AnnotationProblem(path=error.where or str(path), what=error.what))
    if problems:
        raise AnnotationError(problems)
    return annotation_table(rows)


def absent_annotations(folder: Path) -> list[str]:
    """Return the names of a dataset's annotation files whose content git-annex has not got here, sorted."""
    return [path.name for path in _event_files(folder) if not is_here(path)]


def is_here(path: Path) -> bool:
    """Return whether a file of a dataset has its content: no link to nothing, and no pointer of git-annex."""
    try:
        return path.is_file() and pointer_key(path) is None
    except OSError:
        return True  # whoever reads it says why that cannot be done


def _event_files(folder: Path) -> list[Path]:
    return sorted((folder / bep044.FOLDER).glob("stim-*_annot-*_events.tsv"))


def _timed_rows(file: Path, fmt: str) -> list[Row]:
    companion = file.with_name(file.name + COMPANION)
    if not companion.exists():
        raise RecordError(
            f"has no companion {companion.name} that says whose annotations these are",
            where=str(file),
            next_step="read it by a recipe, which names level and annotator",
        )
    return read_companion(companion.read_bytes(), TIMED[fmt].reread(_text(file)), str(companion))


def _text(file: Path) -> str:
    """Return the text: the UTF-8 that was written, or what an editor made of it."""
    data = _bytes(file)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return decode(data, where=str(file)).text


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror or error})", where=str(file)) from error


def _files(path: Path, suffix: str) -> list[Path]:
    return sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]


def _format(path: Path) -> str:
    """Return the format that names tell; a folder must hold one."""
    suffixes = {form.suffix: name for name, form in {**TABLES, **TIMED}.items()}
    names = [each.name for each in path.iterdir()] if path.is_dir() else [path.name]
    found = {fmt for name in names for suffix, fmt in suffixes.items() if name.endswith(suffix)}
    if len(found) != 1:
        what = f"holds several formats: {', '.join(sorted(found))}" if found else "holds no annotations"
        raise RecordError(what, where=str(path), next_step=f"say which of {', '.join(FORMATS)} is meant")
    return found.pop()


def _listed(path: Path) -> dict[str, dict[str, str]]:
    """Return annot_id → level, annotator, language."""
    header, rows = parse_tsv(_bytes(path), str(path))
    missing = [name for name in ("annot_id", "level", "annotator_id", "language") if name not in header]
    if missing:
        raise RecordError(f"lacks the columns {', '.join(missing)}", where=str(path))
    facts = [dict(zip(header, row, strict=True)) for row in rows]
    return {
        each["annot_id"] or "": {
            "level": each["level"] or "",
            "annotator": each["annotator_id"] or "",
            "language": each["language"] or "",
        }
        for each in facts
    }


def _event_rows(path: Path, listed: dict[str, dict[str, str]]) -> list[Row]:
    stim_id, annot_id = (part.partition("-")[2] for part in path.name.removesuffix("_events.tsv").split("_")[:2])
    if annot_id not in listed:
        raise RecordError(f"the annotation {annot_id!r} is not in {bep044.ANNOTATIONS_TABLE}", where=str(path))
    header, rows = parse_tsv(_bytes(path), str(path))
    missing = [name for name in ("onset", "duration") if name not in header]
    if missing:
        raise RecordError(f"lacks the columns {', '.join(missing)}", where=str(path))
    problems, found = Problems(path=path), []
    for n, cells in enumerate(rows, start=2):
        values = dict(zip(header, cells, strict=True))
        try:
            onset_s, duration_s = parse_span(values.get("onset"), values.get("duration"))
        except ValueError as error:
            problems.add(str(error), n)
            continue
        content = {"text": values.get("text"), "speaker": values.get("speaker")}
        row = Row(
            stim_id=stim_id, annot_id=annot_id, onset_s=onset_s, duration_s=duration_s, **content, **listed[annot_id]
        )
        found.append(row)
    problems.refuse()
    return found
