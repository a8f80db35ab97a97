"""Build, check and cards on a study of 1,000 cells with real small checkpoints: whole processes, medians.

    python benchmarks/release_build.py [--cells 1000] [--runs 3]

Every line times the command as a user runs it, interpreter start included.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from study_factory import make_study

COMMAND = [sys.executable, "-m", "release_kit"]


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        make_study(study, datasets=tuple(f"data{i:03d}" for i in range(options.cells // 8)), seeds=(0, 1, 2, 3))
        environment = os.environ | {"RELEASE_KIT_CACHE": str(Path(folder) / "digests.sqlite")}
        report = {"cells": options.cells, "runs": options.runs, "seconds": {}}
        report["seconds"]["build, first"] = timed(["build", str(study)], environment, 1)
        for label, arguments in {
            "build, nothing changed": ["build", str(study)],
            "check, after build": ["check", str(study)],
            "cards, nothing changed": ["cards", str(study)],
            "cards --check": ["cards", str(study), "--check"],
            "verify --trust-cache": ["verify", str(study), "--trust-cache"],
        }.items():
            timed(arguments, environment, 1)
            report["seconds"][label] = timed(arguments, environment, options.runs)
        for card in (study / "release").rglob("README.md"):
            card.unlink()
        report["seconds"]["cards, all anew"] = timed(["cards", str(study)], environment, 1)
    print(json.dumps(report, indent=1))


def timed(arguments: list[str], environment: dict[str, str], runs: int) -> dict[str, float]:
    """Return the median wall and CPU seconds of a command, which must succeed."""
    walls, cpus = [], []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            raise SystemExit(f"{arguments} exited with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"wall": round(statistics.median(walls), 3), "cpu": round(statistics.median(cpus), 3)}


if __name__ == "__main__":
    main()
