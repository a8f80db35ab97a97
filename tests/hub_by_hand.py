"""Put a release onto a local Hub with plain HTTP requests, in any layout: for tests of what reads from a Hub.

Uses nothing of release_kit's own publishing but the plan of where each file goes.
"""

import base64
import hashlib
import http.client
import json
from collections.abc import Mapping

from release_factory import TinyRelease

from release_kit.core.placement import Place, Placement
from release_kit.hub.reference import Repo
from release_kit.release.publish.layout import PublishPlan, plan_publish


class ByHand:
    """One connection to a local Hub."""

    def __init__(self, endpoint: str):
        self._connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes | dict = b"") -> bytes:
        """Send one request and return the body of its answer; 409 (exists) is fine."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, path, body=data, headers={"content-type": "application/json"})
        reply = self._connection.getresponse()
        content = reply.read()
        assert reply.status < 300 or reply.status == 409, (method, path, reply.status, content[:300])
        return content

    def create(self, repo: Repo) -> None:
        """Create a repo."""
        organization, name = repo.id.split("/")
        self.ask("POST", "/api/repos/create", {"name": name, "organization": organization, "type": repo.type})

    def commit(self, repo: Repo, branch: str, files: Mapping[str, bytes]) -> str:
        """Commit files, weights and tables as LFS, and return the commit."""
        lines = [{"key": "header", "value": {"summary": "release", "description": ""}}]
        for path, data in files.items():
            if path.endswith((".safetensors", ".parquet")):
                lines.append(self._large(repo, path, data))
            else:
                value = {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}
                lines.append({"key": "file", "value": value})
        body = "\n".join(json.dumps(line) for line in lines).encode()
        return json.loads(self.ask("POST", f"{repo.api_path}/commit/{branch}", body))["commitOid"]

    def tag(self, repo: Repo, revision: str, name: str) -> None:
        """Tag a revision."""
        self.ask("POST", f"{repo.api_path}/tag/{revision}", {"tag": name})

    def _large(self, repo: Repo, path: str, data: bytes) -> dict:
        oid = hashlib.sha256(data).hexdigest()
        wish = {
            "operation": "upload",
            "transfers": ["basic"],
            "objects": [{"oid": oid, "size": len(data)}],
            "hash_algo": "sha256",
        }
        page = repo.page_path
        [answer] = json.loads(self.ask("POST", f"{page}.git/info/lfs/objects/batch", wish))["objects"]
        if "actions" in answer:
            self.ask("PUT", "/" + answer["actions"]["upload"]["href"].split("/", 3)[3], data)
        return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": len(data)}}


def publish_by_hand(
    endpoint: str, release: TinyRelease, layout: str = "repos", namespace: str = "lab", **changed: bytes
) -> str:
    """Publish a release and return its reference; ``changed`` replaces ``manifest`` or ``placement`` bytes."""
    plan = plan_publish(release.manifest, namespace=namespace, layout=layout)
    with ByHand(endpoint) as hand:
        _publish(hand, release, plan, changed)
    return f"{endpoint}/{plan.index_repo.id}@{plan.tag}"


def _publish(hand: ByHand, release: TinyRelease, plan: PublishPlan, changed: Mapping[str, bytes]) -> None:
    cells: dict[str, Place] = {}
    for target in plan.cell_targets:
        hand.create(target.repo)
        if target.branch != "main":
            hand.ask("POST", f"{target.repo.api_path}/branch/{target.branch}", {})
        commit = hand.commit(target.repo, target.branch, {f.path: release.files[f.tree_path] for f in target.files})
        if target.tag:
            hand.tag(target.repo, commit, target.tag)
        for name, folder in target.cells.items():
            cells[name] = Place(repo_id=target.repo.id, repo_type=target.repo.type, revision=commit, prefix=folder)
    results = None
    if plan.results_target is not None:
        target = plan.results_target
        hand.create(target.repo)
        commit = hand.commit(target.repo, target.branch, {f.path: release.files[f.tree_path] for f in target.files})
        hand.tag(target.repo, commit, target.tag)
        results = Place(repo_id=target.repo.id, repo_type="dataset", revision=commit)
    placement = Placement(
        study=release.manifest.study,
        version=release.manifest.version,
        layout=plan.layout,
        manifest_sha256=release.manifest_sha256,
        cells=cells,
        results=results,
    )
    files = {f.path: release.files[f.tree_path] for f in plan.index_files}
    files["manifest.json"] = changed.get("manifest", release.manifest.to_bytes())
    files["placement.json"] = changed.get("placement", placement.to_bytes())
    hand.create(plan.index_repo)
    commit = hand.commit(plan.index_repo, "main", files)
    hand.tag(plan.index_repo, commit, plan.tag)
