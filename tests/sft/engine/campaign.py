"""Random SIGKILLs over the workers and the controller of a running grid, and the comparison of what is left.

Processes are forked from this one, which has imported whatever the work needs and has no threads, so that a kill costs
milliseconds and not the import of torch. Run as a script by ``test_kills.py``.
"""

import contextlib
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from release_kit.core.study import Study, read_study
from release_kit.engine.pull import Rules
from release_kit.sft.engine.grid import RunOptions, run_study

VOLATILE = {
    "seconds", "evaluation_seconds", "joules", "cpu_seconds", "peak_memory_bytes", "started_at", "energy_source",
}  # fmt: skip
"""Keys of ``done.json`` and of a cell's provenance that clocks and energy meters fill."""

RULES = Rules(poll_s=0.02, renew_s=0.5, max_deaths=1_000_000)


def start_controller(folder: Path, options: RunOptions, workers: int) -> int:
    """Fork a process that runs the grid and return its id; it exits with 0 when every cell is complete."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 2
    try:
        os.setsid()
        code = 0 if run_study(read_study(folder), workers=workers, options=options).ok else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def children(pid: int) -> list[int]:
    """Return the ids of the living children of a process."""
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(pid: int) -> None:
    """SIGKILL a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def run_killed(
    folder: Path, options: RunOptions, *, n_kills: int, longest_s: float, seed: int, workers: int = 2
) -> Counter:
    """Run the grid of ``folder`` to its end while ``n_kills`` processes of it are killed at random moments.

    Returns:
        How many of each kind were killed: ``worker``, ``controller`` (its workers end by themselves), ``machine``
        (controller and workers at once). Fewer than ``n_kills`` when the grid was complete before.
    """
    rng, killed = random.Random(seed), Counter()
    controller = start_controller(folder, options, workers)
    watched = os.pidfd_open(controller)
    while True:
        left = killed.total() < n_kills
        ready, _, _ = select.select([watched], [], [], rng.uniform(0, longest_s) if left else None)
        if ready:
            os.close(watched)
            _, status = os.waitpid(controller, 0)
            code = os.waitstatus_to_exitcode(status)
            if code >= 0:
                assert code == 0, f"the controller ended with {code}"
                return killed
            controller = start_controller(folder, options, workers)
            watched = os.pidfd_open(controller)
        elif left:
            killed[_kill_some(controller, rng)] += 1


def _kill_some(controller: int, rng: random.Random) -> str:
    processes = children(controller)
    draw = rng.random()
    if processes and draw < 0.6:
        kill(rng.choice(processes))
        return "worker"
    kill(controller)
    if draw < 0.8:
        return "controller"
    for process in processes:
        kill(process)
    return "machine"


def tree(folder: Path) -> dict[str, bytes]:
    """Return path → content of everything that a grid left, without what clocks and meters wrote."""
    found: dict[str, bytes] = {}
    for name in ("cells", "runs"):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = _content(path)
    return found


def _content(path: Path) -> bytes:
    if path.name not in ("cell.json", "done.json"):
        return path.read_bytes()
    return json.dumps(_without_clocks(json.loads(path.read_bytes())), sort_keys=True).encode()


def _without_clocks(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_clocks(inner) for key, inner in value.items() if key not in VOLATILE}
    return value


def differences(one: Path, other: Path) -> list[str]:
    """Return the paths that differ between two trees, or stand in only one of them."""
    first, second = tree(one), tree(other)
    return sorted(path for path in {*first, *second} if first.get(path) != second.get(path))


def campaign(
    make, folder: Path, options: RunOptions, *, n_kills: int, longest_s: float, seed: int
) -> dict[str, object]:
    """Run one study undisturbed and as often as it takes for ``n_kills`` kills; return what was seen as JSON.

    Args:
        make: writes the study into a folder and returns it.
        folder: where the runs may lie.
        options: of every run.
        n_kills: kills in all.
        longest_s: longest time between two kills.
        seed: of the random choices.
    """
    calm = make(folder / "calm")
    start = time.monotonic()
    assert run_study(calm, workers=2, options=options).ok
    calm_s, killed, wrong, rounds = time.monotonic() - start, Counter(), [], 0
    while killed.total() < n_kills:
        study: Study = make(folder / f"round-{rounds}")
        left = n_kills - killed.total()
        killed += run_killed(study.folder, options, n_kills=left, longest_s=longest_s, seed=seed + rounds)
        wrong += [f"round {rounds}: {path}" for path in differences(calm.folder, study.folder)]
        rounds += 1
    seconds = round(time.monotonic() - start - calm_s, 1)
    counts = {"kills": killed.total(), **killed, "rounds": rounds, "n_files": len(tree(calm.folder))}
    return {**counts, "differing": wrong, "calm_s": round(calm_s, 1), "seconds": seconds}


def main(kind: str, folder: str, n_kills: str, longest_s: str, seed: str) -> None:
    """Run one campaign and print what was seen."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # a progress bar starts a thread
    if kind == "trivial":
        from sft.engine.trivial import make_slow as make_perform
        from sft.engine.trivial import write_study
    else:
        from sft.engine.tiny import preload, write_study

        from release_kit.sft.engine.work import make_perform

        preload()
    options = replace(RunOptions(), context="fork", rules=RULES, make_perform=make_perform, max_restarts=1_000_000)
    numbers = {"n_kills": int(n_kills), "longest_s": float(longest_s), "seed": int(seed)}
    print(json.dumps(campaign(write_study, Path(folder), options, **numbers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
