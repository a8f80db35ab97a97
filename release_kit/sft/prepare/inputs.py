"""Everything that a study needs before it can run: its tasks, its data, its base models.

``plan_inputs`` decides from ``study.yaml`` what that is; ``prepare_inputs`` makes what is not there. A second run makes
nothing. Where things come from is ``sources.py`` (data) and ``bases.py`` (models); task files ship in ``tasks/``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from release_kit.core.errors import IntegrityError, StudyError, UsageError
from release_kit.core.files import exclusive, inside, write_atomic
from release_kit.core.records import nearest
from release_kit.core.study import STUDY_FILE, Study, read_study
from release_kit.sft.data.record import DataRecord, read_record
from release_kit.sft.prepare.bases import prepare_base
from release_kit.sft.prepare.records import BaseRecord
from release_kit.sft.prepare.sources import SOURCES, prepare_data
from release_kit.sft.spec.identity import file_sha256
from release_kit.sft.spec.runs import base_folder, data_path, plan_runs, untouched_cells
from release_kit.sft.spec.settings import evaluation_settings

TASKS_FOLDER = "tasks"
_SHIPPED = files("release_kit.sft.prepare").joinpath(TASKS_FOLDER)


@dataclass(frozen=True, kw_only=True)
class DataInput:
    """One data file that the study needs."""

    name: str
    path: Path
    source: str | None
    """Name in ``sources.SOURCES``; None for a file that its owner puts there."""
    sha256: str | None = None
    """Digest that the study pins."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a study needs, in the order in which it is made."""

    tasks: tuple[str, ...]
    data: tuple[DataInput, ...]
    bases: tuple[str, ...]


def place_study(study: Path, folder: Path | None) -> Study:
    """Return the study in ``study``, or copy a study file into ``folder`` first and return the one there.

    A ``study.yaml`` that already lies in ``folder`` is kept if it is the same study; task files beside the original
    go with it.

    Raises:
        UsageError: a file without a folder to put it into.
        StudyError: ``folder`` holds another study.
    """
    if study.is_dir() and folder is None:
        return read_study(study)
    file = study / STUDY_FILE if study.is_dir() else study
    if folder is None:
        if file.name == STUDY_FILE:
            return read_study(file.parent)
        raise UsageError("is a study file; it needs a folder of its own", where=str(study), next_step="give --dir")
    wanted = read_study(file)
    if (folder / STUDY_FILE).is_file():
        there = read_study(folder)
        if (there.name, there.version) != (wanted.name, wanted.version):
            what = f"holds the study {there.name} {there.version}, not {wanted.name} {wanted.version}"
            raise StudyError(what, where=str(folder), next_step="name another --dir")
        return there
    for task in sorted((file.parent / TASKS_FOLDER).glob("*.yaml")):
        write_atomic(folder / TASKS_FOLDER / task.name, task.read_bytes())
    write_atomic(folder / STUDY_FILE, file.read_bytes())
    return read_study(folder)


def plan_inputs(study: Study) -> Inputs:
    """Return what ``study`` needs, whether it is there or not.

    Raises:
        StudyError: a dataset or task has no file and no source; or a declaration is wrong.
    """
    runs = plan_runs(study)
    tasks = evaluation_settings(study).tasks
    dataset = study.factor_with_role("dataset")
    data: dict[str, DataInput] = {}
    for name in dict.fromkeys(part for run in runs for part in run.components):
        known = dataset.properties.get(name, {})
        source = known.get("source") or (name if name in SOURCES else None)
        data[name] = DataInput(
            name=name, path=data_path(study, name), source=source, sha256=known.get("sha256")
        )  # fmt: skip
    for task in tasks:
        for path in _data_files(study, task):
            name = PurePosixPath(path).stem
            found = inside(study.folder, path)
            data.setdefault(name, DataInput(name=name, path=found, source=name if name in SOURCES else None))
    bases = dict.fromkeys(run.base_model for run in runs)
    base_model = study.factor_with_role("base_model")
    bases |= dict.fromkeys(str(cell.levels[base_model.name]) for cell in untouched_cells(study))
    return Inputs(tasks=tasks, data=tuple(data.values()), bases=tuple(bases))


def prepare_inputs(study: Study, on_event: Callable[[Mapping[str, Any]], None] | None = None) -> list:
    """Make what ``study`` names and is not there: task files, data with records, base models with ``base.json``.

    Nothing that is there is changed. Interrupted, the next call continues; a pre-training goes on from its last
    checkpoint.

    Args:
        study: the study; everything goes into its folder.
        on_event: called with ``{"event": "step", "base_model", "step", "loss"}`` while pre-training, and with
            ``{"event": "ready", "kind", "name", "summary"}`` for each thing that is ready.

    Returns:
        A ``DataRecord`` for each data file that has one, then a ``BaseRecord`` for each base model that was made here.

    Raises:
        StudyError: something has neither a file nor a source.
        IntegrityError: a file is not what its record, or the study, says.
    """
    tell = on_event or (lambda event: None)
    records: list[DataRecord | BaseRecord] = []
    with exclusive(study.folder, "prepare"):
        for task in evaluation_settings(study).tasks:
            place_task(study, task)
        inputs = plan_inputs(study)
        for record in _prepared(study, inputs, tell):
            kind = "base_model" if isinstance(record, BaseRecord) else "dataset"
            tell({"event": "ready", "kind": kind, "name": record.name, "summary": record.summary()})
            records.append(record)
    return records


def place_task(study: Study, name: str) -> Path:
    """Return the task file ``tasks/<name>.yaml`` of the study, put there from those that ship if it is missing.

    Raises:
        StudyError: the study has none and none ships under this name.
    """
    path = inside(study.folder, f"{TASKS_FOLDER}/{name}.yaml")
    if not path.is_file():
        write_atomic(path, _shipped_task(study, name))
    return path


def shipped_tasks() -> list[str]:
    """Return the names of the task files that ship with release_kit."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def _shipped_task(study: Study, name: str) -> bytes:
    if name not in shipped_tasks():
        step = "write the task file, or name one that ships with release_kit"
        what = f"there is no task {name!r}{nearest(name, shipped_tasks())}"
        raise StudyError(what, where=str(study.folder / TASKS_FOLDER), next_step=step)
    return _SHIPPED.joinpath(f"{name}.yaml").read_bytes()


def _data_files(study: Study, task: str) -> Iterator[str]:
    """Return the data files that a task reads, as its YAML writes them; tasks with data on the Hub have none."""
    path = study.folder / TASKS_FOLDER / f"{task}.yaml"
    return named_data_files(path.read_bytes() if path.is_file() else _shipped_task(study, task))


def named_data_files(task: bytes) -> Iterator[str]:
    """Yield the data files that the YAML of a task names, as it writes them.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    document = yaml.load(task, Loader=_task_loader())
    listed = ((document or {}).get("dataset_kwargs") or {}).get("data_files") or {}
    for value in listed.values() if isinstance(listed, dict) else [listed]:
        yield from value if isinstance(value, list) else [str(value)]


def _task_loader() -> type[yaml.SafeLoader]:
    """Return a reader of task files that does not run the functions which their tags name."""

    class TaskLoader(yaml.SafeLoader):
        pass

    TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return TaskLoader


def _prepared(study: Study, inputs: Inputs, tell: Callable) -> Iterator[DataRecord | BaseRecord]:
    missing = [item for item in inputs.data if not item.path.is_file() and item.source is None]
    if missing:
        listed = ", ".join(str(item.path.relative_to(study.folder)) for item in missing)
        step = f"put the files there, or give `source`{nearest(missing[0].name, list(SOURCES))}"
        raise StudyError(f"no file and no source of {listed}", where=str(study.folder), next_step=step)
    for item in inputs.data:
        if record := _data(item):
            yield record
    where = str(study.folder / STUDY_FILE)
    factor = study.factor_with_role("base_model")
    for name in inputs.bases:
        record = prepare_base(
            name, factor.properties.get(name, {}), base_folder(study, name), f"{where}: factors.{factor.name}.{name}",
            lambda step, loss, name=name: tell({"event": "step", "base_model": name, "step": step, "loss": loss}),
        )  # fmt: skip
        if record:
            yield record


def _data(item: DataInput) -> DataRecord | None:
    """Make one data file if it is not there; hold it against its record and the study's pin."""
    record = read_record(item.path) if item.path.is_file() else None
    if not item.path.is_file() or (record is None and item.source):
        record = prepare_data(item.path.stem, item.source, item.path.parent)
    found = file_sha256(item.path)
    if record and found != record.sha256:
        what = f"its sha256 is {found[:12]}…, but its record says {record.sha256[:12]}…"
        raise IntegrityError(what, where=str(item.path), next_step="remove the file; the next run writes it again")
    if item.sha256 and found != item.sha256:
        raise IntegrityError(
            f"its sha256 is {found}; the study pins {item.sha256}", where=str(item.path),
            next_step="correct the pin, or bring the file that was meant",
        )  # fmt: skip
    return record
