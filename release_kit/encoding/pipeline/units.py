"""One fit as a folder: its identity, its files, what makes it complete, and reading it back.

A folder's name ends in the digest of its identity; ``fit.json`` is written last and holds the digest of every file. So
a fit that is there and whole is the fit that was asked for, and anything else is made again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest, document_bytes, read_json
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import write_atomic
from release_kit.core.hashing import hash_file
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.pipeline.designs import Part

if TYPE_CHECKING:
    import pyarrow as pa

FITS = "fits"
FIT_FILE, VOXELS_FILE, PREDICTION_FILE = "fit.json", "voxels.parquet", "prediction.npy"
SCHEMA_VERSION = 1

OnDamage = Callable[[Path], None] | None
"""Told a file that is not what was recorded."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One model of one subject: a feature space, or several as bands.

    Attributes:
        subject: label.
        label: of the model in folder names.
        parts: the feature spaces; more than one are bands of one model.
        identity: everything that the fit depends on, as JSON.
    """

    subject: str
    label: str
    parts: tuple[Part, ...]
    identity: Mapping[str, Any]

    @cached_property
    def fit_id(self) -> str:
        """Name of the folder: subject, label, and the digest of the identity."""
        return f"sub-{self.subject}_{self.label}_{digest(self.identity)[:16]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A finished fit, read back.

    Attributes:
        unit: what was asked for.
        folder: where it lies.
        columns: of ``voxels.parquet``: alpha, cv_r, r, r2 (float32, NaN where there is none), reason (text or None).
        facts: counts, no part of the result.
    """

    unit: Unit
    folder: Path
    columns: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def fit_id(self) -> str:
        """Name of the folder."""
        return self.unit.fit_id

    @property
    def r(self) -> FloatArray:
        """(n_voxels,) held-out Pearson r."""
        return self.columns["r"]

    @property
    def cv(self) -> FloatArray:
        """(n_voxels,) score of cross-validation at the chosen alpha."""
        return self.columns["cv_r"]

    def prediction(self) -> FloatArray:
        """Return (n_held_out, n_voxels) float32 predictions, mapped from disk."""
        return np.load(self.folder / PREDICTION_FILE, mmap_mode="r")


def read_fit(folder: Path, unit: Unit, on_damage: OnDamage = None) -> Fitted | None:
    """Return a fit if it is whole and the one that is asked for, else None."""
    home = folder / FITS / unit.fit_id
    facts = read_complete(home, FIT_FILE, unit.identity, on_damage)
    if facts is None:
        return None
    return Fitted(unit=unit, folder=home, columns=read_columns(home / VOXELS_FILE), facts=facts["facts"])


def finish_fit(
    folder: Path, unit: Unit, columns: Mapping[str, npt.NDArray], reason: list[str | None], facts: Mapping[str, Any]
) -> Fitted:
    """Write the table of voxels and, last, ``fit.json``; the prediction must lie there already."""
    import pyarrow as pa

    home = folder / FITS / unit.fit_id
    table = {"voxel": pa.array(np.arange(len(reason)), pa.int32())}
    table |= {name: float_column(values) for name, values in columns.items()}
    write_table(home / VOXELS_FILE, pa.table({**table, "reason": pa.array(reason, pa.string())}))
    parts = [{"feature": p.feature, "layer": p.layer, "annotator": p.annotator} for p in unit.parts]
    record = {"subject": unit.subject, "label": unit.label, "parts": parts, "facts": dict(facts)}
    write_complete(home, FIT_FILE, unit.identity, (VOXELS_FILE, PREDICTION_FILE), record)
    return Fitted(unit=unit, folder=home, columns=read_columns(home / VOXELS_FILE), facts=facts)


def write_complete(
    home: Path, name: str, identity: Mapping[str, Any], files: tuple[str, ...], record: Mapping[str, Any]
) -> None:
    """Write the record that says a folder is complete, with the digest of each of its files."""
    listed = {file: _sha256(home / file) for file in files}
    document = {"schema_version": SCHEMA_VERSION, "identity": dict(identity), "files": listed, **record}
    write_atomic(home / name, document_bytes(document))


def read_complete(
    home: Path, name: str, identity: Mapping[str, Any], on_damage: OnDamage = None
) -> dict[str, Any] | None:
    """Return the record of a folder whose identity and files hold, else None.

    Args:
        home: the folder.
        name: of its record.
        identity: what it should be.
        on_damage: told each file of the folder that is not what was recorded.
    """
    damaged: list[Path] = []
    try:
        record = read_json(home / name)
        if record["schema_version"] != SCHEMA_VERSION or digest(record["identity"]) != digest(identity):
            return None
        files = dict(record["files"])
    except (ReleaseKitError, OSError, KeyError, TypeError, AttributeError):
        # Without a record the folder was not finished; one that cannot be read was.
        if not (home / name).is_file():
            return None
        damaged.append(home / name)
    else:
        damaged += [home / file for file, known in files.items() if not _holds(home / file, known)]
    for path in damaged if on_damage else ():
        on_damage(path)
    return None if damaged else record


def tell_damage(folder: Path, on_event: Callable[[Mapping[str, Any]], None]) -> Callable[[Path], None]:
    """Return what notes a damaged file, by its path in the folder of an analysis."""

    def tell(path: Path) -> None:
        state = "is not what was recorded" if path.exists() else "is missing"
        on_event({"event": "note", "text": f"{path.relative_to(folder).as_posix()} {state}: made again"})

    return tell


def _holds(path: Path, known: str) -> bool:
    try:
        return path.is_file() and _sha256(path) == known
    except OSError:
        return False


def read_columns(path: Path) -> dict[str, Any]:
    """Return the columns of a table of voxels: numbers as arrays with NaN for nothing, text as a list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    found: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_floating(column.type):
            found[name] = column.to_numpy().astype(np.float32)
        else:
            found[name] = column.to_pylist()
    return found


def float_column(values: npt.NDArray) -> "pa.Array":
    """Return a float32 column in which NaN is nothing."""
    import pyarrow as pa

    exact = np.asarray(values, np.float32)
    return pa.array(exact, pa.float32(), mask=~np.isfinite(exact))


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a Parquet file; the same table gives the same bytes."""
    from release_kit.core.results import parquet_bytes

    write_atomic(path, parquet_bytes(table))


def _sha256(path: Path) -> str:
    return hash_file(path, tensors=False, git=False).sha256
