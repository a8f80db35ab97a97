"""Cells that are complete, but were made from other data, tasks or another base than lie there now, or lost files.

Nothing is removed without being asked: a file may have been changed by mistake. Code and library versions are not
compared here; they are part of a run's identity and count for runs that are still to come.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import write_atomic
from release_kit.core.study import Study
from release_kit.core.wording import counted
from release_kit.engine.ledger import ledger_folder
from release_kit.sft.engine.task_files import task_files_sha256
from release_kit.sft.engine.units import Unit
from release_kit.sft.engine.workshop import folder_state
from release_kit.sft.spec.identity import base_identity, file_sha256
from release_kit.sft.spec.runs import base_folder, data_path


@dataclass(frozen=True, kw_only=True)
class StaleCell:
    """One complete cell that does not follow from what lies there."""

    cell_id: str
    title: str
    what: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(self.__dict__)

    def sentence(self) -> str:
        """Return one line for people."""
        return f"{self.title}: {self.what}"


def find_stale(study: Study, units: Iterable[Unit]) -> list[StaleCell]:
    """Return the complete cells whose data, tasks or base model have other bytes now, or whose checkpoint is gone.

    Each file is read once. What a cell was made from and is missing now is no proof of anything: it stays unsaid here,
    and is said where it is needed.
    """
    current = _Current(study)
    found = []
    for unit in units:
        for cell in unit.cells:
            record = _record(cell_folder(study.folder, cell.cell_id) / CELL_FILE)
            made = record.get("provenance") or {}
            if made and (reasons := [*_lost(study.folder, record), *current.differences(unit, made)]):
                found.append(StaleCell(cell_id=cell.cell_id, title=unit.title, what="; ".join(reasons)))
    return found


def remove_stale(study: Study, stale: Iterable[StaleCell]) -> None:
    """Take away the mark of completion of stale cells, so that they are made again."""
    for cell in stale:
        (cell_folder(study.folder, cell.cell_id) / CELL_FILE).unlink(missing_ok=True)


class _Current:
    """Digests of what lies there now."""

    def __init__(self, study: Study):
        self._study = study
        self._data: dict[str, str | None] = {}
        self._bases: dict[str, Mapping[str, str] | None] = {}
        self._tasks: dict[str, str | None] = {}

    def differences(self, unit: Unit, made: Mapping[str, Any]) -> Iterable[str]:
        for name, before in (made.get("data") or {}).items():
            now = self._data_digest(name)
            if now is not None and now != before:
                yield f"made from data {name!r} with sha256 {before[:12]}…, which is {now[:12]}… now"
        base, now = made.get("base_model") or {}, self._base_digests(unit.group) or {}
        for key, what in (("digest", "weights"), ("files_sha256", "files")):
            if base.get(key) and now.get(key, base[key]) != base[key]:
                before, after = base[key][:12], now[key][:12]
                yield f"made from {what} of {unit.group!r} with sha256 {before}…, which are {after}… now"
                break
        for task, before in (made.get("tasks") or {}).items():
            current = self._task_digest(task)
            if before and current is not None and current != before:
                yield f"scored on the task {task!r} with sha256 {before[:12]}…, which is {current[:12]}… now"

    def _task_digest(self, task: str) -> str | None:
        if task not in self._tasks:
            self._tasks[task] = task_files_sha256(self._study.folder, task)
        return self._tasks[task]

    def _data_digest(self, name: str) -> str | None:
        if name not in self._data:
            self._data[name] = None
            with contextlib.suppress(OSError, ReleaseKitError):
                self._data[name] = file_sha256(data_path(self._study, name))
        return self._data[name]

    def _base_digests(self, name: str) -> Mapping[str, str] | None:
        if name not in self._bases:
            self._bases[name] = None
            with contextlib.suppress(OSError, ReleaseKitError):
                self._bases[name] = self._remembered(name, base_folder(self._study, name))
        return self._bases[name]

    def _remembered(self, name: str, folder: Path) -> Mapping[str, str]:
        """Return the digests of a base's files; tens of gigabytes that nobody touched are not read at every start."""
        path = ledger_folder(self._study.folder) / "bases" / f"{canonical.digest(name)[:16]}.json"
        state = canonical.digest({file: list(facts) for file, facts in (folder_state(folder) or {}).items()})
        with contextlib.suppress(RecordError, KeyError, TypeError):
            known = canonical.read_json(path)
            if known["state"] == state:
                return {key: str(known[key]) for key in ("digest", "files_sha256")}
        identity = base_identity(folder)
        found = {"digest": identity.weights_sha256, "files_sha256": canonical.digest(dict(identity.files))}
        write_atomic(path, canonical.document_bytes({"state": state, **found}))
        return found


def _lost(study_folder: Path, record: Mapping[str, Any]) -> Iterable[str]:
    """Yield what is gone of a cell's checkpoint; that its bytes are right is for ``check`` to say."""
    path, files = record.get("artifact_path"), record["provenance"].get("artifact") or {}
    gone = [name for name in files if path and not (study_folder / path / name).is_file()]
    if gone:
        yield f"{counted(len(gone), 'file')} of {path} {'is' if len(gone) == 1 else 'are'} gone: {', '.join(gone[:3])}"


def _record(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
