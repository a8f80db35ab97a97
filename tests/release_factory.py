"""A small release in memory and on disk: real safetensors files, a real manifest, every file known byte by byte.

For tests of verify, repair and download, which need no study. The same arguments give the same bytes.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from study_factory import write_safetensors

from release_kit.core import canonical
from release_kit.core.cell import Cell
from release_kit.core.grid import cell_id_of
from release_kit.core.hashing import hash_file
from release_kit.core.manifest import MANIFEST_FILE, CellEntry, FileEntry, Manifest
from release_kit.core.tensors_file import tensors_bytes


@dataclass(frozen=True, kw_only=True)
class TinyRelease:
    """A release whose files are held in memory."""

    manifest: Manifest
    files: Mapping[str, bytes]
    """Tree path → content."""

    def write(self, root: Path) -> Path:
        """Write the release into ``root`` as a download and return ``root``."""
        for path, data in self.files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (root / MANIFEST_FILE).write_bytes(self.manifest.to_bytes())
        return root

    @property
    def manifest_sha256(self) -> str:
        """sha256 of ``manifest.json``."""
        return hashlib.sha256(self.manifest.to_bytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ReleaseSpec:
    """What ``make_release`` makes."""

    study: str = "tiny"
    version: str = "1.0.0"
    datasets: tuple[str, ...] = ("alpaca", "lima")
    seeds: tuple[int, ...] = (0, 1)
    n_values: int = 600
    """Values in each of a cell's four tensors."""
    shared: bytes = b'{"tokenizer": "the same in every cell"}\n'
    extra: Mapping[str, bytes] = field(default_factory=dict)
    """More files, by tree path."""


def make_release(folder: Path, **changes) -> TinyRelease:
    """Return a release; ``folder`` is used to hash its files and left empty of meaning."""
    spec = ReleaseSpec(**changes)
    groups: dict[str, dict[str, bytes]] = {
        "index": {"README.md": f"# {spec.study}\n".encode(), "figures/grid.svg": b"<svg/>\n"},
        "results": {"README.md": b"# results\n", "results.parquet": _bytes("results", 900)},
    }
    levels_of = {}
    for dataset in spec.datasets:
        for seed in spec.seeds:
            name = f"{dataset}-s{seed}"
            levels_of[name] = {"dataset": dataset, "seed": seed}
            groups[f"cells/{name}"] = _cell_files(spec, name, levels_of[name], folder)
    for path, data in spec.extra.items():
        depth = 2 if path.startswith("cells/") else 1
        parts = path.split("/", depth)
        groups["/".join(parts[:depth])][parts[depth]] = data
    cells = tuple(
        CellEntry(
            cell_id=cell_id_of(_config(spec, levels)),
            name=name,
            levels=levels,
            kind="weights",
            files=_entries(groups[f"cells/{name}"], folder),
        )
        for name, levels in levels_of.items()
    )
    manifest = Manifest(
        study=spec.study,
        version=spec.version,
        cells=cells,
        index=_entries(groups["index"], folder),
        results=_entries(groups["results"], folder),
    )
    files = {f"{group}/{path}": data for group, listed in groups.items() for path, data in listed.items()}
    return TinyRelease(manifest=manifest, files=files)


def _config(spec: ReleaseSpec, levels: dict) -> dict:
    return {"levels": levels, "settings": {}, "study": spec.study}


def _cell_files(spec: ReleaseSpec, name: str, levels: dict, folder: Path) -> dict[str, bytes]:
    config = _config(spec, levels)
    generator = np.random.default_rng(sum(name.encode()))
    tensors = {f"layer.{i}.weight": generator.standard_normal(spec.n_values).astype(np.float32) for i in range(4)}
    file = folder / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(file, tensors)
    weights = file.read_bytes()
    files = {
        "model.safetensors": weights,
        "config.json": canonical.document_bytes({"model_type": "llama", "name": name}),
        "tokenizer.json": spec.shared,
        "README.md": f"# {name} {spec.version}\n".encode(),
        "empty.txt": b"",
        "cell.json": canonical.document_bytes(Cell(cell_id=cell_id_of(config), levels=levels, config=config).to_dict()),
    }
    files["tensors.json"] = tensors_bytes({"model.safetensors": _digest("model.safetensors", weights, folder).tensors})
    return files


def _entries(files: Mapping[str, bytes], folder: Path) -> tuple[FileEntry, ...]:
    return tuple(FileEntry.of(path, _digest(path, data, folder)) for path, data in sorted(files.items()))


def _digest(path: str, data: bytes, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"being-hashed-{path.rpartition('/')[2]}"
    file.write_bytes(data)
    digest = hash_file(file)
    file.unlink()
    return digest


def _bytes(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)
