"""Is what is about to be released what the study asks for: autoencoders, measurements of these, tables of those.

Measurements name their autoencoder, tables their measurements and what the study declared when they were written.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.sae.errors import SaeError
from release_kit.sae.grid.stale import find_all_stale
from release_kit.sae.grid.units import plan_units
from release_kit.sae.pipeline.paths import MEASURE_FILE, TABLES, measure_folder
from release_kit.sae.pipeline.read import FinishedSae
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.intact import TABLES_FILE, refuse_other_tables


def refuse_outdated(study: SaeStudy, finished: Sequence[FinishedSae]) -> None:
    """Refuse what was made from something else than the study asks for now, and tables of other measurements.

    A model that is no longer there hides nothing: autoencoders name its digest, and so does the release.

    Raises:
        SaeError: names what is of an earlier time or declaration; the tables are missing or were changed.
    """
    study_folder = study.folder
    refuse_other_tables(study)
    wrong = [one.sentence() for one in find_all_stale(study, plan_units(study)) if not one.unknown]
    wrong += [
        f"{one.key.title} was measured before it was made as it is now"
        for one in finished
        if _is_other(one, study_folder)
    ]
    record = _record(study_folder / TABLES / TABLES_FILE)
    read = record.get("saes", {})
    for one in finished:
        if one.key.name in read and read[one.key.name] != one.files_digest:
            wrong.append(f"the tables are of another autoencoder {one.key.title}")
    for name, said in record["sources"].items():
        if _sha256(study_folder / name) != _digest(said):
            wrong.append(f"the tables are of another {name}")
    if wrong:
        shown = "; ".join(wrong[:5]) + (f"; … and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        step = "release-kit sae run measures again and writes the tables anew (with --redo-stale what is stale)"
        raise SaeError(f"cannot be released: {shown}", where=str(study_folder), next_step=step)


def _is_other(one: FinishedSae, study_folder: Path) -> bool:
    path = measure_folder(study_folder, one.key) / MEASURE_FILE
    if not path.is_file():
        return False
    try:
        identity = canonical.read_json(path)["identity"]
        return (identity["sae"], identity["sae_files"]) != (one.identity_digest, one.files_digest)
    except (RecordError, KeyError, TypeError):
        return True


def _record(path: Path) -> dict:
    try:
        found = canonical.read_json(path)
    except (OSError, RecordError) as error:
        step = "release-kit sae run measures and writes the tables"
        raise SaeError("the tables are missing or damaged", where=str(path), next_step=step) from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in ("files", "sources")):
        raise SaeError("is no record of tables", where=str(path), next_step="release-kit sae run writes it again")
    return found


def _digest(said: object) -> str | None:
    return said.get("sha256") if isinstance(said, dict) else said if isinstance(said, str) else None


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
