"""Whether the merged tables are those of the study as it is declared now, byte for byte.

Owns what ``tables.json`` says of the study's settings, and what is held against it before anything is made of tables.
"""

import json
from dataclasses import asdict
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.hashing import hash_file
from release_kit.sae.errors import SaeError
from release_kit.sae.measure.dictionary import meanings_source
from release_kit.sae.pipeline.identity import changes
from release_kit.sae.pipeline.paths import TABLES
from release_kit.sae.prepare.meanings import words_digest
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.labels import read_labels

TABLES_FILE = "tables.json"
SCHEMA_VERSION = 2
"""2: with the settings of the study."""
_DECIDES = ("text", "language_model", "models", "layers", "seeds", "sae", "training", "classify", "intervene")
_CHANGES_NOTHING = {"text": ("licence", "attribution"), "training": ("checkpoint_every",)}
_NEXT = "release-kit sae run makes what is missing and writes the tables anew"


def settings_of(study: SaeStudy) -> dict[str, Any]:
    """Return everything declared that decides a number in the tables, as JSON: tables of words and labels by digest.

    Raises:
        SaeError: a table that the study names cannot be read.
    """
    whole = json.loads(json.dumps({name: value for name, value in asdict(study).items() if name in _DECIDES}))
    for section, names in _CHANGES_NOTHING.items():
        whole[section] = {name: value for name, value in whole[section].items() if name not in names}
    if study.classify.meanings:
        whole["classify"]["meanings"] = words_digest(meanings_source(study))
    if study.classify.labels:
        whole["classify"]["labels"] = canonical.digest(
            [[key.name, feature, label] for (key, feature), label in read_labels(study).items()]
        )
    return whole


def refuse_other_tables(study: SaeStudy) -> None:
    """Refuse tables of a study that was declared otherwise, and tables that are not what was written.

    Raises:
        SaeError: names what differs.
    """
    settings, damaged = _looked_at(study)
    if other := changes(settings, settings_of(study)):
        what = f"the tables are of a study that was declared otherwise: {other}"
        raise SaeError(what, where=str(study.file), next_step=f"restore it, or {_NEXT}")
    _refuse(study, damaged)


def refuse_damaged_tables(study: SaeStudy) -> None:
    """Refuse tables that are not what was written, whatever was declared then.

    Raises:
        SaeError: names them.
    """
    _refuse(study, _looked_at(study)[1])


def _looked_at(study: SaeStudy) -> tuple[dict[str, Any], list[str]]:
    """Return what the study declared when the tables were written, and which of them are not what was written."""
    folder = study.folder / TABLES
    path = folder / TABLES_FILE
    try:
        record = canonical.read_json(path)
        if record["schema_version"] != SCHEMA_VERSION:
            raise SaeError("was written by another version of release_kit", where=str(path), next_step=_NEXT)
        files = dict(record["files"])
        return dict(record["settings"]), [
            name for name, said in files.items() if not _holds(folder / name, said["sha256"])
        ]
    except (OSError, RecordError, KeyError, TypeError, ValueError) as error:
        raise SaeError("is missing, or no record of tables", where=str(path), next_step=_NEXT) from error


def _refuse(study: SaeStudy, damaged: list[str]) -> None:
    if damaged:
        what = f"not what {TABLES_FILE} says: {', '.join(f'{TABLES}/{name}' for name in damaged)}"
        raise SaeError(what, where=str(study.folder), next_step=_NEXT)


def _holds(path: Any, sha256: str) -> bool:
    return path.is_file() and hash_file(path).sha256 == sha256
