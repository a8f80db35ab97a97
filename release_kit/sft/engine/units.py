"""What workers are given: one unit is one training run with all its cells, or one untouched base model.

Pure over the study and what lies on disk. A unit is done when every one of its cells has its ``cell.json``; nothing
else is asked. The order puts units of one base together, long ones first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.grid import describe, matches
from release_kit.core.study import Level, Study
from release_kit.sft.spec.runs import RunCell, RunPlan, plan_runs, role_level, untouched_cells

RUN, UNTOUCHED_BASE = "run", "base"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one worker brings to completion in one go."""

    name: str
    """Safe as part of a file name; the same for the same cells of the same settings."""
    title: str
    """Levels, for people."""
    group: str
    """Base model: units of one group share what a worker keeps loaded."""
    cost: float
    """Expected work relative to other units, in examples seen."""
    cells: tuple[RunCell, ...]
    plan: RunPlan | None
    """None: an untouched base, which is only evaluated."""

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Ids of the unit's cells."""
        return tuple(cell.cell_id for cell in self.cells)

    def is_done(self, study_folder: Path) -> bool:
        """Return whether every cell is complete on disk."""
        return all((cell_folder(study_folder, one) / CELL_FILE).is_file() for one in self.cell_ids)


def plan_units(study: Study, select: Mapping[str, Sequence[Level]] | None = None) -> list[Unit]:
    """Return the units of a study in a good order to work on them.

    Args:
        study: the study; nothing else needs to exist.
        select: partial levels; a run is taken with all its cells when any of them matches.

    Raises:
        StudyError: the study does not say what training needs.
        RecordError: its settings are wrong.
    """
    units = [*map(_run_unit, plan_runs(study)), *(_base_unit(study, cell) for cell in untouched_cells(study))]
    wanted = [unit for unit in units if any(matches(cell.levels, select or {}) for cell in unit.cells)]
    return in_order(wanted)


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """Return units grouped by base, the group with most work first, in it long ones first: no long run starts last."""
    units = list(units)
    work: dict[str, float] = {}
    for unit in units:
        work[unit.group] = work.get(unit.group, 0.0) + unit.cost
    return sorted(units, key=lambda unit: (-work[unit.group], unit.group, -unit.cost, unit.name))


def _run_unit(plan: RunPlan) -> Unit:
    settings = plan.settings
    steps = settings.steps or (settings.epochs or 1) * (plan.data_size or 1000) / settings.batch_size
    return Unit(
        name=_name(RUN, plan.cells),
        title=plan.describe(),
        group=plan.base_model,
        cost=steps * settings.batch_size,
        cells=plan.cells,
        plan=plan,
    )


def _base_unit(study: Study, cell: RunCell) -> Unit:
    return Unit(
        name=_name(UNTOUCHED_BASE, (cell,)),
        title=describe(cell.levels),
        group=str(role_level(study, cell.levels, "base_model")),
        cost=0.0,
        cells=(cell,),
        plan=None,
    )


def _name(kind: str, cells: Sequence[RunCell]) -> str:
    return f"{kind}-{canonical.digest([cell.cell_id for cell in cells])[:12]}"
