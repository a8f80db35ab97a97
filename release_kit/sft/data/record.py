"""``data/<name>.json``: where the examples of one dataset came from, and the digest that they must have.

Owns the record and its strict reader. Who makes the files is ``prepare/``; the examples are read by ``examples.py``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import write_atomic
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """Where the examples of one file came from. ``from_dict(to_dict(record)) == record``."""

    name: str
    license: str
    source: str
    """The package, repository or site that the examples were taken from."""
    source_version: str
    n_examples: int
    sha256: str
    """Digest of the ``.jsonl`` file."""
    hub_id: str | None = None
    """Dataset on the Hub that is the same data's home, if there is one."""

    def summary(self) -> str:
        """Return one line for people."""
        home = f" of {self.hub_id}" if self.hub_id else ""
        return (
            f"{self.name}: {self.n_examples:,} examples{home} ({self.license}) "
            f"from {self.source} {self.source_version}, sha256 {self.sha256[:12]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk; what is not known is left out."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {"schema_version": SCHEMA_VERSION, **values}

    @classmethod
    def from_dict(cls, value: Any, where: str) -> "DataRecord":
        """Read the JSON form.

        Raises:
            RecordError: a key is missing, unknown, or of another type.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        texts = ("name", "license", "source", "source_version", "sha256")
        record = cls(
            **{name: fields.take(name, str) for name in texts},
            n_examples=fields.take("n_examples", int),
            hub_id=fields.take("hub_id", str, None),
        )
        fields.done()
        return record


def record_path(data_path: Path) -> Path:
    """Return where the record of ``data/<name>.jsonl`` lies: ``data/<name>.json``."""
    return data_path.with_suffix(".json")


def write_record(data_path: Path, record: DataRecord) -> None:
    """Write the record beside its examples; call this after the examples are on disk."""
    write_atomic(record_path(data_path), canonical.document_bytes(record.to_dict()))


def read_record(data_path: Path) -> DataRecord | None:
    """Read the record of a data file; None where there is none.

    Raises:
        RecordError: it is not a valid record.
    """
    path = record_path(data_path)
    if path == data_path or not path.is_file():
        return None
    return DataRecord.from_dict(canonical.read_json(path), str(path))
