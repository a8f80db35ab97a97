"""Conversion of recordings against plain gzip of the same volumes: throughput on all cores, memory, second call.

    python benchmarks/bids.py [--volumes 120] [--runs 4] [--rounds 3] [--workers N]

Runs of 96 x 96 x 72 voxels (int16, smooth signal and noise) are written as ``.nii`` and as ``.nii.gz``. Compared are
gzip of the same level on the same bytes in memory (Python's zlib, one process), the ``gzip`` program from file to file,
the compressor that conversion uses (zlib-ng) in memory, and our conversion: one run on one core, then all runs over all
cores. The bar is 0.8 x cores x gzip for runs from ``.nii``; those from ``.nii.gz`` are inflated as well. Ways take
turns; nothing else should be running (where something is, the ratio of CPU seconds still holds). Peak memory is that of
a fresh process. Peers: ``bids_peers.py``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from release_kit.bids.recordings.header import ImageFacts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_header import build_header
from release_kit.bids.recordings.nifti_write import LEVEL, write_nifti_gz
from release_kit.bids.recordings.packing import deflater, packer_version

SHAPE = (96, 96, 72)
BAR = 0.8


def main() -> int:
    """Run the benchmark and print one JSON object; return 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=120)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = [make_run(folder, index, options.volumes) for index in range(options.runs)]
        report = measure(sources, folder, options)
        report["memory"] = memory(folder, options.volumes)
    print(json.dumps(report, indent=1))
    return int(report["ratio of all cores to cores x gzip"]["from .nii"] < BAR)


def make_run(folder: Path, seed: int, n: int) -> Path:
    """Write one run as ``.nii`` and ``.nii.gz``: a smooth head in air, drifting, with noise of a scanner's size."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij")
    radius = sum(axis**2 for axis in axes)
    head = np.where(radius < 0.8, 900 + 300 * np.cos(3 * radius), 12)
    facts = ImageFacts(
        shape=SHAPE, n_volumes=n, n_dims=4, voxel_mm=(2, 2, 2), tr_s=1.0, tr_unit_known=True, dtype="int16",
        affine=((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 1)), orientation="RAS", sform_code=1,
    )  # fmt: skip
    path = folder / f"run{seed}.nii"
    with open(path, "wb") as stream:
        stream.write(build_header(facts))
        for volume in range(n):
            noise = random.normal(0, 8, SHAPE) + np.sin(volume / 9) * 4
            stream.write(np.maximum(head + noise, 0).astype("<i2").tobytes(order="F"))
    with open_image(path) as image:
        write_nifti_gz(path.with_suffix(".nii.gz"), image.header, image.volumes(), durable=False)
    return path


def measure(sources: list[Path], folder: Path, options: argparse.Namespace) -> dict:
    """Return seconds of every way, by turns, and what follows from their medians."""
    content = sources[0].read_bytes()
    size_mb, workers = len(content) / 1e6, options.workers
    zipped = [path.with_suffix(".nii.gz") for path in sources]
    ways: dict[str, Callable[[], object]] = {
        "zlib, one run in memory": lambda: zlib.compress(content, LEVEL),
        "zlib-ng, one run in memory": lambda: deflater(LEVEL).compress(content),
        "gzip program, one run": lambda: gzip_program(sources[0], folder / "gzip.gz"),
        "ours, one run from .nii": lambda: convert(sources[0], folder / "one.nii.gz"),
        "ours, one run from .nii.gz": lambda: convert(zipped[0], folder / "one.nii.gz"),
        "ours, all runs from .nii": lambda: convert_all(sources, folder, workers),
        "ours, all runs from .nii.gz": lambda: convert_all(zipped, folder, workers),
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            wall, cpu = timed(way)
            walls[name].append(round(wall, 3))
            cpus[name].append(round(cpu, 3))
    gzip_rate = size_mb / statistics.median(walls["zlib, one run in memory"])
    rates = {
        source: size_mb * len(sources) / statistics.median(walls[f"ours, all runs {source}"])
        for source in ("from .nii", "from .nii.gz")
    }
    gzip_cpu, ng_cpu = (
        statistics.median(cpus[f"{one}, one run in memory"]) * len(sources) for one in ("zlib", "zlib-ng")
    )
    return {
        "runs": len(sources), "volumes": options.volumes, "MB a run": round(size_mb, 1), "workers": workers,
        "zlib": zlib.ZLIB_RUNTIME_VERSION, "packer": packer_version(), "level": LEVEL, "wall s": walls, "CPU s": cpus,
        "MB/s": {"zlib, one core": round(gzip_rate, 1)} | {k: round(v, 1) for k, v in rates.items()},
        "ratio of all cores to cores x gzip": {k: round(v / gzip_rate / workers, 2) for k, v in rates.items()},
        "the same by CPU seconds": {
            source: round(gzip_cpu / statistics.median(cpus[f"ours, all runs {source}"]), 2) for source in rates
        },
        "and to zlib-ng by CPU seconds": {
            source: round(ng_cpu / statistics.median(cpus[f"ours, all runs {source}"]), 2) for source in rates
        },
    }  # fmt: skip


def convert(source: Path, out: Path) -> str:
    """Convert one run with everything conversion does: source digest, digests of the result, fsync."""
    with open_image(source) as image:
        written = write_nifti_gz(out, image.header, image.volumes())
        return image.digest() + written.sha256


def convert_all(sources: list[Path], folder: Path, workers: int) -> list[str]:
    """Convert all runs over ``workers`` processes."""
    outs = [folder / f"{path.stem}.out.nii.gz" for path in sources]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(convert, sources, outs))


def gzip_program(source: Path, out: Path) -> None:
    """Run ``gzip`` from file to file."""
    with open(out, "wb") as stream:
        subprocess.run(["gzip", f"-{LEVEL}", "-n", "-c", str(source)], stdout=stream, check=True)


def timed(way: Callable[[], object]) -> tuple[float, float]:
    """Return wall seconds and CPU seconds, those of child processes included."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    way()
    wall = time.perf_counter() - start
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))
    return wall, cpu


def memory(folder: Path, n: int) -> dict[str, float]:
    """Return the peak memory of a fresh process: before any volume, and after a short and the whole run.

    Not by ``getrusage``: its peak of a child begins with what its parent held.
    """
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from release_kit.bids.recordings.image import open_image\n"
        "from release_kit.bids.recordings.nifti_write import write_nifti_gz\n"
        "import itertools\n"
        "with open_image(Path(sys.argv[1])) as image:\n"
        "    n = int(sys.argv[3])\n"
        "    volumes = itertools.islice(image.volumes(), n)\n"
        "    write_nifti_gz(Path(sys.argv[2]), replace(image.header, n_volumes=n), volumes)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)\n"
    )
    peaks = {}
    for volumes in (1, 10, n):
        command = [sys.executable, "-c", code, str(folder / "run0.nii.gz"), str(folder / "m.nii.gz"), str(volumes)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[f"MiB at {volumes} volumes"] = round(float(ran.stdout), 1)
    return peaks | {"MiB a volume": round(np.prod(SHAPE) * 2 / 2**20, 2)}


if __name__ == "__main__":
    sys.exit(main())
