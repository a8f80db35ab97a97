"""Training autoencoders beside SAELens and sparsify, in turns in one run: wall, CPU seconds, peak memory, quality.

    python benchmarks/sae.py step --peers PYTHON                    # d = 768, n = 12,288, k = 32, batches of 4,096
    python benchmarks/sae.py step --peers PYTHON --steps 60 --rounds 1   # held-out quality after more steps
    python benchmarks/sae.py step --peers PYTHON --small            # seconds, to see that it runs
    python benchmarks/sae.py grid --peers PYTHON                    # a grid beside SAELens cell by cell; also --small

PYTHON is the interpreter of an environment of its own with torch, sae-lens and eai-sparsify; without it only ours run.
Every measurement is a process of its own; imports, inputs and a tiny step come before the clock starts, and memory is
counted above what was resident then. Only an otherwise idle machine gives a ranking. What a step is stands in
``sae_<name>.py``: ``WAYS``, ``PEERS``, ``make(small)``, ``tiny()``, ``load(inputs, n_steps)``, ``work(problem, way)``,
``compare(inputs, results)``. ``sae_grid.py`` runs its own ways: ``run(folder, options)`` and ``work(folder, way)``.
"""

import argparse
import functools
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

NAMES = ("step", "grid")


def main() -> None:
    """Run one benchmark and print one JSON object: every repetition, medians, ratios, equality and quality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of every process, after one that is not")
    parser.add_argument("--small", action="store_true", help="a tiny problem: shows that it runs, not who is faster")
    parser.add_argument("--ways", nargs="*", help="only these ways")
    parser.add_argument("--peers", help="the interpreter that has the other libraries")
    parser.add_argument("--threads", type=int, default=0, help="threads of every process; 0: as the machine has cores")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    module = importlib.import_module(f"sae_{options.name}")
    if options.name == "grid" and options.child:
        print(json.dumps(module.work(Path(options.child[0]), options.child[1], options.small)))
        return
    if options.child:
        print(json.dumps(measure(module, Path(options.child[0]), options.child[1], options.steps)))
        return
    with tempfile.TemporaryDirectory(prefix="sae-bench-") as folder:
        found = module.run if options.name == "grid" else functools.partial(run, module)
        print(json.dumps(found(Path(folder), options), indent=1))


def run(module: ModuleType, folder: Path, options: argparse.Namespace) -> dict:
    """Return the figures of every way; the ways take turns within a round."""
    inputs = module.make(options.small)
    np.savez(folder / "inputs.npz", **inputs)
    ways = options.ways or [way for way in module.WAYS if options.peers or way not in module.PEERS]
    every: dict[str, list[dict]] = {way: [] for way in ways}
    load = os.getloadavg()
    for _ in range(options.rounds):
        for way in ways:
            every[way].append(run_child(module, options, folder, way))
            print(json.dumps({way: every[way][-1]}), file=sys.stderr, flush=True)
    middle = {
        way: {name: round(float(np.median([one[name] for one in found])), 4) for name in found[0]}
        for way, found in every.items()
    }
    results = {way: dict(np.load(folder / f"{way}.npz")) for way in ways}
    first = middle[ways[0]]
    return {
        "name": options.name,
        "small": options.small,
        "rounds": options.rounds,
        "steps": options.steps,
        "cpu": cpu_facts(),
        "load_before": [round(one, 2) for one in load],
        "every": every,
        "median": middle,
        **{
            f"{name}_over_{ways[0]}": {way: round(one[name] / max(first[name], 1e-9), 2) for way, one in middle.items()}
            for name in ("best_wall_s", "median_cpu_s", "peak_mb_above_inputs")
        },
        "equal": module.compare(inputs, results),
    }


def run_child(module: ModuleType, options: argparse.Namespace, folder: Path, way: str) -> dict:
    """Measure one way in a process of its own."""
    environment = dict(os.environ)
    if options.threads:
        environment |= {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    python = options.peers if way in module.PEERS else sys.executable
    command = [python, __file__, options.name, "--steps", str(options.steps), "--child", str(folder), way]
    ran = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
    return json.loads(ran.stdout.splitlines()[-1])


def measure(module: ModuleType, folder: Path, way: str, n_steps: int) -> dict:
    """Train one way in this process and keep its result for the comparison."""
    module.work(module.load(module.tiny(), 3), way, unclocked)
    with np.load(folder / "inputs.npz") as stored:
        problem = module.load(dict(stored), n_steps)
    before = memory_mb("VmRSS")
    clock = Clock()
    found = module.work(problem, way, clock.step)
    np.savez(folder / f"{way}.npz", **found)
    return {**clock.figures(), "peak_mb_above_inputs": round(clock.peak_mb - before, 1)}


class Clock:
    """Wall and CPU seconds of each step, and the peak of memory until the last one ended."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.peak_mb = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        self.peak_mb = memory_mb("VmHWM")

    def figures(self) -> dict:
        """Return the steps' figures; the first step, which allocates, is left out."""
        wall, cpu = self.wall[1:], self.cpu[1:]
        return {
            "best_wall_s": round(min(wall), 4),
            "median_wall_s": round(float(np.median(wall)), 4),
            "best_cpu_s": round(min(cpu), 4),
            "median_cpu_s": round(float(np.median(cpu)), 4),
        }


@contextmanager
def unclocked() -> Iterator[None]:
    """Time nothing."""
    yield


def cpu_facts() -> dict:
    """Return what decides how fast bfloat16 is: the processor's name and its matrix instructions."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(re.search(r"flags\s*:\s*(.*)", text)[1].split())
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "model": re.search(r"model name\s*:\s*(.*)", text)[1],
        "cores": os.cpu_count(),
        "flags": [flag for flag in wanted if flag in flags],
    }


def memory_mb(field: str) -> float:
    """Return a figure of this process; not ru_maxrss: a child inherits the peak of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()
