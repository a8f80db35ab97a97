"""``release-kit bids save``: a version of a dataset as commits of git and git-annex, a manifest and a tag.

Decides what is saved and in which order; whatever moment it is killed at, the next save ends in the same tree. What a
path means is ``paths``', what changed ``tracked``'s, the text of ``CHANGES`` ``changelog``'s.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import DESCRIPTION, Identity, Repository, failed_records, parse_identity
from release_kit.bids.versioning.changelog import check_date, check_version, next_version, released, today
from release_kit.bids.versioning.contents import dataset_name, files_at, files_of, manifest_at
from release_kit.bids.versioning.guard import INIT_PREFIX, Guard, guarded, init_repository
from release_kit.bids.versioning.identity import NOBODY_SAID, Search, check_before_save, remember_searched
from release_kit.bids.versioning.manifest import DatasetFile, DatasetManifest, Difference, compare_manifests
from release_kit.bids.versioning.paths import (
    ATTRIBUTES_FILE,
    CHANGES_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    MEANINGS,
    SIGNATURE_FILE,
    attributes_text,
    meaning,
)
from release_kit.bids.versioning.preflight import Plan, edited_since, is_leftover_of, plan_save
from release_kit.bids.versioning.provenance import Command, command_of, run_message, without_edited
from release_kit.bids.versioning.tracked import changes, has_commit, index_files
from release_kit.core.canonical import canonical_bytes
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic

OWN_FILES = (ATTRIBUTES_FILE, CHANGES_FILE, CONFIG_FILE, MANIFEST_FILE, SIGNATURE_FILE)
"""What a save writes or takes as it finds it."""

_ID_SPACE = uuid.UUID("5b0c1f6e-4f0a-5d2e-9c43-0a7f5f9d2b11")
_WRITTEN = "written.json"

ANNEX_KEYS = ("annex.uuid", "annex.version", "filter.annex.process")
"""What `git annex init` sets, first to last: one that was killed in the middle is run again."""


@dataclass(frozen=True, kw_only=True)
class SaveReport:
    """What a save did. ``written`` is False when the version was there already and nothing differs."""

    folder: Path
    version: str
    written: bool
    commit: str
    tree: str
    """git's digest of every file of the version."""
    root: str
    """Root digest of the manifest."""
    n_files: int
    size_bytes: int
    commits: tuple[tuple[str, str], ...] = ()
    """(meaning, commit) of what this call committed."""
    difference: Difference | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        difference = self.difference
        return {
            "folder": str(self.folder),
            "version": self.version,
            "written": self.written,
            "commit": self.commit,
            "tree": self.tree,
            "root": self.root,
            "n_files": self.n_files,
            "size_bytes": self.size_bytes,
            "commits": [{"meaning": what, "commit": commit} for what, commit in self.commits],
            "added": list(difference.added) if difference else [],
            "changed": list(difference.changed) if difference else [],
            "removed": list(difference.removed) if difference else [],
            "moved": [list(pair) for pair in difference.moved] if difference else [],
        }


def save_version(
    folder: Path,
    *,
    version: str,
    author: str | None = None,
    command: Sequence[str] | Command | None = None,
    commands: Mapping[str, Sequence[str] | Command] | None = None,
    written: Mapping[str, Collection[str]] | None = None,
    everything: bool = False,
    date: str | None = None,
    sign: Callable[[bytes], bytes] | None = None,
    search: Search = NOBODY_SAID,
    stays_here: bool = False,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> SaveReport:
    """Save what lies in ``folder`` as a version: one commit per meaning, a manifest, an entry in CHANGES, a tag.

    A version that was saved before with the same content is left as it is. Interrupted, the next call goes on.

    Args:
        folder: a BIDS dataset; made a DataLad dataset (SHA256E) when it is none.
        version: the version, and the name of its tag.
        author: ``Name <mail>`` of the commits; None takes git's own configuration and refuses when there is none.
        command: what made the files, for ``datalad rerun`` of the version; None records nothing. With ``written``, a
            version in which one of these files is edited or gone has no record.
        commands: meaning → what made the files of that commit, for ``datalad rerun`` of it alone; likewise.
        written: path → sha256 of the contents that conversion wrote; what else changed since the last version is
            somebody's and refused by name. None: every change is somebody's once there is a commit.
        everything: save those changes too.
        date: day of the version in CHANGES, ``YYYY-MM-DD``; None is ``SOURCE_DATE_EPOCH`` or today (UTC).
        sign: takes the manifest's bytes and returns those of its signature.
        search: what may identify a person; with words, what was searched is remembered for the publication.
        stays_here: the version is never to leave this machine, so that nothing is searched; a publication refuses it.
        on_event: told ``{"event": "commit", "meaning", "n"}`` and so on.

    Raises:
        UsageError: no usable version, author or date.
        IntegrityError: something that may identify a person would become a part of the history.
        ReleaseKitError: the version exists with another content, nothing changed, changes of somebody, or a failure.
    """
    check_version(version)
    date = check_date(date or today())
    folder, say = Path(os.path.abspath(folder)), on_event or (lambda event: None)
    name = dataset_name(folder)
    identity = _identity(folder, author)
    plan = plan_save(folder, written=written, everything=everything, own=OWN_FILES)
    if not plan.initialised:
        plan.refuse()
        _look(folder, plan, search, stays_here, None, say)
        init_repository(folder, identity)
    git_folder = Path(Repository(folder).git("rev-parse", "--absolute-git-dir"))
    with guarded(git_folder) as guard:
        repository = Repository(folder, identity, held=guard.held)
        plan.refuse(cut=guard.cut, before=_written_before(guard), taken=partial(guard.was_taken, folder))
        there = _there_already(repository, version, plan)
        if there is None:
            if plan.initialised:
                _look(folder, plan, search, stays_here, git_folder, say)
            guard.begin(folder, plan.paths)
            saving = _Saving(repository=repository, name=name, version=version, say=say, commits=[])
            recorded = {part: command_of(words) for part, words in {**(commands or {}), "version": command}.items()}
            if written is not None:
                recorded = without_edited(recorded, edited_since(repository, plan, written, OWN_FILES), say)
            there = saving.run(plan, recorded, date, sign)
        if written is not None:
            write_atomic(guard.state / _WRITTEN, canonical_bytes(sorted(written)))
        guard.done()
        remember_searched(repository, search, say)
        return there


def _look(
    folder: Path, plan: Plan, search: Search, stays_here: bool, git_folder: Path | None,
    say: Callable[[Mapping[str, Any]], None],
) -> None:  # fmt: skip
    """Refuse what may identify a person, and tell what could not be looked into."""
    if stays_here:
        return
    paths = [change.path for change in plan.changes if not change.removed]
    if closed := check_before_save(folder, paths, search, git_folder):
        say({"event": "closed", "paths": closed})


@dataclass(frozen=True, kw_only=True)
class _Saving:
    """One save under way."""

    repository: Repository
    name: str
    version: str
    say: Callable[[Mapping[str, Any]], None]
    commits: list[tuple[str, str]]

    def run(
        self, plan: Plan, commands: Mapping[str, Command | None], date: str, sign: Callable[[bytes], bytes] | None
    ) -> SaveReport:
        repository = self.repository
        self._tidy()
        if any(repository.ask("config", "--local", key) is None for key in ANNEX_KEYS):
            repository.annex("init", "--quiet", DESCRIPTION)
        self._write(ATTRIBUTES_FILE, attributes_text(self._read(ATTRIBUTES_FILE)).encode())
        dataset_id = self._dataset_id(plan.paths)
        groups: dict[str, list[str]] = {part: [] for part in MEANINGS}
        for path in {*plan.paths, ATTRIBUTES_FILE, CONFIG_FILE} - {CHANGES_FILE, MANIFEST_FILE, SIGNATURE_FILE}:
            groups[meaning(path)].append(path)
        for part, paths in groups.items():
            self._commit(part, sorted(paths), f"{part.capitalize()} of {self.version}", commands.get(part))
        difference, files = self._describe(dataset_id, date, sign)
        own = [path for path in OWN_FILES if (repository.folder / path).exists()]
        self._commit("version", own, f"Version {self.version}", commands.get("version"))
        self._check_committed()
        repository.git("tag", "--annotate", "--message", f"Version {self.version}", self.version)
        return _report(
            repository, self.version, files, written=True, commits=tuple(self.commits), difference=difference
        )

    def _describe(
        self, dataset_id: str, date: str, sign: Callable[[bytes], bytes] | None
    ) -> tuple[Difference, dict[str, DatasetFile]]:
        """Write the entry in CHANGES, the manifest and its signature."""
        repository = self.repository
        files = files_of(repository, index_files(repository))
        before = _version_before(repository)
        difference = compare_manifests(files_at(repository, before) if before else {}, files)
        text = released(self._read(CHANGES_FILE), self.version, date, difference, first=before is None)
        self._write(CHANGES_FILE, text.encode("utf-8", "surrogateescape"))
        self._stage([CHANGES_FILE])
        files = files_of(repository, index_files(repository))
        manifest = DatasetManifest(name=self.name, dataset_id=dataset_id, version=self.version,
                                   files=tuple(files.values()))  # fmt: skip
        self._write(MANIFEST_FILE, manifest.to_bytes())
        if sign is not None:
            self._write(SIGNATURE_FILE, sign(manifest.to_bytes()))
        else:
            (repository.folder / SIGNATURE_FILE).unlink(missing_ok=True)
        return difference, files

    def _dataset_id(self, paths: Sequence[str]) -> str:
        """Return the id that DataLad knows the dataset by; made at the first save from its name, files and sizes."""
        folder = self.repository.folder
        known = self.repository.ask("config", "--file", str(folder / CONFIG_FILE), "datalad.dataset.id")
        if known:
            return known
        there = (path for path in paths if path not in OWN_FILES and (folder / path).is_file())
        sizes = {path: (folder / path).stat().st_size for path in there}
        made = str(uuid.uuid5(_ID_SPACE, canonical_bytes([self.name, sizes]).decode()))
        self._write(CONFIG_FILE, f'{self._read(CONFIG_FILE)}[datalad "dataset"]\n\tid = {made}\n'.encode())
        return made

    def _commit(self, part: str, paths: list[str], message: str, command: Command | None) -> None:
        """Commit the paths if anything in them differs from HEAD; with the record of what made them."""
        repository = self.repository
        self._stage(paths)
        unborn = not has_commit(repository)
        if not unborn and repository.run(["git", "diff-index", "--cached", "--quiet", "HEAD"], ok=(0, 1))[0] == 0:
            return
        if command is not None:
            message = run_message(message, command, self._dataset_id(()))
        hooks = f"core.hooksPath={os.devnull}"
        repository.run(["git", "-c", hooks, "commit", "--quiet", "--file=-"], stdin=message.encode())
        commit = repository.git("rev-parse", "HEAD")
        self.commits.append((part, commit))
        self.say({"event": "commit", "meaning": part, "commit": commit, "n": len(paths)})

    def _stage(self, paths: Sequence[str]) -> None:
        repository = self.repository
        there = [path for path in paths if os.path.lexists(repository.folder / path)]
        gone = sorted(set(paths) - set(there))
        if there:
            records = repository.annex_records("add", "--batch", "-z", stdin=_listed(there))
            if failed := failed_records(records):
                raise ReleaseKitError(f"git-annex could not add {failed[0]}", where=str(repository.folder))
        if gone:
            repository.git("update-index", "--force-remove", "-z", "--stdin", stdin=_listed(gone))

    def _tidy(self) -> None:
        """Remove what a killed save left of its own."""
        folder = self.repository.folder
        for place in {Path(path).parent for path in OWN_FILES}:
            for left in (folder / place).glob(f"{TEMPORARY_PREFIX}*"):
                if is_leftover_of(left.relative_to(folder).as_posix(), OWN_FILES):
                    left.unlink()
        for left in folder.glob(f"{INIT_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _check_committed(self) -> None:
        """Refuse to name a version that is not what lies here.

        Raises:
            ReleaseKitError: a file changed while it was saved, or git did not take it.
        """
        left = changes(self.repository)
        manifest = manifest_at(self.repository, "HEAD")
        if left or manifest is None or manifest.version != self.version:
            names = ", ".join(change.sentence() for change in left[:5]) or MANIFEST_FILE
            what = f"{names} changed while it was saved, or git did not take it"
            step = "no version was named; let nothing else write here and run again"
            raise ReleaseKitError(what, where=str(self.repository.folder), next_step=step)

    def _read(self, path: str) -> str:
        place = self.repository.folder / path
        return place.read_bytes().decode("utf-8", "surrogateescape") if place.is_file() else ""

    def _write(self, path: str, data: bytes) -> None:
        write_atomic(self.repository.folder / path, data)


def _there_already(repository: Repository, version: str, plan: Plan) -> SaveReport | None:
    """Return the report of a version that is saved already; None when there is something to save.

    Raises:
        ReleaseKitError: the version exists and something differs from it, or nothing changed since another version.
    """
    if not has_commit(repository):
        return None
    tagged = repository.ask("rev-parse", "--verify", "--quiet", f"refs/tags/{version}^{{commit}}")
    same = not plan.paths and tagged == repository.git("rev-parse", "HEAD")
    if tagged and not same:
        better = next_version(version, plan.difference)
        step = f"save it as {better}" if better else "save it as another version"
        raise ReleaseKitError(f"version {version} exists and holds something else", where=str(repository.folder),
                              next_step=f"{step}; a version never changes")  # fmt: skip
    if tagged:
        return _report(repository, version, files_at(repository, "HEAD"), written=False)
    here = repository.ask("describe", "--tags", "--exact-match", "HEAD")
    if not plan.paths and here and manifest_at(repository, "HEAD"):
        what = f"nothing has changed since version {here}"
        raise ReleaseKitError(what, where=str(repository.folder), next_step="there is nothing to save")
    return None


def _report(repository: Repository, version: str, files: Mapping[str, DatasetFile], **facts: Any) -> SaveReport:
    manifest = manifest_at(repository, "HEAD")
    return SaveReport(
        folder=repository.folder,
        version=version,
        commit=repository.git("rev-parse", "HEAD"),
        tree=repository.git("rev-parse", "HEAD^{tree}"),
        root=manifest.root if manifest else "",
        n_files=len(files),
        size_bytes=sum(file.size_bytes for file in files.values()),
        **facts,
    )


def _version_before(repository: Repository) -> str | None:
    """Return the newest tag that HEAD follows."""
    return repository.ask("describe", "--tags", "--abbrev=0", "HEAD") if has_commit(repository) else None


def _written_before(guard: Guard) -> frozenset[str]:
    """Return the paths that conversion owned at the last save here."""
    from release_kit.core.canonical import read_json

    path = guard.state / _WRITTEN
    return frozenset(read_json(path)) if path.is_file() else frozenset()


def _identity(folder: Path, author: str | None) -> Identity:
    if author is not None:
        return parse_identity(author)
    asked = Repository(folder)
    name, email = asked.ask("config", "user.name"), asked.ask("config", "user.email")
    if not name or not email:
        step = "name one: --author 'Ada Example <ada@example.org>', or set user.name and user.email of git"
        raise UsageError("nobody is named as the author of the version", where=str(folder), next_step=step)
    return Identity(name=name, email=email)


def _listed(paths: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
