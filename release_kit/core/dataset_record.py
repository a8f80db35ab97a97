"""``dataset.json`` of a study that releases a dataset: where it lies, what its parts share, what its card says.

Written beside ``study.yaml`` by whoever knows the dataset; build and check only read it. Every number of its tables is
taken from files of the dataset that are named with their sha256, so that a card never outlives what it was taken from.
Format: ``docs/formats/dataset.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import StudyError
from release_kit.core.files import safe_relative_path, write_atomic
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1
DATASET_FILE = "dataset.json"
SEARCHED_FILE = "searched.json"
"""Beside it: the bytes that were searched for what may identify a person; a publication sends no others."""


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """One row of a table of the card."""

    keys: tuple[str, ...]
    shown: tuple[str, ...]
    sources: tuple[str, ...] = ()
    """Files of the dataset that the row was taken from."""


@dataclass(frozen=True, kw_only=True)
class DatasetTable:
    """One table of the card: columns that name a row, and columns that hold numbers."""

    name: str
    title: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[DatasetRow, ...]
    rules: Mapping[str, str] = field(default_factory=dict)
    """Column → how its number follows from the files."""


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """What a study knows of its dataset. ``from_dict(to_dict(record)) == record``."""

    folder: str
    """The dataset, relative to the study; usually a link to where it lies."""
    shared: tuple[str, ...]
    """Files that belong to no part: everybody gets them."""
    readme: str | None = None
    """The dataset's own page, which the card shows in full."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Name under which the Hub's clients load a table → its file; the first is the default."""
    n_rows: int = 0
    """Rows of all these tables."""
    kinds: tuple[str, ...] = ()
    """Kinds of data, in the Hub's tags."""
    tables: tuple[DatasetTable, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """File of the dataset → sha256, for every file that a number was taken from."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {
            "schema_version": SCHEMA_VERSION,
            "folder": self.folder,
            "shared": list(self.shared),
            "readme": self.readme,
            "configs": [[name, path] for name, path in self.configs.items()],
            "n_rows": self.n_rows,
            "kinds": list(self.kinds),
            "tables": [_table_dict(table) for table in self.tables],
            "sources": dict(self.sources),
        }

    @classmethod
    def from_dict(cls, value: Any, where: str = DATASET_FILE) -> "DatasetRecord":
        """Read the JSON form strictly.

        Raises:
            RecordError: wrong shape, unknown key or a path that leaves the dataset.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        readme = fields.take("readme", str, None)
        record = cls(
            folder=safe_relative_path(fields.take("folder", str), where=where),
            shared=tuple(safe_relative_path(path, where=where) for path in fields.take_list("shared", str)),
            readme=None if readme is None else safe_relative_path(readme, where=where),
            configs=_configs(fields, where),
            n_rows=fields.take("n_rows", int),
            kinds=tuple(fields.take_list("kinds", str)),
            tables=tuple(_table_from(child) for child in fields.children("tables")),
            sources=fields.take("sources", dict),
        )
        fields.done()
        return record


def read_dataset(study_folder: Path) -> DatasetRecord:
    """Read ``dataset.json`` of a study.

    Raises:
        StudyError: there is none.
        RecordError: it is not valid.
    """
    path = study_folder / DATASET_FILE
    if not path.is_file():
        step = "make the study anew: release-kit bids release DATASET --out STUDY"
        raise StudyError(f"the study declares a dataset, but has no {DATASET_FILE}", where=str(path), next_step=step)
    return DatasetRecord.from_dict(canonical.read_json(path), str(path))


def write_dataset(study_folder: Path, record: DatasetRecord) -> bool:
    """Write ``dataset.json``; returns whether it changed."""
    return write_atomic(study_folder / DATASET_FILE, canonical.document_bytes(record.to_dict()))


def read_searched(study_folder: Path) -> Mapping[str, str]:
    """Return path → sha256 of the files of the dataset that were searched and found good; empty where nobody has.

    Raises:
        RecordError: the list cannot be read.
    """
    path = study_folder / SEARCHED_FILE
    if not path.is_file():
        return {}
    fields = Fields(canonical.read_json(path), str(path))
    check_schema_version(fields, (SCHEMA_VERSION,))
    files = fields.take("files", dict)
    fields.done()
    return files


def write_searched(study_folder: Path, files: Mapping[str, str] | None) -> bool:
    """Write the list, or take it away when there is none; returns whether it changed."""
    path = study_folder / SEARCHED_FILE
    if files is None:
        there = path.exists()
        path.unlink(missing_ok=True)
        return there
    value = {"schema_version": SCHEMA_VERSION, "files": dict(sorted(files.items()))}
    return write_atomic(path, canonical.document_bytes(value))


def _configs(fields: Fields, where: str) -> dict[str, str]:
    pairs = fields.take_list("configs", list)
    if any(len(pair) != 2 or not all(isinstance(part, str) for part in pair) for pair in pairs):
        raise fields.error("configs", "expected pairs of a name and a file")
    return {name: safe_relative_path(path, where=where) for name, path in pairs}


def _table_dict(table: DatasetTable) -> dict[str, Any]:
    rows = [{"keys": list(row.keys), "shown": list(row.shown), "sources": list(row.sources)} for row in table.rows]
    return {
        "name": table.name,
        "title": table.title,
        "keys": list(table.keys),
        "columns": list(table.columns),
        "rows": rows,
        "rules": dict(table.rules),
    }


def _table_from(fields: Fields) -> DatasetTable:
    table = DatasetTable(
        name=fields.take("name", str),
        title=fields.take("title", str),
        keys=tuple(fields.take_list("keys", str)),
        columns=tuple(fields.take_list("columns", str)),
        rows=tuple(_row_from(child) for child in fields.children("rows")),
        rules=fields.take("rules", dict),
    )
    fields.done()
    return table


def _row_from(fields: Fields) -> DatasetRow:
    row = DatasetRow(**{name: tuple(fields.take_list(name, str)) for name in ("keys", "shown", "sources")})
    fields.done()
    return row
