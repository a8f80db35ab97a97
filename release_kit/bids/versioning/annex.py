"""git, git-annex and DataLad as child processes: the one place from which they are called.

Owns their environment (who commits, which settings of the user must not change bytes), their exit codes turned into
errors, and git-annex's JSON lines. What the commands mean for a dataset is ``save``, ``siblings``, ``get``, ``verify``.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import MissingExtraError, ReleaseKitError, UsageError

DESCRIPTION = "release_kit"
"""What git-annex records of a copy instead of user, host and folder, which are its default."""

_SETTINGS = {
    "core.excludesFile": os.devnull,
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
    "annex.dotfiles": "false",
    "protocol.ext.allow": "never",
}
"""The user's own ignore list would hide files of the dataset, line-end conversion would change their bytes, and
collecting garbage would leave a process behind."""

_OF_ANOTHER_REPOSITORY = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|NAMESPACE|PREFIX)")


_FORCE = re.compile(r"\s*\(use --force[^)]*\)")

_EMPTY_TREES = (
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
)


class VersioningError(ReleaseKitError):
    """git, git-annex or DataLad did not do what was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who commits."""

    name: str
    email: str


NOBODY = Identity(name="release_kit", email="release_kit@example.invalid")
"""Who commits in a clone that nobody has named: notes of git-annex on where content is, never pushed."""


def parse_identity(text: str) -> Identity:
    """Return the identity of ``Name <mail@example.org>``.

    Raises:
        UsageError: the text has another form.
    """
    found = re.fullmatch(r"\s*([^<>\x00-\x1f]*[^<>\s\x00-\x1f])\s*<([^<>\s\x00-\x1f]+@[^<>\s\x00-\x1f]+)>\s*", text)
    if not found:
        raise UsageError(f"{text!r} is not an author", next_step="write it as 'Ada Example <ada@example.org>'")
    return Identity(name=found[1], email=found[2])


def environment(identity: Identity | None = None, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of every child: found commands, a fixed identity, settings that keep bytes as they are.

    Args:
        identity: who commits; None leaves it to git's own configuration.
        settings: further git settings (``annex.security.allowed-ip-addresses`` …).
    """
    kept = {name: value for name, value in os.environ.items() if not _OF_ANOTHER_REPOSITORY.fullmatch(name)}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept |= {"LC_ALL": "C.UTF-8", "LANGUAGE": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    kept |= {"DATALAD_UI_PROGRESSBAR": "none", "DATALAD_LOG_LEVEL": "warning"}
    if identity:
        for role in ("AUTHOR", "COMMITTER"):
            kept |= {f"GIT_{role}_NAME": identity.name, f"GIT_{role}_EMAIL": identity.email}
    every = {**_SETTINGS, **(settings or {})}
    given = kept.get("GIT_CONFIG_COUNT", "")
    first = int(given) if given.isdigit() else 0
    kept["GIT_CONFIG_COUNT"] = str(first + len(every))
    for number, (key, value) in enumerate(every.items(), first):
        kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return kept


class Repository:
    """One repository (or folder that becomes one) and how commands are run in it.

    Args:
        folder: its root.
        identity: who commits.
        settings: further git settings of every command.
        held: descriptor of a lock that children inherit, so that it is held until the last of them has ended.
    """

    def __init__(self, folder: Path, identity: Identity | None = None, *, settings: Mapping[str, str] | None = None,
                 held: int | None = None):  # fmt: skip
        self.folder, self.identity, self.held = Path(folder), identity, held
        self.environment = environment(identity, settings)

    def run(
        self, command: Iterable[str], *, stdin: bytes | None = None, ok: tuple[int, ...] = (0,)
    ) -> tuple[int, bytes]:
        """Run one command and return its exit code and output.

        Raises:
            MissingExtraError: git, git-annex or DataLad is not installed.
            VersioningError: the exit code is none of ``ok``; the message holds what the command said.
        """
        ran = self._run(command, stdin)
        if ran.returncode not in ok:
            raise self._error(ran)
        return ran.returncode, ran.stdout

    def _run(self, command: Iterable[str], stdin: bytes | None) -> subprocess.CompletedProcess[bytes]:
        words = [str(word) for word in command]
        program = shutil.which(words[0], path=self.environment["PATH"])
        if program is None:
            raise MissingExtraError(words[0], "bids")
        given: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        held = () if self.held is None else (self.held,)
        return subprocess.run(
            [program, *words[1:]], cwd=self.folder, env=self.environment, capture_output=True, pass_fds=held, **given
        )

    def git(self, *words: str, stdin: bytes | None = None) -> str:
        """Run git; return what it printed without the last newline."""
        return os.fsdecode(self.run(["git", *words], stdin=stdin)[1]).removesuffix("\n")

    def ask(self, *words: str) -> str | None:
        """Run git for an answer that may not exist (a revision, a setting); None when there is none."""
        ran = self._run(["git", *words], None)
        if b"dubious ownership" in ran.stderr or ran.returncode not in (0, 1, 2, 128):
            raise self._error(ran)
        return None if ran.returncode else os.fsdecode(ran.stdout).removesuffix("\n")

    def damage(self) -> list[str]:
        """Return what ``git fsck`` finds wrong with git's own objects.

        The empty tree, which git-annex's first commit names, is not fetched over plain http: git knows it by heart.
        """
        ran = self._run(["git", "fsck", "--no-dangling", "--no-progress"], None)
        lines = [line.strip() for line in (ran.stdout + ran.stderr).decode("utf-8", "replace").splitlines()]
        known = [line for line in lines if any(tree in line for tree in _EMPTY_TREES)]
        # a broken link says who names a missing object; the object has a line of its own
        real = [line for line in lines if line and line not in known and not line.startswith("broken link from")]
        if ran.returncode and not real and not known:
            real = [f"git fsck ended with {ran.returncode}"]
        return real if ran.returncode else []

    def annex(self, *words: str, stdin: bytes | None = None) -> str:
        """Run git-annex; return what it printed."""
        return os.fsdecode(self.run(["git-annex", *words], stdin=stdin)[1]).removesuffix("\n")

    def annex_records(self, *words: str, stdin: bytes | None = None) -> list[dict[str, Any]]:
        """Run git-annex with ``--json`` and return its records, failed ones (``success`` is false) included."""
        ran = self._run(["git-annex", words[0], "--json", "--json-error-messages", *words[1:]], stdin)
        records = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith(b"{")]
        if ran.returncode and not any(record.get("success") is False for record in records):
            raise self._error(ran)
        return records

    def _error(self, ran: subprocess.CompletedProcess[bytes]) -> VersioningError:
        text = (ran.stderr + b"\n" + ran.stdout).decode("utf-8", "replace")
        if "dubious ownership" in text:
            found = re.search(r"repository at '([^']+)'", text)
            place = found[1] if found else str(self.folder)
            step = f"if you trust it: git config --global --add safe.directory {place}"
            what = "belongs to another user, and git reads no such repository"
            return VersioningError(what, where=place, next_step=step)
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("{")]
        command = " ".join([Path(ran.args[0]).name, *ran.args[1:3]])
        what = f"`{command}` ended with {ran.returncode}: {'; '.join(lines[:4])[:600] or 'it said nothing'}"
        return VersioningError(what, where=str(self.folder))


def failed_records(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each record of git-annex that tells of a failure: the file and what was said."""
    return [
        f"{record.get('file') or record.get('key') or record.get('command')}: {_why(record)}"
        for record in records
        if record.get("success") is False
    ]


def _why(record: Mapping[str, Any]) -> str:
    """Return what git-annex said, each sentence once, without options that only its own commands have."""
    said = [" ".join(_FORCE.sub("", str(text)).split()) for text in record.get("error-messages") or []]
    return " ".join(dict.fromkeys(text for text in said if text)) or str(record.get("note") or "failed")
