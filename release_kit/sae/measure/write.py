"""Files of one measured autoencoder, ``measure.json`` last, and reading them back.

Nothing in them depends on when measuring was interrupted, or on which autoencoders were measured together.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline.paths import SaeKey

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
METRICS, FEATURES, CONTEXTS, NULLS = "metrics.parquet", "features.parquet", "contexts.parquet", "nulls.parquet"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A folder with files and the record that was written last.

    Attributes:
        key: of the autoencoder. folder: where it lies. record: identity, identity_digest, files, versions.
    """

    key: SaeKey
    folder: Path
    record: Mapping[str, Any]

    def table(self, name: str) -> "pa.Table":
        """Return one of its tables.

        Raises:
            SaeError: the file is not what the record says.
        """
        import io

        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self._bytes(name)))

    def check(self) -> None:
        """Hold every file against its digest.

        Raises:
            SaeError: a file is missing or damaged.
        """
        for name in self.record["files"]:
            self._bytes(name)

    def _bytes(self, name: str) -> bytes:
        said, path = self.record["files"].get(name), self.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SaeError(f"{name} is missing", where=str(self.folder), next_step="run again") from error
        if said is None or hashlib.sha256(data).hexdigest() != said["sha256"]:
            step = "remove the folder and run again: the same bytes are made"
            raise SaeError(f"{name} is damaged", where=str(self.folder), next_step=step)
        return data


def write_recorded(
    folder: Path, record_name: str, tables: "Mapping[str, pa.Table]", *, identity: Mapping[str, Any],
    versions: Mapping[str, str], more: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write tables, and then the record that makes them count.

    Args:
        folder: of the autoencoder; what lies there under these names is replaced.
        record_name: of the file that is written last.
        tables: name of the file → table.
        identity: what decided their bytes. versions: of what calculated. more: further keys of the record.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    (folder / record_name).unlink(missing_ok=True)
    for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
        left.unlink(missing_ok=True)
    files = {}
    for name, table in tables.items():
        data = table_bytes(table)
        write_atomic(folder / name, data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    record = {
        "schema_version": SCHEMA_VERSION, "identity": dict(identity),
        "identity_digest": canonical.digest(dict(identity)), "files": files, "versions": dict(versions), **(more or {}),
    }  # fmt: skip
    write_atomic(folder / record_name, canonical.document_bytes(record))


def read_recorded(folder: Path, record_name: str, key: SaeKey) -> Recorded | None:
    """Return what was recorded; None where the record is missing, is none, or files have other sizes."""
    try:
        record = canonical.read_json(folder / record_name)
        whole = record["schema_version"] == SCHEMA_VERSION and all(
            (folder / name).stat().st_size == said["bytes"] for name, said in record["files"].items()
        )
    except (OSError, RecordError, KeyError, TypeError, AttributeError):
        return None
    return Recorded(key=key, folder=folder, record=record) if whole else None


def is_current(folder: Path, record_name: str, key: SaeKey, identity: Mapping[str, Any]) -> bool:
    """Return whether a folder holds everything of this identity."""
    found = read_recorded(folder, record_name, key)
    return found is not None and found.record["identity_digest"] == canonical.digest(dict(identity))


def table_bytes(table: "pa.Table") -> bytes:
    """Return a table as Parquet: the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def typed(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> "pa.Table":
    """Return rows as a table with exactly these columns.

    Args:
        rows: each with every column. columns: name → type as pyarrow writes it (``list<string>`` too).
    """
    import pyarrow as pa

    return pa.table(
        {name: pa.array([row[name] for row in rows], arrow_type(kind)) for name, kind in columns.items()},
    )


def arrow_type(kind: str) -> "pa.DataType":
    """Return the type of pyarrow with this name."""
    import pyarrow as pa

    if kind.startswith("list<"):
        return pa.list_(arrow_type(kind[5:-1]))
    return {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32(), "double": pa.float64(),
            "float": pa.float32(), "bool": pa.bool_()}[kind]  # fmt: skip
