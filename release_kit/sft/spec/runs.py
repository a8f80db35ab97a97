"""The cells of a study grouped into the runs that make them.

A run trains once and keeps a checkpoint for each cell: cells that differ only in the level of the epoch factor are
cells of one run. Owns the grouping and what a run is trained on, by name; digests are ``identity.py``, counting is
``plan.py``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from release_kit.core.errors import StudyError
from release_kit.core.files import inside
from release_kit.core.grid import cell_id, describe, has_level, iter_levels
from release_kit.core.records import nearest
from release_kit.core.study import STUDY_FILE, Level, Study
from release_kit.sft.spec.settings import METHODS, UNTOUCHED, TrainingSettings, training_settings

FINAL = "final"
"""Label of the only checkpoint of a run without an epoch factor."""

DATA_FOLDER, BASES_FOLDER, RUNS_FOLDER = "data", "bases", "runs"


@dataclass(frozen=True, kw_only=True)
class RunCell:
    """One cell that a run, or an untouched base, gives."""

    label: str
    """``epoch-3`` or ``final``: the folder of its checkpoint inside the run's folder."""
    epoch: int | None
    cell_id: str
    levels: Mapping[str, Level]


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One training run as the study declares it; nothing of it needs to exist yet."""

    levels: Mapping[str, Level]
    """Levels of every factor but the epoch."""
    base_model: str
    dataset: str
    method: str
    seed: int
    components: tuple[str, ...]
    """Datasets whose examples are mixed, in declared order; one for a plain dataset."""
    data_size: int | None
    """Examples of the run, divided equally over the components; None: all there are."""
    settings: TrainingSettings
    cells: tuple[RunCell, ...]
    """By epoch, the last one last."""

    def describe(self) -> str:
        """Return ``base_model=a dataset=b …``: how a run is named in messages."""
        return describe(self.levels)


def plan_runs(study: Study) -> list[RunPlan]:
    """Return every run of the study, in the order in which its first cell stands in the grid.

    Raises:
        StudyError: a factor that training needs is missing; an unknown method; a dataset that mixes unknown ones;
            epochs that the settings do not reach.
        RecordError: ``settings.training`` is wrong.
    """
    return [_run(study, cells) for cells in _grouped(study).values()]


def untouched_cells(study: Study) -> list[RunCell]:
    """Return the cells of the base models as they are (method ``none``), in the order of the grid."""
    return [
        RunCell(label=UNTOUCHED, epoch=None, cell_id=cell_id(study, levels), levels=levels)
        for levels in iter_levels(study)
        if _method(study, levels) == UNTOUCHED
    ]


def base_folder(study: Study, base_model: Level) -> Path:
    """Return the folder of a base model: its ``path``, or ``bases/<level>``."""
    known = _factor(study, "base_model").properties.get(base_model, {})
    return inside(study.folder, str(known.get("path") or f"{BASES_FOLDER}/{base_model}"))


def data_path(study: Study, dataset: str) -> Path:
    """Return the file of a dataset: its ``path``, or ``data/<level>.jsonl``."""
    known = _dataset_properties(study).get(dataset, {})
    return inside(study.folder, str(known.get("path") or f"{DATA_FOLDER}/{dataset}.jsonl"))


def role_level(study: Study, levels: Mapping[str, Level], role: str) -> Level:
    """Return the level that a cell has for the factor with ``role``.

    Raises:
        StudyError: no factor has it.
    """
    return levels[_factor(study, role).name]


def components(study: Study, dataset: str) -> tuple[str, ...]:
    """Return the datasets that ``dataset`` is mixed from, or itself.

    Raises:
        StudyError: ``mix`` is not a list of declared datasets, or is a mixture of mixtures.
    """
    known = _dataset_properties(study)
    mix = known.get(dataset, {}).get("mix")
    if mix is None:
        return (dataset,)
    where = f"{study.folder / STUDY_FILE}: factors.{_factor(study, 'dataset').name}.{dataset}.mix"
    if not isinstance(mix, list) or not mix or len(set(map(str, mix))) != len(mix):
        raise StudyError("expected a list of different datasets", where=where)
    for name in mix:
        if not has_level(_factor(study, "dataset").levels, name) and name not in known:
            raise StudyError(f"no dataset {name!r}{nearest(str(name), list(map(str, known)))}", where=where)
        if "mix" in known.get(name, {}):
            raise StudyError(f"{name!r} is a mixture itself; list its parts", where=where)
    return tuple(mix)


def _grouped(study: Study) -> dict[tuple, list[dict[str, Level]]]:
    for role in ("base_model", "dataset", "method"):
        _factor(study, role)
    epoch = study.factor_with_role("epoch")
    groups: dict[tuple, list[dict[str, Level]]] = {}
    for levels in iter_levels(study):
        if _method(study, levels) != UNTOUCHED:
            key = tuple(level for name, level in levels.items() if epoch is None or name != epoch.name)
            groups.setdefault(key, []).append(levels)
    return groups


def _run(study: Study, cells: list[dict[str, Level]]) -> RunPlan:
    first, epoch = cells[0], study.factor_with_role("epoch")
    dataset = str(role_level(study, first, "dataset"))
    kept = tuple(_cells(study, cells))
    return RunPlan(
        levels={name: level for name, level in first.items() if epoch is None or name != epoch.name},
        base_model=str(role_level(study, first, "base_model")),
        dataset=dataset,
        method=_method(study, first),
        seed=_whole_number(study, first, "seed"),
        components=components(study, dataset),
        data_size=_whole_number(study, first, "data_size") or None,
        settings=_reaching(study, training_settings(study, first), kept),
        cells=kept,
    )


def _cells(study: Study, cells: list[dict[str, Level]]) -> Iterator[RunCell]:
    factor = study.factor_with_role("epoch")
    if factor is None:
        yield RunCell(label=FINAL, epoch=None, cell_id=cell_id(study, cells[0]), levels=cells[0])
        return
    for levels in cells:
        epoch = levels[factor.name]
        if not isinstance(epoch, int) or epoch < 1:
            step = "trained cells have epochs from 1; epoch 0 is for the method none"
            raise StudyError(f"the epoch {epoch!r} cannot be kept from a run", where=describe(levels), next_step=step)
    for levels in sorted(cells, key=lambda levels: levels[factor.name]):
        epoch = levels[factor.name]
        yield RunCell(label=f"epoch-{epoch}", epoch=epoch, cell_id=cell_id(study, levels), levels=levels)


def _reaching(study: Study, settings: TrainingSettings, cells: tuple[RunCell, ...]) -> TrainingSettings:
    """Return settings that say how many epochs: as declared, else the last one that the grid keeps."""
    if settings.steps is not None:
        return settings
    last = cells[-1].epoch
    epochs = settings.epochs or last
    if epochs is None:
        step = "give `steps` or `epochs`, or a factor with the role `epoch`"
        raise StudyError("settings.training does not say how long", where=str(study.folder), next_step=step)
    if last is not None and last > epochs:
        what = f"keeps epoch {last}, but settings.training trains {epochs}"
        raise StudyError(what, where=describe(cells[-1].levels), next_step="raise `epochs`, or leave it out")
    return replace(settings, epochs=epochs)


def _method(study: Study, levels: Mapping[str, Level]) -> str:
    method = str(role_level(study, levels, "method"))
    if method not in METHODS:
        raise StudyError(f"the method {method!r}{nearest(method, METHODS)}", where=str(study.folder / STUDY_FILE))
    return method


def _whole_number(study: Study, levels: Mapping[str, Level], role: str) -> int:
    """Return the level of a factor that counts something; 0 without such a factor."""
    factor = study.factor_with_role(role)
    level = levels[factor.name] if factor else 0
    if not isinstance(level, int) or level < 0:
        where = f"{study.folder / STUDY_FILE}: factors.{factor.name}"
        raise StudyError(f"the {role} {level!r} is not a whole number", where=where, next_step="write it as 20000")
    return level


def _dataset_properties(study: Study) -> Mapping[Level, Mapping]:
    return _factor(study, "dataset").properties


def _factor(study: Study, role: str):
    factor = study.factor_with_role(role)
    if factor is None:
        what = f"no factor has the role {role!r}, which training needs"
        raise StudyError(what, where=str(study.folder / STUDY_FILE), next_step=f"declare a factor named {role!r}")
    return factor
