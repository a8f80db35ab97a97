"""Cells that are complete, but were made from other data or another base than what lies there now.

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
from release_kit.sft.engine.ledger import ledger_folder
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
    """Return the complete cells whose data or base model have other bytes now; each file is read once.

    What is missing now is no proof of anything: it stays unsaid here, and is said where it is needed.
    """
    current = _Current(study)
    found = []
    for unit in units:
        for cell in unit.cells:
            made = _provenance(cell_folder(study.folder, cell.cell_id) / CELL_FILE)
            if made and (reasons := list(current.differences(unit, made))):
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
        self._bases: dict[str, str | None] = {}

    def differences(self, unit: Unit, made: Mapping[str, Any]) -> Iterable[str]:
        for name, before in (made.get("data") or {}).items():
            now = self._data_digest(name)
            if now is not None and now != before:
                yield f"made from data {name!r} with sha256 {before[:12]}…, which is {now[:12]}… now"
        before, now = (made.get("base_model") or {}).get("digest"), self._base_digest(unit.group)
        if before and now is not None and now != before:
            yield f"made from weights of {unit.group!r} with sha256 {before[:12]}…, which are {now[:12]}… now"

    def _data_digest(self, name: str) -> str | None:
        if name not in self._data:
            self._data[name] = None
            with contextlib.suppress(OSError, ReleaseKitError):
                self._data[name] = file_sha256(data_path(self._study, name))
        return self._data[name]

    def _base_digest(self, name: str) -> str | None:
        if name not in self._bases:
            self._bases[name] = None
            with contextlib.suppress(OSError, ReleaseKitError):
                self._bases[name] = self._remembered(name, base_folder(self._study, name))
        return self._bases[name]

    def _remembered(self, name: str, folder: Path) -> str:
        """Return the digest of a base's weights; tens of gigabytes that nobody touched are not read at every start."""
        path = ledger_folder(self._study.folder) / "bases" / f"{canonical.digest(name)[:16]}.json"
        state = canonical.digest({file: list(facts) for file, facts in (folder_state(folder) or {}).items()})
        with contextlib.suppress(RecordError, KeyError, TypeError):
            known = canonical.read_json(path)
            if known["state"] == state:
                return str(known["weights_sha256"])
        found = base_identity(folder).weights_sha256
        write_atomic(path, canonical.document_bytes({"state": state, "weights_sha256": found}))
        return found


def _provenance(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_bytes())["provenance"]
    except (OSError, ValueError, KeyError):
        return {}
