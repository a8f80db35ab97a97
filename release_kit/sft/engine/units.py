"""What workers are given: a unit is a training run with all its cells (or several in one batch), or an untouched base.

Pure over the study and what lies on disk. A unit is done when every one of its cells has its ``cell.json``; nothing
else is asked. The order puts units of one base together, long ones first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.grid import describe, matches
from release_kit.core.study import Level, Study, read_study
from release_kit.engine.processes import WorkerOptions
from release_kit.sft.spec.runs import RunCell, RunPlan, plan_runs, role_level, untouched_cells
from release_kit.sft.spec.settings import LORA

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
    plans: tuple[RunPlan, ...]
    """Empty: an untouched base, which is only evaluated. More than one: LoRA runs that are trained in one batch."""

    needs: tuple[str, ...] = ()
    """No run of a study needs another."""

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Ids of the unit's cells."""
        return tuple(cell.cell_id for cell in self.cells)

    def is_done(self, study_folder: Path) -> bool:
        """Return whether every cell is complete on disk."""
        return all((cell_folder(study_folder, one) / CELL_FILE).is_file() for one in self.cell_ids)


def plan_units(study: Study, select: Mapping[str, Sequence[Level]] | None = None, *, together: int = 1) -> list[Unit]:
    """Return the units of a study in a good order to work on them.

    Args:
        study: the study; nothing else needs to exist.
        select: partial levels; a unit is taken with all its cells when any of them matches.
        together: LoRA runs of one base that are trained in one batch. Which ones follows from the study alone.

    Raises:
        StudyError: the study does not say what training needs.
        RecordError: its settings are wrong.
    """
    runs = grouped(plan_runs(study), together)
    units = [*map(_run_unit, runs), *(_base_unit(study, cell) for cell in untouched_cells(study))]
    wanted = [unit for unit in units if any(matches(cell.levels, select or {}) for cell in unit.cells)]
    return in_order(wanted)


def plan_for_worker(options: WorkerOptions) -> list[Unit]:
    """Return the units of a command, inside one of its workers."""
    return plan_units(read_study(options.study_folder), options.given["select"], together=options.given["together"])


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """Return units grouped by base, the group with most work first, in it long ones first: no long run starts last."""
    units = list(units)
    work: dict[str, float] = {}
    for unit in units:
        work[unit.group] = work.get(unit.group, 0.0) + unit.cost
    return sorted(units, key=lambda unit: (-work[unit.group], unit.group, -unit.cost, unit.name))


def grouped(plans: Sequence[RunPlan], together: int) -> list[tuple[RunPlan, ...]]:
    """Return runs one by one, and LoRA runs that can share a batch in groups of at most ``together``.

    Runs share a batch when base, adapter's shape, compute type and recomputation are the same and nothing is dropped.
    """
    if together < 2:
        return [(plan,) for plan in plans]
    result: list[tuple[RunPlan, ...]] = [(plan,) for plan in plans if not _can_share(plan)]
    alike: dict[tuple, list[RunPlan]] = {}
    for plan in filter(_can_share, plans):
        settings = plan.settings
        key = (plan.base_model, settings.lora.rank, settings.lora.targets, settings.compute)
        alike.setdefault((*key, settings.gradient_checkpointing, settings.threads), []).append(plan)
    for members in alike.values():
        result += [tuple(members[i : i + together]) for i in range(0, len(members), together)]
    return result


def _can_share(plan: RunPlan) -> bool:
    return plan.method == LORA and not plan.settings.lora.dropout


def _run_unit(plans: tuple[RunPlan, ...]) -> Unit:
    cells = tuple(cell for plan in plans for cell in plan.cells)
    more = f" and {len(plans) - 1} more in one batch" if len(plans) > 1 else ""
    return Unit(
        name=_name(RUN, cells),
        title=plans[0].describe() + more,
        group=plans[0].base_model,
        cost=sum(map(_cost, plans)),
        cells=cells,
        plans=plans,
    )


def _cost(plan: RunPlan) -> float:
    settings = plan.settings
    steps = settings.steps or (settings.epochs or 1) * (plan.data_size or 1000) / settings.batch_size
    return steps * settings.batch_size


def _base_unit(study: Study, cell: RunCell) -> Unit:
    return Unit(
        name=_name(UNTOUCHED_BASE, (cell,)),
        title=describe(cell.levels),
        group=str(role_level(study, cell.levels, "base_model")),
        cost=0.0,
        cells=(cell,),
        plans=(),
    )


def _name(kind: str, cells: Sequence[RunCell]) -> str:
    return f"{kind}-{canonical.digest([cell.cell_id for cell in cells])[:12]}"
