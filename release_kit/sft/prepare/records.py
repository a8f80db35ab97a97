"""``base.json``, and how data files are written with their records.

Both records say where bytes came from and under which licence; each is written last, so that its presence means a whole
file. Making the content belongs to ``sources.py`` and ``bases.py``; a data file's record is ``sft/data/record.py``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import IntegrityError
from release_kit.core.files import write_atomic
from release_kit.core.records import Fields, check_schema_version
from release_kit.sft.data.record import DataRecord, read_record, record_path, write_record

SCHEMA_VERSION = 1
BASE_FILE = "base.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class BaseRecord:
    """Where the weights of a base model's folder came from. ``from_dict(to_dict(base)) == base``."""

    name: str
    license: str
    source: Mapping[str, Any]
    """``{"gguf": …}`` (package, version, file, sha256) or ``{"pretrain": …}`` (recipe, texts with digests, losses)."""
    n_parameters: int
    weights_sha256: str
    """Digest of ``model.safetensors`` in this folder."""
    hub_id: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Libraries that made the bytes."""

    def summary(self) -> str:
        """Return one line for people."""
        where = "pre-trained here" if "pretrain" in self.source else f"from {self.source['gguf']['package']}"
        if facts := self.source.get("pretrain", {}).get("facts"):
            where += f", held-out loss {facts['first_loss']:.2f} → {facts['final_loss']:.2f}"
        size = f"{self.n_parameters / 1e6:.3g} M parameters"
        return f"{self.name}: {size} ({self.license}) {where}, sha256 {self.weights_sha256[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any, where: str = BASE_FILE) -> "BaseRecord":
        """Read the JSON form.

        Raises:
            RecordError: a key is missing, unknown, or of another type.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        record = cls(
            **{name: fields.take(name, str) for name in ("name", "license", "weights_sha256")},
            source=fields.take("source", dict),
            n_parameters=fields.take("n_parameters", int),
            hub_id=fields.take("hub_id", str, None),
            versions=fields.take("versions", dict, {}),
        )
        fields.done()
        return record


def write_examples(folder: Path, rows: Iterable[Mapping[str, Any]], **facts: Any) -> DataRecord:
    """Write ``<name>.jsonl`` and then ``<name>.json``; files that already hold the same bytes stay untouched.

    Examples without a record are those of an interrupted call, or somebody's own; the latter are never overwritten.

    Args:
        folder: the study's ``data``.
        rows: the examples, in the order that the file shall have.
        facts: the fields of ``DataRecord`` but those that are counted here.

    Raises:
        IntegrityError: other examples without a record lie there.
    """
    lines = [canonical.canonical_bytes(row) + b"\n" for row in rows]
    data = b"".join(lines)
    record = DataRecord(**facts, n_examples=len(lines), sha256=hashlib.sha256(data).hexdigest())
    path = folder / f"{record.name}.jsonl"
    if path.is_file() and read_record(path) is None and path.read_bytes() != data:
        what = f"holds other examples than {record.source} {record.source_version}, and no record says whose"
        step = f"write {record_path(path).name} for your own data, give them another name, or remove the file"
        raise IntegrityError(what, where=str(path), next_step=step)
    write_atomic(path, data)
    write_record(path, record)
    return record


def read_base_record(folder: Path) -> BaseRecord:
    """Read ``base.json`` of a finished base model's folder.

    Raises:
        RecordError: the folder is not finished, or the file is not valid.
    """
    return BaseRecord.from_dict(canonical.read_json(folder / BASE_FILE), str(folder / BASE_FILE))
