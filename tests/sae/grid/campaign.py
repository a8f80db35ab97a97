"""SIGKILLs at chosen stages of a running study, and the comparison of what is left with an undisturbed run.

Processes are forked from this one, which has imported whatever the work needs and has no threads. A point is a stage
that a worker reports (models, activations, training, the end of a training and what is written after it, measures,
interventions, tables), how often it is let pass, and a delay: so every stage is hit, wherever its time goes.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae.small_study import made_files, write_study

from release_kit.engine.pull import Rules
from release_kit.sae.grid.run import RunOptions, run_study
from release_kit.sae.spec.read import read_study

RULES = Rules(poll_s=0.02, renew_s=0.5, max_deaths=1_000_000)
OPTIONS = RunOptions(context="fork", rules=RULES, max_restarts=1_000_000)
STAGES = ("model", "activations", "train", "written", "measure", "intervene", "done")
PER_ROUND = len(STAGES)
"""Kills of one run: each stage once, so that there are several runs from the start."""


def preload() -> None:
    """Import what the work imports, before anything is forked."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401
    import scipy.optimize  # noqa: F401
    import tokenizers  # noqa: F401
    import torch
    import transformers

    torch.set_num_threads(1)
    _ = transformers.LlamaForCausalLM, transformers.LlamaConfig, transformers.PreTrainedTokenizerFast
    import release_kit.sae.intervene.cell
    import release_kit.sae.measure.cell
    import release_kit.sae.tables.build
    import release_kit.sae.train.cell  # noqa: F401


def stage_of(event: Mapping[str, Any]) -> str | None:
    """Return the stage that an event shows."""
    if event["event"] == "done":
        return "done"
    stage = str(event.get("stage", "")) if event["event"] == "step" else ""
    if stage.startswith("layer-") or stage == "train":  # one alone, or all that are streamed together
        return "written" if event["step"] == event["n_steps"] else "train"
    return stage if stage in STAGES else None


@dataclass
class Killer:
    """Takes the events of a controller and ends it, or one of its workers, at one point.

    Args:
        stage: at which. passes: events of this stage that are let pass. delay_s: from the event to the kill.
        machine: controller and workers at once; else the worker that reported.
    """

    stage: str
    passes: int
    delay_s: float
    machine: bool
    note: Path
    pids: dict[int, int] = field(default_factory=dict)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        if event["event"] == "worker":
            self.pids[event["worker"]] = event["pid"]
        if self.note.exists() or stage_of(event) != self.stage:
            return
        self.passes -= 1
        if self.passes >= 0:
            return
        time.sleep(self.delay_s)
        self.note.write_text(self.stage)
        victims = self.pids.values() if self.machine else [self.pids[event["worker"]]]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if self.machine:
            os.kill(os.getpid(), signal.SIGKILL)


def run_once(folder: Path, on_event: Any, workers: int) -> int:
    """Run the study in a forked process and return its exit code; negative when it was killed."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 2
    try:
        os.setsid()
        code = 0 if run_study(read_study(folder), workers=workers, on_event=on_event, options=OPTIONS).ok else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def points(n: int, rng: random.Random, stages: Sequence[str]) -> list[tuple[str, int, float, bool]]:
    """Return stage, events to let pass, delay and kind of ``n`` kills, every stage in turn."""
    found = []
    for number in range(n):
        stage = stages[number % len(stages)]
        passes = rng.randrange({"train": 12, "intervene": 6, "written": 3, "measure": 2}.get(stage, 1))
        found.append((stage, passes, rng.uniform(0, 0.03), rng.random() < 0.5))
    return found


def campaign(folder: Path, n_kills: int, seed: int, settings: Mapping[str, str]) -> dict[str, Any]:
    """Run one study undisturbed with one worker, and with two as often as it takes for ``n_kills`` kills.

    Returns:
        Kills by stage, files compared, and the paths that differ.
    """
    calm = write_study(folder / "calm", **settings)
    start = time.monotonic()
    assert run_once(calm, lambda event: None, 1) == 0, "the undisturbed run failed"
    calm_s, wanted = time.monotonic() - start, made_files(calm)
    stages = [stage for stage in STAGES if stage != "activations" or settings.get("cache") != "stream"]
    left, killed, wrong, rounds = points(n_kills, random.Random(seed), stages), Counter(), [], 0
    while left and rounds <= n_kills:
        study = write_study(folder / f"round-{rounds}", **settings)
        taken = sorted(left[:PER_ROUND], key=lambda point: STAGES.index(point[0]))
        left, rounds, code = left[PER_ROUND:], rounds + 1, -1
        while taken and code:
            note = folder / "killed"
            note.unlink(missing_ok=True)
            point = taken.pop(0)
            code = run_once(study, Killer(*point, note=note), 2)
            assert code in (0, -signal.SIGKILL), f"a run ended with {code}"
            if note.exists():
                killed[point[0]] += 1
            else:
                taken.append((point[0], 0, *point[2:]))
        left = [*taken, *left]
        if code:
            assert run_once(study, lambda event: None, 2) == 0, "the last run failed"
        found = made_files(study)
        wrong += [f"{study.name}: {path}" for path in {*wanted, *found} if wanted.get(path) != found.get(path)]
    return {"kills": killed.total(), **killed, "rounds": rounds, "n_files": len(wanted), "differing": sorted(wrong),
            "calm_s": round(calm_s, 1), "seconds": round(time.monotonic() - start - calm_s, 1)}  # fmt: skip


def main(folder: str, n_kills: str, seed: str, settings: str) -> None:
    """Run one campaign and print what was seen."""
    preload()
    print(json.dumps(campaign(Path(folder), int(n_kills), int(seed), json.loads(settings))))


if __name__ == "__main__":
    main(*sys.argv[1:])
