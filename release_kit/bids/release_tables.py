"""What the card of a released dataset says of it, taken from its files: subjects, minutes, levels, annotators.

Every row names the files that it comes from, with their sha256 in the record, so that a card is refused once they
have changed.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.paths import subject_of
from release_kit.core.dataset_record import DatasetRow, DatasetTable
from release_kit.core.digest_cache import DigestCache, digest_files
from release_kit.core.errors import ReleaseKitError, StudyError

ANNOTATIONS = "stimuli/annotations.tsv"
STIMULI = "stimuli/stimuli.tsv"
MISSING = "n/a"
MAX_ROWS = 50
"""More subjects than this are summed up in one row."""

_IMAGES = ("_bold.nii.gz", "_bold.nii")
_MAPS = "_statmap.json"


@dataclass(frozen=True, kw_only=True)
class CardTables:
    """Everything of ``dataset.json`` that is taken from the content of files."""

    tables: tuple[DatasetTable, ...]
    sources: Mapping[str, str]
    configs: Mapping[str, str]
    n_rows: int
    kinds: tuple[str, ...]


class DatasetFiles:
    """The few tables of a dataset that parts and cards follow from."""

    def __init__(self, folder: Path):
        self.folder = folder

    def table(self, path: str) -> list[dict[str, str]]:
        """Return the rows of a TSV file of the dataset; none when it is not there."""
        file = self.folder / path
        if not file.is_file():
            return []
        text = file.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
        lines = [line.split("\t") for line in text.split("\n") if line]
        return [dict(zip(lines[0], cells, strict=False)) for cells in lines[1:]]

    def levels(self) -> dict[str, str]:
        """Return annotation id → level."""
        rows = self.table(ANNOTATIONS)
        return {row["annot_id"]: row["level"] for row in rows if row.get("annot_id") and row.get("level")}

    def languages(self) -> list[str]:
        """Return the languages of the annotations, sorted."""
        found = {row.get("language") or "n/a" for row in self.table(ANNOTATIONS)}
        return sorted(found - {"n/a"})


def description_of(dataset: Path) -> dict[str, Any]:
    """Return ``dataset_description.json``.

    Raises:
        StudyError: it is not there or no JSON mapping: this is no BIDS dataset.
    """
    path = dataset / "dataset_description.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise StudyError(f"is not a BIDS dataset ({reason})", where=str(path), next_step="name its folder") from error
    if not isinstance(value, dict):
        raise StudyError("is not a BIDS dataset (it is no mapping)", where=str(path), next_step="name its folder")
    return value


def card_tables(dataset: DatasetFiles, files: Sequence[str], cache: DigestCache | None) -> CardTables:
    """Return the tables of the card and what they were taken from.

    Args:
        dataset: the dataset.
        files: its files.
        cache: remembered digests.

    Raises:
        StudyError: files whose content is not here, all of them named.
    """
    images = [path for path in files if path.startswith("sub-") and path.endswith(_IMAGES)]
    parquet = [p for p in files if p.startswith("stimuli/annotations/") and p.endswith(".parquet")]
    configs = {Path(path).stem: path for path in parquet}
    maps = [path for path in files if path.endswith(_MAPS)]
    used = [*images, *parquet, *maps, *(path for path in (STIMULI, ANNOTATIONS, *_readmes(files)) if path in files)]
    sources = _digests(dataset.folder, used, cache)
    annotated, n_rows = _annotations(dataset.folder, configs)
    # A derivative of maps has subjects, and not one recording of them.
    recordings = () if maps and not images else (_subjects(dataset.folder, files, images),)
    tables = (*recordings, _stimuli(dataset), annotated, _maps(maps))
    return CardTables(
        tables=tuple(table for table in tables if table.rows),
        sources=sources,
        configs=configs,
        n_rows=n_rows,
        kinds=("bids", "neuroimaging", *(("fmri",) if images else ())),
    )


def _readmes(files: Sequence[str]) -> list[str]:
    return [path for path in files if "/" not in path and path.startswith("README")]


def _digests(folder: Path, paths: Sequence[str], cache: DigestCache | None) -> dict[str, str]:
    outcomes = list(digest_files([folder / path for path in paths], cache=cache, values=True))
    wrong = [str(outcome) for outcome in outcomes if isinstance(outcome, ReleaseKitError)]
    if wrong:
        step = "get their content first: git annex get . (or release-kit bids get)"
        raise StudyError(
            f"{len(wrong)} files cannot be read: {'; '.join(wrong[:5])}", where=str(folder), next_step=step
        )
    return {path: outcome.sha256 for path, outcome in zip(paths, outcomes, strict=True)}


def _subjects(folder: Path, files: Sequence[str], images: Sequence[str]) -> DatasetTable:
    from release_kit.bids.recordings.header import read_facts

    seconds: dict[str, float | None] = {}
    for path in images:
        facts = read_facts(folder / path)
        seconds[path] = None if facts.tr_s is None else facts.n_volumes * facts.tr_s
    labels = sorted({label for path in files if (label := subject_of(path))})
    groups = [(label, [path for path in images if subject_of(path) == label]) for label in labels]
    rows = [_subject_row(label, paths, seconds) for label, paths in groups] if len(groups) <= MAX_ROWS else []
    if len(groups) != 1 and groups:
        rows.append(_subject_row(f"all {len(groups)}", images, seconds))
    return DatasetTable(
        name="subjects",
        title="Recordings",
        keys=("Subject",),
        columns=("Runs", "Minutes"),
        rows=tuple(rows),
        rules={
            "Runs": "number of *_bold images",
            "Minutes": "sum over runs of (number of volumes) * (repetition time), by the headers, / 60",
        },
    )


def _subject_row(label: str, paths: Sequence[str], seconds: Mapping[str, float | None]) -> DatasetRow:
    known = [seconds[path] for path in paths]
    minutes = "n/a" if not known or None in known else f"{sum(filter(None, known)) / 60:,.1f}"
    return DatasetRow(keys=(label,), shown=(f"{len(paths):,}", minutes), sources=tuple(paths))


def _maps(sidecars: Sequence[str]) -> DatasetTable:
    found: dict[str, list[str]] = {}
    for path in sidecars:
        statistic = re.search(r"_stat-([0-9A-Za-z]+)_", path)
        found.setdefault(statistic[1] if statistic else "n/a", []).append(path)
    rows = [
        DatasetRow(keys=(name,), shown=(f"{len(paths):,}",), sources=tuple(paths))
        for name, paths in sorted(found.items())
    ]
    return DatasetTable(
        name="maps", title="Maps", keys=("Statistic",), columns=("Maps",), rows=tuple(rows),
        rules={"Maps": "number of sidecars *_stat-<statistic>_*_statmap.json"},
    )  # fmt: skip


def _stimuli(dataset: DatasetFiles) -> DatasetTable:
    rows = []
    for row in dataset.table(STIMULI):
        name = row.get("title") or row.get("stimulus_id") or "n/a"
        rows.append(DatasetRow(keys=(name,), shown=(_minutes(row.get("duration")),), sources=(STIMULI,)))
    return DatasetTable(
        name="stimuli", title="Stimuli", keys=("Stimulus",), columns=("Minutes",), rows=tuple(rows),
        rules={"Minutes": "duration in stimuli/stimuli.tsv / 60"},
    )  # fmt: skip


def _minutes(duration: str | None) -> str:
    try:
        seconds = float(duration or "")
    except ValueError:
        return MISSING
    return f"{seconds / 60:,.1f}" if math.isfinite(seconds) else MISSING


def _annotations(folder: Path, configs: Mapping[str, str]) -> tuple[DatasetTable, int]:
    import pyarrow.compute as pc

    rows, n_rows = [], 0
    for level, path in configs.items():
        table = _level_table(folder / path)
        n_rows += table.num_rows
        for language in sorted(set(table["language"].to_pylist())):
            part = table.filter(pc.equal(table["language"], language))
            minutes = (pc.sum(part["duration_s"]).as_py() or 0) / 60
            n_annotators = len(set(part["annotator"].to_pylist()))
            shown = (f"{n_annotators:,}", f"{part.num_rows:,}", f"{minutes:,.1f}")
            rows.append(DatasetRow(keys=(level, language), shown=shown, sources=(path,)))
    return DatasetTable(
        name="annotations",
        title="Annotations",
        keys=("Level", "Language"),
        columns=("Annotators", "Intervals", "Minutes"),
        rows=tuple(rows),
        rules={
            "Annotators": "distinct annotators in the table of the level",
            "Intervals": "rows of the table of the level",
            "Minutes": "sum of their durations, over annotators, / 60",
        },
    ), n_rows


def _level_table(path: Path) -> Any:
    """Return language, annotator and duration of the rows of one level; what is missing is ``n/a``.

    Raises:
        StudyError: no Parquet table, or one without these columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = ("language", "annotator")
    try:
        table = pq.read_table(path, columns=[*names, "duration_s"])
        words = [pc.fill_null(table[name].cast(pa.string()), MISSING) for name in names]
        return pa.table([*words, table["duration_s"].cast(pa.float64())], names=[*names, "duration_s"])
    except (pa.ArrowException, KeyError, OSError) as error:
        what = f"is no table of annotations ({str(error).splitlines()[0]})"
        raise StudyError(
            what, where=str(path), next_step="restore it, or move it out of stimuli/annotations"
        ) from error
