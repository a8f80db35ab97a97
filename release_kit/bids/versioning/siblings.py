"""``release-kit bids publish``: a saved version to its siblings, and how a clone takes one up.

A sibling is a RIA store, a directory (history and special remote), a plain tree (special remote with ``exporttree``)
or a folder for a web server. Contents go first, the history that speaks of them last.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.versioning.annex import DESCRIPTION, NOBODY, Identity, Repository, VersioningError, failed_records
from release_kit.bids.versioning.contents import manifest_at
from release_kit.bids.versioning.identity import NOBODY_SAID, Search, check_leaving
from release_kit.bids.versioning.leaving import list_history, list_version
from release_kit.bids.versioning.remotes import publishing, refuse_taken, settle_store
from release_kit.bids.versioning.sources import DIRECTORY_ANNEX, DIRECTORY_GIT, Reference
from release_kit.bids.versioning.tracked import changes, has_commit, is_repository
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.core.wording import counted

KINDS = ("ria", "directory", "tree", "web")

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class PublishReport:
    """Where a version went."""

    kind: str
    name: str
    version: str
    ref: str
    """What ``get`` takes."""
    n_contents: int
    """Contents that the sibling holds now (files, for a plain tree that changed)."""
    notes: tuple[str, ...] = ()
    """What needs a look but tells nothing about a person by itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {"ok": True, "kind": self.kind, "name": self.name, "version": self.version, "ref": self.ref,
                "n_contents": self.n_contents, "notes": list(self.notes)}  # fmt: skip


def publish_dataset(
    folder: Path,
    kind: str,
    location: Path,
    *,
    name: str | None = None,
    alias: str | None = None,
    workers: int = 2,
    search: Search = NOBODY_SAID,
    on_event: Say | None = None,
) -> PublishReport:
    """Bring the newest version of a saved dataset to a sibling; made when it is not there, continued when it is.

    One publication at a time: children of a call that was killed are waited for.

    Everything that would leave is searched first for what may identify a person: the files of the version for a plain
    tree, else those of every commit, and its messages.

    Args:
        folder: the dataset.
        kind: one of ``KINDS``.
        location: the store, or the folder of the sibling.
        name: the sibling's name in git; None takes the kind.
        alias: name of the dataset in a RIA store; None uses its id only.
        workers: files copied at once.
        search: which words must appear nowhere, and by whose word.
        on_event: told ``{"event": "searching", "n"}``, ``{"event": "waiting", "who"}``
            and ``{"event": "copied", "path"}``.

    Raises:
        UsageError: an unknown kind, or nobody has said which words must appear nowhere.
        IntegrityError: something identifying would leave, or something that cannot be looked into.
        ReleaseKitError: nothing is saved, something is unsaved, the place holds something else, another publication is
            at work, or a copy failed.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of sibling", next_step=f"take one of {', '.join(KINDS)}")
    folder, location = Path(os.path.abspath(folder)), Path(os.path.abspath(location))
    name = name or kind
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "origin":
        raise UsageError(f"{name!r} cannot be the name of a sibling", next_step="take letters, digits and dashes")
    if location == folder or folder in location.parents:
        raise UsageError("a sibling cannot lie inside the dataset", where=str(location))
    repository = Repository(folder, _identity(folder))
    version = _saved_version(repository)
    say = on_event or (lambda event: None)
    leaving = list_version(repository, version) if kind == "tree" else list_history(repository)
    notes = check_leaving(repository, leaving, search, say)
    with publishing(Path(repository.git("rev-parse", "--absolute-git-dir")), say) as held:
        holding = Repository(folder, repository.identity, held=held)
        work = _Publish(repository=holding, name=name, location=location, version=version, workers=workers, say=say)
        ref, n_contents = {
            "ria": lambda: work.ria(alias), "directory": work.directory, "tree": work.tree, "web": work.web
        }[kind]()  # fmt: skip
    return PublishReport(kind=kind, name=name, version=version, ref=ref, n_contents=n_contents, notes=notes)


@dataclass(frozen=True, kw_only=True)
class _Publish:
    repository: Repository
    name: str
    location: Path
    version: str
    workers: int
    say: Say

    def ria(self, alias: str | None) -> tuple[str, int]:
        """Fill a RIA store as DataLad makes it."""
        repository = self.repository
        dataset_id = repository.git("config", "--file", ".datalad/config", "datalad.dataset.id")
        bare = self.location / dataset_id[:3] / dataset_id[3:]
        storage, store = f"{self.name}-storage", f"ria+file://{self.location}"
        known = self._known(self.name, bare)
        settle_store(repository, storage, store)
        if not known or not (bare / "HEAD").is_file():
            words = ["create-sibling-ria", "--name", self.name, "--new-store-ok", "--existing", "reconfigure"]
            named = ["--alias", alias] if alias else []
            repository.run(["datalad", *words, *named, store])
            confirm_remote(repository, storage)
        n = self._copy(storage)
        self._push(self.name, bare)
        return f"{store}#{'~' + alias if alias else dataset_id}", n

    def directory(self) -> tuple[str, int]:
        """Fill ``location/annex`` and push the history to ``location/dataset.git``."""
        contents, bare = self.location / DIRECTORY_ANNEX, self.location / DIRECTORY_GIT
        there = self._known(f"{self.name}-annex", contents)
        self._make_place(self.location, there)
        contents.mkdir(exist_ok=True)
        if not there:
            self._init_remote(f"{self.name}-annex", contents)
        n = self._copy(f"{self.name}-annex")
        self._bare(bare)
        self._push(self.name, bare)
        return str(self.location), n

    def tree(self) -> tuple[str, int]:
        """Export the version as plain files."""
        repository = self.repository
        if not self._known(self.name, self.location):
            self._make_place(self.location, False)
            self._init_remote(self.name, self.location, "exporttree=yes")
        records = repository.annex_records("export", self.version, "--to", self.name, f"--jobs={self.workers}")
        return str(self.location), self._told(records)

    def web(self) -> tuple[str, int]:
        """Fill a bare repository that any web server can serve as files."""
        self._make_place(self.location, self._known(self.name, self.location))
        self._bare(self.location)
        bare = Repository(self.location, self.repository.identity)
        if bare.ask("config", "annex.uuid") is None:
            bare.annex("init", "--quiet", DESCRIPTION)
        self._remote(self.name, self.location)
        n = self._copy(self.name)
        self._push(self.name, self.location)
        return str(self.location), n

    def _known(self, name: str, folder: Path) -> bool:
        """Return whether a remote is there already.

        Raises:
            ReleaseKitError: it is, and lies in another place.
        """
        for setting in ("annex-directory", "url"):
            place = self.repository.ask("config", "--local", f"remote.{name}.{setting}")
            if place is not None and os.path.realpath(place) != os.path.realpath(folder):
                what = f"the sibling {self.name!r} lies at {place}"
                step = f"publish there, or give this one another name: --name {self.name}2"
                raise ReleaseKitError(what, where=str(folder), next_step=step)
            if place is not None:
                return True
        return False

    def _make_place(self, folder: Path, known: bool) -> None:
        if folder.is_dir() and any(folder.iterdir()) and not known and not _is_ours(folder, self.repository):
            what = "is not empty and no sibling of this dataset"
            raise ReleaseKitError(what, where=str(folder), next_step="name a folder that does not exist")
        folder.mkdir(parents=True, exist_ok=True)

    def _init_remote(self, name: str, folder: Path, *more: str) -> None:
        refuse_taken(self.repository, name, folder)
        self.repository.annex("initremote", name, "type=directory", f"directory={folder}", "encryption=none", *more)

    def _bare(self, folder: Path) -> None:
        if not (folder / "HEAD").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            Repository(folder).git("init", "--quiet", "--bare", "-b", self._branch())
        self._remote(self.name, folder)

    def _remote(self, name: str, folder: Path) -> None:
        if self.repository.ask("config", "--local", f"remote.{name}.url") is None:
            self.repository.git("remote", "add", name, str(folder))

    def _branch(self) -> str:
        return self.repository.git("symbolic-ref", "--short", "HEAD")

    def _copy(self, remote: str) -> int:
        """Bring every content of every version to a remote."""
        records = self.repository.annex_records("copy", "--all", "--to", remote, f"--jobs={self.workers}")
        return self._told(records)

    def _told(self, records: list[dict[str, Any]]) -> int:
        for record in records:
            self.say({"event": "copied", "path": record.get("file") or record.get("key"), "ok": record.get("success")})
        if failed := failed_records(records):
            what = f"{counted(len(failed), 'file')} could not be copied: {'; '.join(failed[:5])}"
            raise VersioningError(what, where=str(self.location), next_step="free space or mend the place, run again")
        return sum(bool(record.get("success")) for record in records)

    def _push(self, name: str, bare: Path) -> None:
        """Push the branch, git-annex's branch and the versions, and let web servers find them."""
        branch = self._branch()
        self.repository.git("fetch", "--quiet", name)
        self.repository.annex("merge", "--quiet")
        self.repository.git("push", "--quiet", name, branch, "git-annex", "--tags")
        Repository(bare).git("update-server-info")


def enable_directory(repository: Repository, base: str) -> None:
    """Let a clone of a directory sibling use the special remote beside it.

    git-annex trusts no special remote that another repository describes until somebody has said that it is the one;
    whoever named ``base`` has said so.

    Raises:
        VersioningError: the clone knows no special remote of this kind, or git-annex refuses it.
    """
    folder = os.path.join(base, DIRECTORY_ANNEX)
    _, log = repository.run(["git", "cat-file", "blob", "git-annex:remote.log"], ok=(0, 128))
    for line in os.fsdecode(log).splitlines():
        fields = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        if fields.get("type") == "directory" and fields.get("exporttree") != "yes" and fields.get("name"):
            name = fields["name"]
            repository.annex("enableremote", name, f"directory={folder}")
            confirm_remote(repository, name)
            return
    raise VersioningError("describes no directory with its contents", where=base)


def ignore_others(repository: Repository, reference: Reference) -> None:
    """Let a clone take contents from where it was cloned only, not from siblings that enable themselves."""
    for name in repository.git("remote").splitlines():
        external = repository.ask("config", "--local", f"remote.{name}.annex-externaltype")
        in_folder = repository.ask("config", "--local", f"remote.{name}.annex-directory") is not None
        own = {"ria": external in ("ora", "ria"), "directory": in_folder}.get(reference.kind, name == "origin")
        if not own:
            repository.git("config", "--local", f"remote.{name}.annex-ignore", "true")


def confirm_remote(repository: Repository, name: str) -> None:
    """Answer git-annex's question whether a special remote is the one that is meant.

    The answer it wants has another number at every call, so it is read and given at once.
    """
    code, said = repository.run(["git-annex", "verifyremote", name], ok=(0, 1))
    found = re.search(rb"--safe[ =](\S+)", said)
    if found:
        repository.annex("verifyremote", name, "--safe", os.fsdecode(found[1]))
    elif code:
        raise VersioningError(f"git-annex does not let the remote {name} be used", where=str(repository.folder))


def _saved_version(repository: Repository) -> str:
    """Return the version that HEAD is, refused when something is unsaved."""
    if not is_repository(repository.folder) or not has_commit(repository):
        raise ReleaseKitError("holds no saved version", where=str(repository.folder),
                              next_step="save it first: release-kit bids save")  # fmt: skip
    version = repository.ask("describe", "--tags", "--exact-match", "HEAD")
    unsaved = changes(repository)
    if version is None or unsaved or manifest_at(repository, "HEAD") is None:
        what = f"{len(unsaved)} unsaved changes" if unsaved else "commits after the last version"
        raise ReleaseKitError(f"there are {what}", where=str(repository.folder),
                              next_step="save them as a version first: release-kit bids save")  # fmt: skip
    return version


def _is_ours(folder: Path, repository: Repository) -> bool:
    """Return whether a folder holds a history of this dataset: a sibling of an interrupted call, or of a clone."""
    bare = folder / DIRECTORY_GIT if (folder / DIRECTORY_GIT).is_dir() else folder
    if not (bare / "HEAD").is_file():
        return {entry.name for entry in folder.iterdir()} <= {DIRECTORY_ANNEX} and not any(folder.glob("annex/*"))
    heads = (Repository(bare).ask("for-each-ref", "--format=%(objectname)", "refs/heads/main") or "").split()
    return all(repository.ask("cat-file", "-e", head) is not None for head in heads)


def _identity(folder: Path) -> Identity:
    """Return whoever made the newest commit; git-annex's notes on where contents went are under that name."""
    asked = Repository(folder)
    name, email = asked.ask("log", "-1", "--format=%cn"), asked.ask("log", "-1", "--format=%ce")
    return Identity(name=name, email=email) if name and email else NOBODY
