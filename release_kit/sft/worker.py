"""One worker process: cell ids come in on stdin, each is trained and evaluated, events go out as JSON lines.

Owns bringing a single cell to completion. ``cell.json`` is written last; whatever an interrupted run left behind is
used if it is whole and made again if not.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from release_kit import __version__
from release_kit.core import canonical
from release_kit.core.cell import MODEL_FOLDER, Cell, cell_folder, write_cell
from release_kit.core.errors import ReleaseKitError, StudyError
from release_kit.core.files import write_atomic
from release_kit.core.grid import cell_config, cell_id_of, iter_levels
from release_kit.core.study import Level, Study, read_study
from release_kit.sft.base_model import read_base_model
from release_kit.sft.old_data import read_dataset
from release_kit.sft.old_evaluate import EVAL_FOLDER, ModelPaths, evaluate
from release_kit.sft.old_train import TRAINER_STATE_FILE, TrainingRun, train
from release_kit.sft.settings import LORA, METHODS, UNTOUCHED, evaluation_settings, training_settings

DATA_FOLDER = "data"
TRAINING_FILE = "training.json"
"""Provenance of a finished training, kept until ``cell.json`` takes it in."""

PACKAGES = ("torch", "transformers", "peft", "lm_eval", "safetensors")


def run_cell(study: Study, levels: Mapping[str, Level], on_step: Callable[[int, float], None] | None = None) -> Cell:
    """Train (unless untouched) and evaluate one cell, then write its ``cell.json``.

    Raises:
        StudyError: the study does not say what is needed (base model's path, a known method).
        ReleaseKitError: training or evaluation could not be done.
    """
    config = cell_config(study, levels)
    folder = cell_folder(study.folder, cell_id_of(config))
    method = _level(study, levels, "method")
    if method not in METHODS:
        raise StudyError(f"the method {method!r} is not one of {list(METHODS)}", where=str(study.folder))
    base = _base_path(study, levels)
    provenance: dict[str, Any] = {} if method == UNTOUCHED else _trained(study, levels, folder, on_step)
    model = (folder / MODEL_FOLDER).relative_to(study.folder).as_posix()
    paths = {UNTOUCHED: ModelPaths(model=base), LORA: ModelPaths(model=base, adapter=model)}
    start = time.monotonic()
    threads = training_settings(study).threads
    chosen = paths.get(method, ModelPaths(model=model))
    evaluate(study.folder, chosen, evaluation_settings(study), folder / EVAL_FOLDER, threads=threads)
    provenance |= {"base_model": _base_provenance(study, levels), "evaluation_seconds": _seconds(start)}
    provenance |= {"versions": _versions(), "hardware": _hardware(threads)}
    if commit := _code_commit():
        provenance["code_commit"] = commit
    cell = Cell(cell_id=folder.name, levels=dict(levels), config=config, provenance=provenance)
    write_cell(study.folder, cell)
    return cell


def _trained(
    study: Study, levels: Mapping[str, Level], folder: Path, on_step: Callable[[int, float], None] | None
) -> dict[str, Any]:
    """Train unless a whole artifact is there already; return its provenance."""
    if (folder / MODEL_FOLDER / TRAINER_STATE_FILE).is_file() and (folder / TRAINING_FILE).is_file():
        return canonical.read_json(folder / TRAINING_FILE)
    dataset, settings = str(_level(study, levels, "dataset")), training_settings(study)
    rows, record = read_dataset(study.folder / DATA_FOLDER, dataset)
    started, start = datetime.datetime.now(datetime.UTC), time.monotonic()
    run = TrainingRun(
        base_folder=study.folder / _base_path(study, levels),
        base_hub_id=_base_provenance(study, levels)["name"],
        rows=rows,
        method=str(_level(study, levels, "method")),
        seed=int(_level(study, levels, "seed")),
        settings=settings,
    )
    log = train(run, folder / MODEL_FOLDER, on_step)
    provenance = {
        "data": {dataset: record.sha256},
        "seed": run.seed,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": _seconds(start),
        "train_loss": round(sum(log.losses) / len(log.losses), 4),
        "n_tokens": log.n_tokens,
        "compute": log.compute,
    }
    write_atomic(folder / TRAINING_FILE, canonical.document_bytes(provenance))
    return provenance


def _level(study: Study, levels: Mapping[str, Level], role: str) -> Level:
    factor = study.factor_with_role(role)
    if factor is None:
        what = f"no factor has the role {role!r}, which training needs"
        raise StudyError(what, where=str(study.folder), next_step=f"declare a factor named {role!r}")
    return levels[factor.name]


def _base_path(study: Study, levels: Mapping[str, Level]) -> str:
    path = study.level_properties(levels, "base_model").get("path")
    if not path:
        what = f"the base model {_level(study, levels, 'base_model')!r} has no `path`"
        raise StudyError(what, where=str(study.folder), next_step="say in study.yaml where its folder is")
    return str(path)


def _base_provenance(study: Study, levels: Mapping[str, Level]) -> dict[str, str]:
    base = read_base_model(study.folder / _base_path(study, levels))
    return {"name": base.hub_id, "digest": base.weights_sha256, "source": f"{base.package} {base.package_version}"}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "release_kit": __version__} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def _hardware(threads: int) -> dict[str, Any]:
    return {"processor": _processor(), "threads": threads}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _code_commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None for an installed package."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _seconds(start: float) -> float:
    return round(time.monotonic() - start, 1)


def main(study_path: str) -> None:
    """Serve cells from stdin until it is closed."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print on stdout; only events may travel there
    study = read_study(Path(study_path))
    cells = {cell_id_of(cell_config(study, levels)): levels for levels in iter_levels(study)}
    for line in sys.stdin:
        one = line.strip()

        def say(event: str, one: str = one, **more: Any) -> None:
            events.write(json.dumps({"event": event, "cell_id": one, **more}) + "\n")

        start = time.monotonic()
        try:
            run_cell(study, cells[one], lambda step, loss, say=say: say("step", step=step, loss=round(loss, 4)))
            say("done", seconds=_seconds(start))
        except ReleaseKitError as error:
            say("failed", what=str(error))


if __name__ == "__main__":
    main(sys.argv[1])
