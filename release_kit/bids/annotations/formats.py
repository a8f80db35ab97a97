"""Which formats the table of annotations leaves in, and the names and bytes of their files.

Tables (CSV, TSV, Parquet) are one file; subtitles are a file for each stimulus and source; TextGrids and ELAN documents
a file for each stimulus; the last four have a companion in JSON beside each file.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.stimuli import parquet_bytes
from release_kit.bids.annotations.table import Row, annotation_table, table_rows
from release_kit.bids.annotations.writers import elan, subtitles, tables, textgrid
from release_kit.bids.annotations.writers.companion import Placed, Tier, companion_bytes
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.records import nearest

COMPANION = ".json"


@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """A format that holds the whole table in one file."""

    suffix: str
    write: Callable[[pa.Table], bytes]
    parse: Callable[[bytes, str], pa.Table]


@dataclass(frozen=True, kw_only=True)
class TimedFormat:
    """A format of one stimulus, or of one stimulus and source, with a companion."""

    suffix: str
    write: Callable[[Sequence[Placed]], tuple[str, dict[str, Tier], list[Placed]]]
    reread: Callable[[str], list[Cue]]
    per_source: bool


TABLES = {
    "csv": TableFormat(suffix=".csv", write=tables.csv_bytes, parse=tables.parse_csv),
    "tsv": TableFormat(suffix=".tsv", write=tables.table_tsv_bytes, parse=tables.parse_table_tsv),
    "parquet": TableFormat(suffix=".parquet", write=parquet_bytes, parse=tables.parse_parquet),
}
TIMED = {
    "srt": TimedFormat(suffix=".srt", write=subtitles.write_srt, reread=subtitles.reread_srt, per_source=True),
    "vtt": TimedFormat(suffix=".vtt", write=subtitles.write_vtt, reread=subtitles.reread_vtt, per_source=True),
    "textgrid": TimedFormat(
        suffix=".TextGrid", write=textgrid.write_textgrid, reread=textgrid.reread_textgrid, per_source=False
    ),
    "elan": TimedFormat(suffix=".eaf", write=elan.write_elan, reread=elan.reread_elan, per_source=False),
}
FORMATS = (*TABLES, *TIMED)

_LABEL = re.compile(r"[A-Za-z0-9]+")


def export_files(table: pa.Table, fmt: str) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, bytes) of the table in a format; equal tables give equal bytes.

    Raises:
        UsageError: no such format.
        ReleaseKitError: a stimulus or source whose name cannot be part of a file name.
    """
    if fmt in TABLES:
        yield f"annotations{TABLES[fmt].suffix}", TABLES[fmt].write(annotation_table(table_rows(table)))
        return
    if fmt not in TIMED:
        raise UsageError(f"{fmt!r} is no format of annotations{nearest(fmt, FORMATS)}")
    form = TIMED[fmt]
    for (stim_id, annot_id), rows in _groups(table, form.per_source):
        name = f"stim-{stim_id}" + (f"_annot-{annot_id}" if form.per_source else "") + form.suffix
        text, tiers, written = form.write(rows)
        yield name, text.encode()
        yield name + COMPANION, companion_bytes(fmt, stim_id, tiers, written, form.reread(text))


def _groups(table: pa.Table, per_source: bool) -> Iterator[tuple[tuple[str, str], list[Placed]]]:
    rows: dict[tuple[str, str], list[Placed]] = {}
    for place, row in enumerate(table_rows(annotation_table(table_rows(table)))):
        rows.setdefault((row.stim_id, row.annot_id if per_source else ""), []).append(Placed(row=row, place=place))
    _refuse_names({name for key in rows for name in key if name})
    _refuse_mixed(placed.row for among in rows.values() for placed in among)
    yield from rows.items()


def _refuse_names(names: set[str]) -> None:
    bad = sorted(name for name in names if not _LABEL.fullmatch(name))
    if bad:
        shown = ", ".join(map(repr, bad))
        raise ReleaseKitError(
            f"{shown}: only letters and digits can be part of a file name", next_step="export as csv, tsv or parquet"
        )


def _refuse_mixed(rows: Iterator[Row]) -> None:
    seen: dict[str, tuple] = {}
    mixed = {
        row.annot_id
        for row in rows
        if seen.setdefault(row.annot_id, key := (row.level, row.annotator, row.language)) != key
    }
    if mixed:
        raise ReleaseKitError(
            f"one id stands for several levels, annotators or languages: {', '.join(sorted(mixed))}",
            next_step="give each an id of its own, or export as csv, tsv or parquet",
        )
