"""For tests of publish: a Hub that kills its client at an exact request, and the end state of a Hub to compare.

The client is a process of its own, forked from a single-threaded helper, so that SIGKILL is the real one and starting
costs milliseconds. Nothing of release_kit is patched: the Hub counts requests where it notes and picks faults.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.canonical import parse_json, read_json
from release_kit.core.files import write_atomic
from release_kit.core.hashing import digest_bytes, git_blob_sha1
from release_kit.core.manifest import FileEntry, Manifest, root_digest
from release_kit.core.placement import Placement
from release_kit.hub.client import HubClient
from release_kit.hub.pacing import Patience
from release_kit.hub.reference import Repo
from release_kit.hub.server import LocalHub
from release_kit.hub.server.faults import Fault, FaultPlan
from release_kit.hub.server.records import RequestLog, RequestRecord
from release_kit.hub.upload import SendFile

QUICK = Patience(tries=12, base_s=0.01, pause_s=0.02, wait_s=5, connect_s=5, read_s=20)
"""Retries as in real life, with pauses that a test can afford."""

WRITES = ("POST", "PUT", "DELETE", "PATCH")


def send_file(path: str, data: bytes) -> SendFile:
    """Return a file with its identities, as somebody sends it."""
    return SendFile(
        path=path,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        git_sha1=git_blob_sha1(data),
        source=data,
    )


def edit_card(study_folder: Path, name: str, text: str = "\n<!-- a correction -->\n") -> None:
    """Change one card in place, as a build with another card would; the manifest follows."""
    folder = study_folder / "release"
    card = folder / "cells" / name / "README.md"
    card.write_text(card.read_text() + text)
    value = read_json(folder / "manifest.json")
    for cell in value["cells"]:
        if cell["name"] == name:
            entry = FileEntry.of("README.md", digest_bytes(card.read_bytes()))
            (file,) = [file for file in cell["files"] if file["path"] == "README.md"]
            file |= {"size_bytes": entry.size_bytes, "sha256": entry.sha256, "git_sha1": entry.git_sha1}
    manifest = Manifest.from_dict(value | {"root": _root(value)})
    write_atomic(folder / "manifest.json", manifest.to_bytes())


def _root(value: dict) -> str:
    groups = [(f"cells/{cell['name']}", cell["files"]) for cell in value["cells"]]
    groups += [(name, value[name]) for name in ("index", "results")]
    return root_digest((f"{g}/{f['path']}", f["size_bytes"], f["sha256"]) for g, files in groups for f in files)


def n_writes(hub: LocalHub) -> int:
    """Return how many requests asked for a change since the last ``clear_requests``."""
    return sum(record.method in WRITES for record in hub.requests)


class Victim:
    """The process that is killed at one request; ``pid`` is known before it sends anything."""

    def __init__(self, at: int, *, before: bool, signal_number: int = signal.SIGKILL):
        self.at, self.before, self.signal_number = at, before, signal_number
        self.pid = 0
        self.count = 0
        self.armed = threading.Event()

    def kill(self) -> None:
        """Kill it; it is gone as far as the Hub is concerned."""
        self.armed.wait(10)
        os.kill(self.pid, self.signal_number)


class KillBefore(FaultPlan):
    """Kills the client when its n-th request arrives, and does nothing of what it asks."""

    def __init__(self, victim: Victim):
        super().__init__([Fault(kind="reset", path="$^")])
        self._victim = victim

    def pick(self, method: str, path: str) -> list[Fault]:
        """Count one request."""
        self._victim.count += 1
        if self._victim.count != self._victim.at:
            return []
        self._victim.kill()
        return [Fault(kind="reset")]


class KillAfter(RequestLog):
    """Kills the client when its n-th request has been carried out, before it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.victim: Victim | None = None

    def add(self, record: RequestRecord) -> None:
        """Count one request."""
        super().add(record)
        if self.victim is not None:
            self.victim.count += 1
            if self.victim.count == self.victim.at:
                self.victim.kill()


class Children:
    """Runs ``release-kit publish`` in forked processes, one after the other; a context manager."""

    def __enter__(self) -> "Children":
        command = [sys.executable, __file__]
        self._helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._helper.stdin.close()
        self._helper.stdout.close()
        self._helper.wait()

    def publish(self, arguments: list[str], victim: Victim | None = None) -> int:
        """Run the command and return its exit code, ``-9`` for a process that was killed."""
        self._helper.stdin.write(json.dumps(arguments) + "\n")
        self._helper.stdin.flush()
        if victim is not None:
            victim.pid = int(self._helper.stdout.readline())
            victim.armed.set()
        else:
            self._helper.stdout.readline()
        return int(self._helper.stdout.readline())


def end_state(hub: LocalHub, namespace: str) -> dict[str, Any]:
    """Return everything that readers can see, with what depends on the time of day taken out.

    For every repo: branches and tags → files with identities, commits on each branch; then the placement with each
    commit replaced by the files it holds, and the items of the collections.
    """
    with HubClient(hub.endpoint) as client:
        repos = [*client.list_repos(namespace), *client.list_repos(namespace, "dataset")]
        state: dict[str, Any] = {str(repo): _repo_state(client, repo) for repo in repos}
        for page in client._channel.pages(f"/api/collections?owner={namespace}", what="collections"):
            for item in page:
                items = client.read_collection(item["slug"]).items
                state[f"collection {item['title']}"] = sorted(str(repo) for repo in items)
    return state


def _repo_state(client: HubClient, repo: Repo) -> dict[str, Any]:
    refs = client.list_refs(repo)
    state: dict[str, Any] = {}
    for kind, names in (("branch", refs.branches), ("tag", refs.tags)):
        for name, commit in names.items():
            files = files_at(client, repo, commit)
            for path in {"placement.json", ".release/placement.json"} & files.keys():
                files[path] = _placement_state(client, repo, commit, path)
            state[f"{kind} {name}"] = files
    state["commits"] = {branch: len(client.list_commits(repo, branch)) for branch in refs.branches}
    return state


def files_at(client: HubClient, repo: Repo, revision: str) -> dict[str, Any]:
    """Return path → identity."""
    return {file.path: file.identity for file in client.list_tree(repo, revision)}


def _placement_state(client: HubClient, repo: Repo, commit: str, path: str) -> Mapping[str, Any]:
    data = client.read_bytes(repo, commit, path)
    value = Placement.from_dict(parse_json(data, path)).to_dict()
    for place in [*value["cells"].values(), *([value["results"]] if value["results"] else [])]:
        where = Repo(place["repo_id"], place["repo_type"])
        place["revision"] = files_at(client, where, place["revision"])
    return value


def _serve_children() -> None:
    """Fork one child for every line on stdin; print its process id, then how it ended."""
    from release_kit.cli import main

    # Everything heavy is imported once, here.
    from release_kit.release.publish import run as publish

    assert publish
    with HubClient("http://127.0.0.1:9"):
        pass
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started with it ignored
            try:
                main(json.loads(line))
            except SystemExit as error:
                os._exit(error.code or 0)
            finally:
                os._exit(70)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve_children()
