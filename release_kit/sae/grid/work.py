"""The work on one unit: which function it is, and what it took."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.engine.processes import WorkerOptions
from release_kit.engine.pull import Perform, Watch
from release_kit.sae.grid.units import INTERVENE, MEASURE, MODEL, TRAIN, Unit, of_cell, study_of
from release_kit.sae.pipeline.models import recipe_of, train_series
from release_kit.sae.spec.model import SaeStudy

SECONDS_FOLDER = "seconds"


def make_perform(options: WorkerOptions) -> Perform:
    """Return the function that does one unit of a study."""
    study, device, given = study_of(options), options.device, options.given

    def perform(unit: Unit, watch: Watch) -> Mapping[str, Any]:
        start = time.monotonic()
        _do(study, unit, watch, device, given)
        seconds = round(time.monotonic() - start, 1)
        write_atomic(_seconds_file(study.folder, unit), canonical.document_bytes({"seconds": seconds}))
        return {"seconds": seconds}

    return perform


def seconds_of(study_folder: Path, unit: Unit) -> float | None:
    """Return what a finished unit took, the last time that a worker finished it; None where that is not known."""
    try:
        return float(json.loads(_seconds_file(study_folder, unit).read_bytes())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _do(study: SaeStudy, unit: Unit, watch: Watch, device: str, given: Mapping[str, Any]) -> None:
    if unit.kind == MODEL:
        n_steps = recipe_of(study, unit.size).steps
        train_series(study, unit.size, lambda size, step, loss: watch.report("model", step, n_steps))
        return
    assert unit.step is not None
    if unit.kind == TRAIN:
        from release_kit.sae.train.cell import train_cell

        train_cell(
            study, unit.size, unit.step, device=device, report=watch.report, select=of_cell(given["select"]),
            keep_activations=given["keep_activations"],
        )  # fmt: skip
    elif unit.kind == MEASURE:
        from release_kit.sae.measure.cell import measure_cell

        measure_cell(study, unit.size, unit.step, device=device, report=watch.report)
    elif unit.kind == INTERVENE:
        from release_kit.sae.intervene.cell import intervene_cell

        intervene_cell(study, unit.size, unit.step, device=device, report=watch.report)


def _seconds_file(study_folder: Path, unit: Unit) -> Path:
    return study_folder / STATE_FOLDER / SECONDS_FOLDER / f"{unit.name}.json"
