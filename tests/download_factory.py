"""A downloaded release on disk for any test: every file under one folder beside its manifest, nothing wrong.

Made from the tiny study of ``study_factory`` without build, publish or download, so that what reads a release can be
tested on its own. The same arguments give the same bytes.
"""

import shutil
from pathlib import Path
from typing import Any

import study_factory

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, artifact_folder, read_cells
from release_kit.core.files import iter_files
from release_kit.core.grid import level_text
from release_kit.core.hashing import hash_file
from release_kit.core.manifest import MANIFEST_FILE, TENSORS_FILE, CellEntry, FileEntry, Manifest
from release_kit.core.results import Result, parquet_bytes, results_table
from release_kit.core.tensors_file import tensors_bytes

DATASET_CARD = """---
license: apache-2.0
pretty_name: Results of a tiny grid
language:
- en
configs:
- config_name: results
  data_files: results.parquet
---

# Results of a tiny grid

One row per cell, benchmark and metric.
"""


def make_download(folder: Path, **changes: Any) -> Manifest:
    """Write a download of the tiny study into ``folder``; ``changes`` are fields of ``StudySpec``."""
    study = study_factory.make_study(folder.with_name(f"{folder.name}-study"), **changes)
    cells, problems = read_cells(study.folder)
    assert not problems
    named = {"-".join(level_text(level) for level in cell.levels.values()): cell for cell in cells.values()}
    entries = []
    for name, cell in sorted(named.items()):
        target = folder / "cells" / name
        artifact = artifact_folder(study.folder, cell)
        if artifact.is_dir():
            shutil.copytree(artifact, target)
        _write(target / "README.md", f"# {name}\n".encode())
        _write(target / CELL_FILE, canonical.document_bytes(cell.to_dict()))
        tensors = {path: hash_file(target / path).tensors for path, _ in iter_files(target) if path.endswith("tensors")}
        if tensors:
            _write(target / TENSORS_FILE, tensors_bytes(tensors))
        kind = _kind(target)
        entries.append(
            CellEntry(cell_id=cell.cell_id, name=name, levels=cell.levels, kind=kind, files=_entries(target))
        )
    levels = {cell.cell_id: cell.levels for cell in cells.values()}
    _write(folder / "results" / "results.parquet", parquet_bytes(results_table(_results(sorted(levels)), levels)))
    _write(folder / "results" / "README.md", DATASET_CARD.encode())
    _write(folder / "index" / "README.md", b"---\nlicense: apache-2.0\n---\n\n# A tiny grid\n\nEight models.\n")
    manifest = Manifest(
        study=study.name,
        version=study.version,
        cells=tuple(entries),
        index=_entries(folder / "index"),
        results=_entries(folder / "results"),
    )
    _write(folder / MANIFEST_FILE, manifest.to_bytes())
    return manifest


def _results(cell_ids: list[str]) -> list[Result]:
    """Two rows per cell; one value is missing, as in real tables."""
    rows = []
    for index, cell_id in enumerate(cell_ids):
        source = f"cells/{cell_id}/eval/t.json"
        shared = {"cell_id": cell_id, "metric": "acc", "source": source, "source_sha256": "0" * 64}
        rows.append(Result(benchmark="arc_tiny", value=index / 10, n_shot=0, n=997, stderr=0.01, **shared))
        rows.append(Result(benchmark="copa_tiny", value=None if index == 0 else 0.5, n_shot=None, **shared))
    return rows


def _entries(folder: Path) -> tuple[FileEntry, ...]:
    return tuple(FileEntry.of(path, hash_file(folder / path)) for path, _ in iter_files(folder))


def _kind(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "adapter"
    return "weights" if (folder / "config.json").is_file() else "results-only"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
