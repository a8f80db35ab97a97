"""Encoding fits beside himalaya, in turns in one run: wall, CPU seconds, peak memory, and whether results are equal.

    python benchmarks/encoding.py kernel --rounds 3          # 3,000 samples, 4 x 1,024 features, 10,000 voxels
    python benchmarks/encoding.py many --rounds 3            # 12 layers x 3 levels of one subject
    python benchmarks/encoding.py banded --rounds 3
    python benchmarks/encoding.py permutation --rounds 3
    python benchmarks/encoding.py large --rounds 1          # 22,262 samples, 88,000 voxels: does memory stay bounded
    python benchmarks/encoding.py kernel --small             # seconds, to see that it runs

Every measurement is a process of its own, on inputs that lie in a file; imports and a tiny fit come before the clock
starts. Only an otherwise idle machine gives a ranking. What is measured stands in ``encoding_<name>.py``:
``WAYS``, ``make(small)``, ``tiny()``, ``work(inputs, way)``, ``compare(results)``, and ``scale(way)`` where a way does
only a part of the work that its figures stand for.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np

NAMES = ("kernel", "many", "banded", "permutation", "large")


def main() -> None:
    """Run one benchmark and print one JSON object: every repetition, medians, ratios, and how equal results are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny problem: shows that it runs, not who is faster")
    parser.add_argument("--ways", nargs="*", help="only these ways")
    parser.add_argument("--threads", type=int, default=0, help="threads of every process; 0: as the machine has cores")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    module = importlib.import_module(f"encoding_{options.name}")
    if options.child:
        print(json.dumps(measure(module, Path(options.child[0]), options.child[1])))
        return
    with tempfile.TemporaryDirectory(prefix="encoding-bench-") as folder:
        print(json.dumps(run(module, Path(folder), options), indent=1))


def run(module: ModuleType, folder: Path, options: argparse.Namespace) -> dict:
    """Return the figures of every way; the ways take turns within a round."""
    np.savez(folder / "inputs.npz", **module.make(options.small))
    ways = tuple(options.ways or module.WAYS)
    every: dict[str, list[dict]] = {way: [] for way in ways}
    load = os.getloadavg()
    for _ in range(options.rounds):
        for way in ways:
            every[way].append(run_child(options, folder, way))
            print(json.dumps({way: every[way][-1]}), file=sys.stderr, flush=True)
    middle = {
        way: {name: round(float(np.median([one[name] for one in found])), 3) for name in found[0]}
        for way, found in every.items()
    }
    first = middle[ways[0]]
    results = {way: dict(np.load(folder / f"{way}.npz")) for way in ways}
    return {
        "name": options.name,
        "small": options.small,
        "rounds": options.rounds,
        "load_before": [round(one, 2) for one in load],
        "every": every,
        "median": middle,
        "wall_over_" + ways[0]: {way: round(one["wall_s"] / first["wall_s"], 2) for way, one in middle.items()},
        "cpu_over_" + ways[0]: {way: round(one["cpu_s"] / first["cpu_s"], 2) for way, one in middle.items()},
        "equal": module.compare(results),
    }


def run_child(options: argparse.Namespace, folder: Path, way: str) -> dict:
    """Measure one way in a process of its own."""
    environment = dict(os.environ)
    if options.threads:
        environment |= {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, options.name, "--child", str(folder), way]
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def measure(module: ModuleType, folder: Path, way: str) -> dict:
    """Do the work of one way in this process and keep its result for the comparison."""
    module.work(module.tiny(), way)
    with np.load(folder / "inputs.npz") as stored:
        inputs = dict(stored)
    before = memory_mb("VmRSS")
    start, wall = time.process_time(), time.perf_counter()
    found = module.work(inputs, way)
    wall, cpu = time.perf_counter() - wall, time.process_time() - start
    peak = memory_mb("VmHWM")
    np.savez(folder / f"{way}.npz", **found)
    scale = module.scale(way) if hasattr(module, "scale") else 1.0
    return {
        "wall_s": round(scale * wall, 3),
        "cpu_s": round(scale * cpu, 3),
        "peak_mb": round(peak, 1),
        "peak_mb_above_inputs": round(peak - before, 1),
    }


def memory_mb(field: str) -> float:
    """Return a figure of this process; not ru_maxrss: a child inherits the peak of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()
