"""What a publication has proved so far, kept beside the study so that an interrupted one continues.

The facts are hints: every one is held against the Hub's refs before it is believed. One journal belongs to one
endpoint, account and layout; copies of the manifests it speaks of lie beside it.
"""

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.core.journal import Journal
from release_kit.core.manifest import Manifest
from release_kit.hub.reference import Repo
from release_kit.release.publish.layout import PublishPlan, Target

SCHEMA_VERSION = 1


class PublishJournal:
    """The journal of one publication; a context manager.

    Args:
        study_folder: its ``.release_kit`` folder holds the journal.
        endpoint: the Hub.
        plan: what is published.
    """

    def __init__(self, study_folder: Path, endpoint: str, plan: PublishPlan):
        header = {
            "schema_version": SCHEMA_VERSION,
            "job": "publish",
            "endpoint": endpoint,
            "namespace": plan.namespace,
            "study": plan.study,
            "layout": plan.layout,
        }
        self._folder = study_folder / STATE_FOLDER
        name = f"publish-{plan.namespace}-{plan.layout}-{canonical.digest(header)[:8]}.jsonl"
        self._journal = Journal(self._folder / name, header)
        self._lock = threading.Lock()
        self._plan = plan
        facts = self._journal.facts
        self.made = {Repo(*fact["repo"]) for fact in facts if fact.get("fact") == "repo"}
        self._ready: dict[str, set[str]] = {}
        self.commits: set[str] = set()
        for fact in facts:
            if fact.get("fact") == "ready":
                self._ready.setdefault(fact["state"], set()).add(fact["commit"])
                self.commits.add(fact["commit"])

    def __enter__(self) -> "PublishJournal":
        return self

    def __exit__(self, *exc_info) -> None:
        self._journal.close()

    def begin(self, manifest: Manifest) -> list[Manifest]:
        """Note durably what is about to be sent, before anything is.

        Returns:
            The manifests that this journal began with before: their content on the Hub is ours.
        """
        sha256 = self._plan.manifest_sha256
        begun = list(dict.fromkeys(f["manifest"] for f in self._journal.facts if f.get("fact") == "begin"))
        if sha256 not in begun:
            write_atomic(self._copy(sha256), manifest.to_bytes())
            self._journal.append({"fact": "begin", "manifest": sha256}, durable=True)
        return [found for known in begun if known != sha256 and (found := self._read(known)) is not None]

    def repo_made(self, repo: Repo) -> None:
        """Note that a repo was made by this publication."""
        with self._lock:
            if repo in self.made:
                return
            self.made.add(repo)
        self._journal.append({"fact": "repo", "repo": [repo.id, repo.type]})

    def ready(self, target: Target, commit: str) -> None:
        """Note that a commit was seen to hold exactly what ``target`` wants."""
        state = state_digest(target)
        with self._lock:
            if commit in self._ready.get(state, ()):
                return
            self._ready.setdefault(state, set()).add(commit)
            self.commits.add(commit)
        self._journal.append({"fact": "ready", "target": target.key, "state": state, "commit": commit})

    def is_ready(self, target: Target, commit: str) -> bool:
        """Return whether ``commit`` was seen to hold exactly what ``target`` wants."""
        return commit in self._ready.get(state_digest(target), ())

    def done(self, reference: str) -> None:
        """Note that the release is complete; copies of older manifests are not needed any more."""
        fact = {"fact": "done", "manifest": self._plan.manifest_sha256, "reference": reference}
        if not self._journal.facts or self._journal.facts[-1] != fact:
            self._journal.append(fact, durable=True)

    def _copy(self, sha256: str) -> Path:
        return self._folder / "manifests" / f"{sha256}.json"

    def _read(self, sha256: str) -> Manifest | None:
        path = self._copy(sha256)
        try:
            return Manifest.from_dict(canonical.read_json(path), str(path))
        except ReleaseKitError:
            return None


def state_digest(target: Target) -> str:
    """Return one digest of where and what a target is; equal states need no second look."""
    lines: Iterable[str] = (f"{file.path}\0{file.entry.size_bytes}\0{file.entry.sha256}" for file in target.files)
    head = f"{target.repo.type}\0{target.repo.id}\0{target.branch}"
    return hashlib.sha256("\n".join([head, *sorted(lines)]).encode()).hexdigest()
