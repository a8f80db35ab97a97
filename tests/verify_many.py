"""A release of very many small cells, written fast: for tests of speed and for the benchmark of verify."""

import hashlib
from pathlib import Path

from release_kit.core.manifest import MANIFEST_FILE, CellEntry, FileEntry, Manifest

NAMES = ("README.md", "adapter_config.json", "adapter_model.safetensors", "cell.json", "tensors.json", "tokenizer.json")


def write_many(root: Path, *, n_cells: int, size_bytes: int = 2000) -> Path:
    """Write a download of ``n_cells`` cells of six files each into ``root`` and return it."""
    cells = []
    for number in range(n_cells):
        folder = root / "cells" / f"cell-{number:05}"
        folder.mkdir(parents=True)
        files = tuple(_write(folder / name, f"{number} {name} ".encode() * (size_bytes // 20)) for name in NAMES)
        cells.append(
            CellEntry(
                cell_id=f"{number:012x}",
                name=folder.name,
                levels={"number": number},
                kind="adapter",
                files=files,
            )
        )
    (root / "index").mkdir()
    (root / "results").mkdir()
    index = tuple(_write(root / "index" / name, name.encode()) for name in ("README.md", "figure.svg"))
    results = tuple(_write(root / "results" / name, name.encode()) for name in ("README.md", "results.parquet"))
    manifest = Manifest(study="many", version="1.0.0", cells=tuple(cells), index=index, results=results)
    (root / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return root


def _write(path: Path, data: bytes) -> FileEntry:
    path.write_bytes(data)
    return FileEntry(path=path.name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
