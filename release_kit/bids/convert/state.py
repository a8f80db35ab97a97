"""What earlier conversions did: what each output was made from, and which files of a dataset are conversion's own.

Lies beside the recipe in ``.release_kit/bids/``, never in a dataset: ``state.json`` of the last whole conversion and a
journal of what came after. Losing it costs time, never correctness: a file that nobody remembers is made again and
compared, and is taken over only when it is equal.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.canonical import canonical_bytes, digest, parse_json
from release_kit.core.digest_cache import default_cache_path
from release_kit.core.errors import RecordError
from release_kit.core.files import STATE_FOLDER, write_atomic, write_error
from release_kit.core.journal import Journal

VERSION = 1
KEEP_STAGES = 20_000
"""Outputs that are remembered beyond those of the last conversion, so that a setting can be tried and taken back."""


def state_folder(recipe_folder: Path, out: Path) -> Path:
    """Return where the state of a recipe lies: beside it, or in the user's cache for a recipe inside the dataset."""
    folder, dataset = Path(os.path.realpath(recipe_folder)), Path(os.path.realpath(out))
    if folder == dataset or dataset in folder.parents:
        return default_cache_path().parent / "bids" / digest(str(dataset))[:16]
    return recipe_folder / STATE_FOLDER / "bids"


class State:
    """The remembered conversions of one recipe into one dataset; a context manager, held by one process at a time.

    ``stages``: identity → record (``sha256``, ``size_bytes`` and whatever its maker adds).
    ``owned``: path in the dataset → sha256 of every content that conversion gave it and may still be there.
    """

    def __init__(self, folder: Path, out: Path):
        self._path, self._dataset = folder / "state.json", os.path.realpath(out)
        self._others: dict[str, Any] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        self.owned: dict[str, set[str]] = {}
        self.marks: dict[str, str] = {}
        """What was found good: name of the check → identity of what it looked at."""
        self._journal = Journal(folder / "journal.jsonl", {"schema_version": VERSION})
        self._read()

    def __enter__(self) -> "State":
        return self

    def __exit__(self, kind: Any, *exc_info: Any) -> None:
        try:
            self._journal.close()
        except OSError as error:  # a full disk: what could not be appended is still waiting
            if kind is None:
                raise write_error(self._journal.path, error) from error

    def _read(self) -> None:
        saved: Any = {}
        try:
            saved = parse_json(self._path.read_bytes(), str(self._path))
        except (OSError, RecordError):
            saved = {}
        if not isinstance(saved, dict) or saved.get("schema_version") != VERSION:
            saved = {"stages": {}, "datasets": {}, "marks": {}}
        self.stages, self._others, self.marks = saved["stages"], saved["datasets"], saved["marks"]
        self.owned = {path: set(found) for path, found in self._others.pop(self._dataset, {}).items()}
        for fact in self._journal.facts:
            self._apply(fact)

    def _apply(self, fact: Mapping[str, Any]) -> None:
        if "stage" in fact:
            self.stages[fact["stage"]] = fact["made"]
        elif "mark" in fact:
            self.marks[fact["mark"]] = fact["identity"]
        elif fact.get("dataset") == self._dataset:
            if fact.get("gone"):
                self.owned.pop(fact["path"], None)
            else:
                self.owned.setdefault(fact["path"], set()).add(fact["sha256"])

    def _note(self, fact: dict[str, Any]) -> None:
        self._journal.append(fact)
        self._apply(fact)

    def made(self, identity: str, record: dict[str, Any]) -> None:
        """Remember what the output with ``identity`` is."""
        if self.stages.get(identity) != record:
            self._note({"stage": identity, "made": record})

    def own(self, path: str, sha256: str) -> None:
        """Note, before it is placed, that ``path`` of the dataset is about to hold this content of ours."""
        if sha256 not in self.owned.get(path, ()):
            self._note({"dataset": self._dataset, "path": path, "sha256": sha256})

    def disown(self, path: str) -> None:
        """Note that ``path`` of the dataset is no longer ours."""
        if path in self.owned:
            self._note({"dataset": self._dataset, "path": path, "gone": True})

    def mark(self, name: str, identity: str) -> None:
        """Remember that a check found this good."""
        if self.marks.get(name) != identity:
            self._note({"mark": name, "identity": identity})

    def finish(self, used: set[str], contents: Mapping[str, str]) -> None:
        """Put what is known into one file after a whole conversion.

        Args:
            used: identities of this conversion's outputs.
            contents: path in the dataset → sha256 of every file that is conversion's own now.
        """
        owned = {path: {sha256} for path, sha256 in contents.items()}
        if not self._journal.facts and owned == self.owned:
            return
        self.owned = owned
        old = [identity for identity in self.stages if identity not in used][-KEEP_STAGES:]
        kept = {identity: self.stages[identity] for identity in [*old, *sorted(used & self.stages.keys())]}
        datasets = {**self._others, self._dataset: {path: [sha256] for path, sha256 in sorted(contents.items())}}
        value = {"schema_version": VERSION, "stages": kept, "datasets": datasets, "marks": self.marks}
        write_atomic(self._path, canonical_bytes(value))
        self._journal.path.unlink()
