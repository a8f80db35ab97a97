"""The record of how a version was made, in the form that ``datalad rerun`` reads from a commit's message.

Owns the text, and which commands a version may claim; what was edited is found by whoever saves.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.paths import meaning

RECIPE_FILE = "code/release_kit/recipe.yaml"
COPIES_FOLDER = "sourcedata/annotations"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that gives a version's files when it is run in the root of the dataset."""

    words: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    """Files of the dataset that DataLad fetches before the command runs (globs)."""
    outputs: tuple[str, ...] = ()


def run_message(title: str, command: Command, dataset_id: str) -> str:
    """Return the message of a commit whose files ``command`` made; plain ``datalad rerun`` runs it again."""
    record = {
        "chain": [],
        "cmd": shlex.join(command.words),
        "dsid": dataset_id,
        "exit": 0,
        "extra_inputs": [],
        "inputs": list(command.inputs),
        "outputs": list(command.outputs),
        "pwd": ".",
    }
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    start, end = "=== Do not change lines below ===", "^^^ Do not change lines above ^^^"
    return f"[DATALAD RUNCMD] {title}\n\n{start}\n{text}\n{end}\n"


def conversion_commands(folder: Path) -> dict[str, Command]:
    """Return what makes a converted dataset again, from inside it: the whole version, and its annotations alone.

    The recipe lies in the dataset; the recordings do not, so the whole needs ``RELEASE_KIT_SOURCES`` (and
    ``RELEASE_KIT_PSEUDONYMS``), while annotations follow from their copies under ``sourcedata/``. Empty when the
    dataset carries no recipe.
    """
    if not (folder / RECIPE_FILE).is_file():
        return {}
    words = ("release-kit", "bids", "convert", RECIPE_FILE, ".")
    copies = (COPIES_FOLDER,) if (folder / COPIES_FOLDER).is_dir() else ()
    return {
        "annotations": Command(words=(*words, "--only", "annotations"), inputs=copies),
        "version": Command(words=words, inputs=copies),
    }


def command_of(words: Sequence[str] | Command | None) -> Command | None:
    """Return ``words`` as a command."""
    return words if words is None or isinstance(words, Command) else Command(words=tuple(words))


def without_edited(
    commands: Mapping[str, Command | None], edited: Sequence[str], say: Callable[[Mapping[str, Any]], None]
) -> Mapping[str, Command | None]:
    """Return commands without those that would not give what is saved: somebody has edited it since.

    Args:
        commands: part (``version`` or a meaning) → command.
        edited: files that are not as conversion wrote them.
        say: told ``{"event": "edited", "paths"}``.
    """
    if edited and any(commands.values()):
        say({"event": "edited", "paths": edited})
    parts = {"version", *map(meaning, edited)} if edited else set()
    return {part: None if part in parts else command for part, command in commands.items()}
