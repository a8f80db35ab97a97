"""The tables of a study, merged from the files of its finished autoencoders: always made again, the same bytes.

``tables.json`` says what the study asked for, and names every file that a row can come from, with its digest. Features
are matched once for each pair of autoencoders: what was found stays in ``tables/matches/`` under the digests of both.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core import canonical
from release_kit.core.files import write_atomic
from release_kit.sae.errors import SaeError
from release_kit.sae.measure import write
from release_kit.sae.measure.write import Recorded, arrow_type, read_recorded, table_bytes, typed
from release_kit.sae.pipeline.paths import (
    INTERVENTION_FILE,
    MEASURE_FILE,
    MEASURES,
    TABLES,
    SaeKey,
    intervention_folder,
    measure_folder,
)
from release_kit.sae.pipeline.plan import keys
from release_kit.sae.pipeline.read import FinishedSae, is_finished, read_finished
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.effects import effect_rows
from release_kit.sae.tables.intact import SCHEMA_VERSION, TABLES_FILE, settings_of
from release_kit.sae.tables.labels import label_rows
from release_kit.sae.tables.matches import Matches, link_rows, stability_rows
from release_kit.sae.tables.nulls import null_rows
from release_kit.sae.tables.schema import (
    CELL,
    CONTEXT_ROW,
    EFFECT_ROW,
    LABEL_ROW,
    LINKS,
    METRIC_ROW,
    NULL_ROW,
    STABILITY_ROW,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What was written.

    Attributes:
        folder: ``tables/`` of the study.
        tables: name (``saes``, ``features`` …) → table.
        record: ``tables.json``.
    """

    folder: Path
    tables: "Mapping[str, pa.Table]"
    record: Mapping[str, Any]


def build_tables(study: SaeStudy, report: Callable[[str, int, int], None] | None = None) -> Tables:
    """Write the tables of everything that is measured so far, and return them.

    Args:
        study: with ``measures/`` and ``interventions/``.
        report: told how far it is.

    Raises:
        SaeError: nothing is measured, or a file is not what its record says.
    """
    told = report or (lambda stage, i, n: None)
    measured = [one for key in keys(study) if (one := _measured(study, key))]
    if not measured:
        raise SaeError("nothing is measured yet", where=str(study.folder), next_step="release-kit sae run measures")
    intervened = [one for key in keys(study) if (one := _intervened(study, key))]
    folder = study.folder / TABLES
    matches = Matches(folder, told)
    saes = [read_finished(study.folder, one.key) for one in measured if is_finished(study.folder, one.key)]
    alive = {one.key: _alive(one) for one in measured}
    found = {
        "saes": _merged(measured, write.METRICS, METRIC_ROW, with_source=True),
        "features": _merged(measured, write.FEATURES, None),
        "contexts": _merged(measured, write.CONTEXTS, CONTEXT_ROW),
        "nulls": typed(list(null_rows(measured)), {**CELL, **NULL_ROW}),
        "links": typed(list(link_rows(saes, alive, matches)), LINKS),
        "stability": typed(list(stability_rows(saes, alive, matches)), {**CELL, **STABILITY_ROW}),
        "effects": typed(list(effect_rows(intervened, study.intervene.bootstrap)), {**CELL, **EFFECT_ROW}),
    }
    if study.classify.labels:
        found["labels"] = typed(list(label_rows(study, found["features"])), {**CELL, **LABEL_ROW})
    else:
        (folder / "labels.parquet").unlink(missing_ok=True)
    return _write(study, folder, found, measured, intervened, saes)


def _write(
    study: SaeStudy, folder: Path, found: "Mapping[str, pa.Table]", measured: Sequence[Recorded],
    intervened: Sequence[Recorded], saes: Sequence[FinishedSae],
) -> Tables:  # fmt: skip
    files = {}
    for name, table in found.items():
        data = table_bytes(table)
        write_atomic(folder / f"{name}.parquet", data)
        files[f"{name}.parquet"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                                    "rows": table.num_rows, "columns": table.schema.names}  # fmt: skip
    sources = {
        f"{recorded.folder.relative_to(study.folder).as_posix()}/{name}": said["sha256"]
        for recorded in (*measured, *intervened)
        for name, said in recorded.record["files"].items()
    }
    record = {
        "schema_version": SCHEMA_VERSION, "study": study.name, "settings": settings_of(study),
        "files": files, "sources": sources,
        "saes": {one.key.name: one.files_digest for one in saes},
        "missing": [key.name for key in keys(study) if key not in {one.key for one in measured}],
    }  # fmt: skip
    write_atomic(folder / TABLES_FILE, canonical.document_bytes(record))
    return Tables(folder=folder, tables=dict(found), record=record)


def _measured(study: SaeStudy, key: SaeKey) -> Recorded | None:
    return read_recorded(measure_folder(study.folder, key), MEASURE_FILE, key)


def _intervened(study: SaeStudy, key: SaeKey) -> Recorded | None:
    return read_recorded(intervention_folder(study.folder, key), INTERVENTION_FILE, key)


def _merged(
    measured: Sequence[Recorded], name: str, columns: Mapping[str, str] | None, *, with_source: bool = False
) -> "pa.Table":
    """Return the rows of one file of all autoencoders, each with its autoencoder before it."""
    import pyarrow as pa

    return pa.concat_tables(list(_with_cell(measured, name, columns, with_source)))


def _with_cell(
    measured: Sequence[Recorded], name: str, columns: Mapping[str, str] | None, with_source: bool
) -> "Iterator[pa.Table]":
    import pyarrow as pa

    for one in measured:
        table = one.table(name).replace_schema_metadata(None)
        head = {column: getattr(one.key, column) for column in CELL}
        data = {column: pa.array([value] * table.num_rows, arrow_type(CELL[column])) for column, value in head.items()}
        if with_source:
            source = "/".join((MEASURES, *one.key.parts, name))
            table = table.append_column("source", pa.array([source] * table.num_rows, pa.string()))
        kept = table.select([*(columns or table.schema.names), *(["source"] if with_source and columns else [])])
        yield pa.table({**data, **{column: kept.column(column) for column in kept.schema.names}})


def _alive(one: Recorded) -> Any:
    import numpy as np

    return np.asarray(one.table(write.FEATURES).column("density")) > 0
