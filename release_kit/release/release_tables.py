"""The tables of a release beside its results: the index of its cells, and what else a study measured.

``results/cells.parquet`` is made here, one row a cell, to filter before fetching. Tables that other rooms left under
``tables/`` (properties of datasets, changes of layers) go into the release as they lie, as sources of the results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from release_kit.core.errors import RecordError
from release_kit.core.manifest import FileEntry
from release_kit.core.results import level_array


def cells_table(sources: Sequence, names: Mapping[str, str], files: Mapping[str, tuple[FileEntry, ...]]):
    """Return the Arrow table of a release's cells.

    Args:
        sources: cells in the order of the grid, each with ``cell_id``, ``levels`` and ``kind``.
        names: cell_id → name.
        files: cell_id → entries of its artifact.

    Returns:
        Columns ``name``, ``cell_id``, ``kind``, one for each factor, ``n_files``, ``size_bytes`` and
        ``weights_digest``: one digest of all tensors of the cell, null where it has none. Equal digests are equal
        weights.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {
        "name": pa.array([names[s.cell_id] for s in sources], pa.string()),
        "cell_id": pa.array([s.cell_id for s in sources], pa.string()),
        "kind": pa.array([s.kind for s in sources], pa.string()),
    }
    for factor in sources[0].levels:
        columns[factor] = level_array([s.levels[factor] for s in sources])
    columns["n_files"] = pa.array([len(files[s.cell_id]) for s in sources], pa.int64())
    columns["size_bytes"] = pa.array([sum(e.size_bytes for e in files[s.cell_id]) for s in sources], pa.int64())
    columns["weights_digest"] = pa.array([weights_digest(files[s.cell_id]) for s in sources], pa.string())
    return pa.table(columns)


MEASURED_TABLES = ("dataset_properties", "language_shares", "layer_changes")
"""Names of tables under ``tables/`` that a release takes along; ``dataset_cards/columns.yaml`` says what they hold."""


def measured_tables(study_folder: Path) -> dict[str, int]:
    """Return {path relative to the study: number of rows} of the measured tables that are there.

    Raises:
        RecordError: one of them is not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = {}
    for name in MEASURED_TABLES:
        path = study_folder / "tables" / f"{name}.parquet"
        if path.is_file():
            try:
                found[f"tables/{name}.parquet"] = pq.ParquetFile(path).metadata.num_rows
            except (OSError, pa.ArrowInvalid) as error:
                step = "make the table again (release-kit sft measure, release-kit sae release)"
                raise RecordError("is not a Parquet table", where=str(path), next_step=step) from error
    return found


def weights_digest(files: Sequence[FileEntry]) -> str | None:
    """Return one digest of all tensors of a cell, or None: a single file's own, else that of all files' together."""
    from release_kit.core.canonical import digest

    summaries = sorted(entry.tensors.digest for entry in files if entry.tensors is not None)
    if len(summaries) <= 1:
        return summaries[0] if summaries else None
    return digest(summaries)
