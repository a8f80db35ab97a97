"""One annotation file as rows of the table: encoding, reader, the clock of the stimulus, the names of the source.

Owns which reader is which and the way from a file's clock to stimulus time. What a file looks like is the readers';
which files there are, ``collect.py``'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.encodings import decode
from release_kit.bids.annotations.merge import merge_steps
from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem, Problems
from release_kit.bids.annotations.readers import elan, intervals, seconds, subtitles, textgrid
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.times import decimal_text, exact, minus, plus
from release_kit.bids.recipe.model import AnnotationSource, Run, Shown, Stimulus
from release_kit.core.errors import RecordError
from release_kit.core.records import Fields, nearest


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A format: how its options are read, and how its text becomes cues."""

    options: Callable[[Fields], Any]
    read: Callable[[str, Any, Problems], list[Cue]]
    suffixes: tuple[str, ...]


READERS = {
    "seconds": Reader(options=seconds.seconds_options, read=seconds.read_seconds, suffixes=(".txt",)),
    "seconds-table": Reader(options=seconds.table_options, read=seconds.read_seconds, suffixes=(".txt", ".tsv")),
    "intervals": Reader(options=intervals.interval_options, read=intervals.read_intervals, suffixes=(".csv", ".tsv")),
    "srt": Reader(options=subtitles.subtitle_options, read=subtitles.read_srt, suffixes=(".srt",)),
    "vtt": Reader(options=subtitles.subtitle_options, read=subtitles.read_vtt, suffixes=(".vtt",)),
    "textgrid": Reader(options=textgrid.tier_options, read=textgrid.read_textgrid, suffixes=(".TextGrid",)),
    "elan": Reader(options=textgrid.tier_options, read=elan.read_elan, suffixes=(".eaf",)),
}
"""Name in the recipe → format."""


_NO_TEXT = {
    b"ooBinaryFile": "is a binary TextGrid; save it with Praat's `Save as text file`",
    b"PK\x03\x04": "is an Excel or OpenDocument workbook; save the sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save the sheet as CSV in UTF-8",
    b"\x1f\x8b": "is compressed by gzip; unpack it",
}
"""First bytes of files that are no text → what to do."""


def reader_options(source: AnnotationSource, where: str = "recipe") -> Any:
    """Return the options of a source's reader, checked; calling it alone checks the recipe.

    Raises:
        RecordError: no such reader, an unknown option with the nearest known one, a value that cannot be.
    """
    place = f"annotations.{source.id}"
    if source.reader not in READERS:
        raise RecordError(
            f"`{place}.reader` {source.reader!r} is not known{nearest(source.reader, tuple(READERS))}", where=where
        )
    return READERS[source.reader].options(Fields(dict(source.options), where, f"{place}.options"))


def read_annotations(path: Path, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> list[Row]:
    """Return the annotations of one file in stimulus time, in the order of the file.

    Times ``t`` of a run's clock become ``shows.start_s + (t - shows.onset_s)``. Rows that overlap, stand in no order
    or reach beyond the stimulus are read; judging them is the quality report's.

    Args:
        path: the file.
        source: what the recipe says about it.
        stimulus: the stimulus that it annotates.
        run: the run whose clock it uses, when ``source.clock`` is ``run``.

    Raises:
        AnnotationError: everything that is wrong with the file, by line.
        RecordError: the options of the source are wrong.
    """
    rows = read_rows(path, source, stimulus, run)
    return merge_sources(rows) if getattr(reader_options(source), "merge", False) else rows


def read_rows(path: Path, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> list[Row]:
    """Return the rows of one file as ``read_annotations`` does, before equal steps are joined."""
    options, cues, shift = _read(path, source, stimulus, run)
    return [_row(cue, source, options, stimulus, shift) for cue in cues]


def last_end(path: Path, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> float | None:
    """Return when the last annotation of a file ends, in seconds of the stimulus; None where the file holds none.

    Reads and refuses as ``read_annotations`` does, and makes no rows.
    """
    _, cues, shift = _read(path, source, stimulus, run)
    return float(plus(max(cue.onset_s + cue.duration_s for cue in cues), shift)) if cues else None


def _read(path: Path, source: AnnotationSource, stimulus: Stimulus, run: Run | None) -> tuple[Any, list[Cue], Decimal]:
    """Return the reader's options, the cues on the clock of the file, and what brings them to stimulus time."""
    options, problems = reader_options(source), Problems(path=path)
    shows = _shown(run, source, stimulus) if source.clock == "run" else None
    cues = READERS[source.reader].read(_text(path, source), options, problems)
    if shows is not None:
        _check_begin(cues, shows, problems)
    problems.refuse()
    return options, cues, minus(exact(shows.start_s), exact(shows.onset_s)) if shows else Decimal(0)


def merge_sources(rows: Sequence[Row]) -> list[Row]:
    """Return rows with equal steps joined, each source and stimulus by itself."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.stim_id, row.annot_id), []).append(row)
    return [row for group in groups.values() for row in merge_steps(group)]


def _text(path: Path, source: AnnotationSource) -> str:
    try:
        data = path.read_bytes()
        other = next((what for magic, what in _NO_TEXT.items() if data.startswith(magic)), None)
        if other:
            raise AnnotationError([AnnotationProblem(path=str(path), what=other)])
        return decode(data, declared=source.encoding, language=source.language, where=str(path)).text
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
    except RecordError as error:
        raise AnnotationError([AnnotationProblem(path=str(path), what=error.what)], error.next_step) from error
    raise AnnotationError([AnnotationProblem(path=str(path), what=what)])


def _check_begin(cues: list[Cue], shows: Shown, problems: Problems) -> None:
    begin = exact(shows.onset_s)
    for cue in cues:
        if cue.onset_s < begin:
            problems.add(
                f"the cue at {decimal_text(cue.onset_s)} s of the run comes before the stimulus begins "
                f"(`shows.onset_s` is {shows.onset_s:g})"
            )


def _row(cue: Cue, source: AnnotationSource, options: Any, stimulus: Stimulus, shift: Decimal) -> Row:
    annotator, annot_id = _who(cue, source, options)
    return Row(
        stim_id=stimulus.label,
        onset_s=float(plus(cue.onset_s, shift)),
        duration_s=float(cue.duration_s),
        level=source.level,
        annotator=annotator,
        language=source.language,
        annot_id=annot_id,
        text=cue.text,
        speaker=cue.speaker,
    )


def _shown(run: Run | None, source: AnnotationSource, stimulus: Stimulus) -> Shown:
    if run is None or run.shows is None or run.shows.stimulus != stimulus.label:
        raise RecordError(
            f"`annotations.{source.id}` has the clock of a run, and no run that shows {stimulus.label!r} is given",
            where="recipe",
        )
    return run.shows


def _who(cue: Cue, source: AnnotationSource, options: Any) -> tuple[str, str]:
    """Return (annotator, annot_id): of the source, or by position where one file holds several annotators."""
    if cue.place is None or not options.split_annotators:
        return source.annotator, source.id
    named = options.annotators
    name = named[cue.place] if cue.place < len(named) else f"A{cue.place + 1:02d}"
    return name, f"{source.id}{name}"
