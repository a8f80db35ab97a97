"""Studies and units of work that cost nothing, so that the engine itself is what is tested."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from release_kit.core.cell import Cell, cell_folder, write_cell
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import cell_config
from release_kit.core.study import Study, read_study
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Perform, Watch
from release_kit.sft.engine.training import sweep
from release_kit.sft.engine.units import Unit

N_STEPS = 20
BROKEN_SEED = 3


def write_study(
    folder: Path, *, n_seeds: int = 4, bases: tuple[str, ...] = ("tiny",), epochs: tuple[int, ...] = (1, 2)
) -> Study:
    """Write a study that has nothing on disk to train from."""
    study = {
        "schema_version": 1,
        "name": "trivial",
        "version": "1.0.0",
        "factors": {
            "base_model": {name: {"path": f"bases/{name}"} for name in bases},
            "dataset": ["colours"],
            "method": ["full"],
            "epoch": list(epochs),
        },
        "seeds": list(range(n_seeds)),
        "settings": {
            "training": {"batch_size": 2, "max_length": 16, "learning_rate": 1e-3},
            "evaluation": {"tasks": ["colours_test"]},
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return read_study(folder)


def complete(study: Study, unit: Unit) -> Mapping[str, Any]:
    """Write the ``cell.json`` of every cell of a unit; first remove what a killed writer left, as real work does."""
    for cell in unit.cells:
        sweep(cell_folder(study.folder, cell.cell_id))
        config = cell_config(study, cell.levels)
        write_cell(study.folder, Cell(cell_id=cell.cell_id, levels=cell.levels, config=config))
    return {"seconds": 0.0}


def make_noop(options: WorkerOptions) -> Perform:
    """Units that are done as soon as they are begun."""
    study = read_study(options.study_folder)
    return lambda unit, watch: complete(study, unit)


def make_slow(options: WorkerOptions) -> Perform:
    """Units of twenty steps that each hash a little, so that a kill can fall between any two of them."""
    study = read_study(options.study_folder)

    def perform(unit: Unit, watch: Watch) -> Mapping[str, Any]:
        for step in range(1, N_STEPS + 1):
            sum(range(100_000))
            watch.report("train", step, N_STEPS)
        watch.check()
        return complete(study, unit)

    return perform


def make_broken(options: WorkerOptions) -> Perform:
    """Units of which those with one seed cannot be done."""
    noop = make_noop(options)

    def perform(unit: Unit, watch: Watch) -> Mapping[str, Any]:
        if unit.plans[0].seed == BROKEN_SEED:
            raise ReleaseKitError("the loss is NaN", where="step 7", next_step="lower the learning rate")
        return noop(unit, watch)

    return perform


def make_deadly(options: WorkerOptions) -> Perform:
    """Units of which those with one seed end the process at once, as the system does when memory runs out."""
    noop = make_noop(options)

    def perform(unit: Unit, watch: Watch) -> Mapping[str, Any]:
        if unit.plans[0].seed == BROKEN_SEED:
            os.kill(os.getpid(), 9)
        return noop(unit, watch)

    return perform
