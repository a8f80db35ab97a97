"""Small replicas of releases as others made them, on a local Hub: branches per step, folders per layer, repos per seed.

The files are real (safetensors with a header, indexes, configs, trainer states, cards with front matter); only their
size is not. Every function first makes a clean release as ``{revision: {path: bytes}}``; tests plant defects in it and
put it on the Hub.
"""

import hashlib
import json
import struct
from collections.abc import Mapping

from release_kit.core.hashing import git_blob_sha1, map_ordered
from release_kit.hub.client import HubClient
from release_kit.hub.reference import Repo
from release_kit.hub.upload import NewCommit, SendFile

Files = dict[str, bytes]
Release = dict[str, Files]
"""Branch → its files."""

PYTHIA_STEPS = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))
"""The 154 steps of the Pythia suite."""

CARD = """---
license: apache-2.0
base_model: test-lab/start
model-index:
- name: run
  results:
  - task: {type: text-generation}
    dataset: {type: arc, name: ARC}
    metrics:
    - {type: acc, value: 0.5}
    source: {name: results, url: https://example.org/results.json}
---

# A run with a checkpoint per branch

Load one with `revision="step3000"`.
"""


def tensor_bytes(seed: str, n_values: int = 24) -> bytes:
    """Return a real safetensors file with one float32 tensor whose values follow from ``seed``."""
    data = b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest()[:3] + b"\x3c" for i in range(n_values))
    header = {"weight": {"dtype": "F32", "shape": [n_values], "data_offsets": [0, len(data)]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def checkpoint(seed: str, *, shards: int = 2) -> Files:
    """Return a checkpoint: shards with their index (or one file), config and card."""
    files = {"README.md": CARD.encode(), "config.json": _json({"model_type": "gpt_neox", "hidden_size": 8})}
    if shards == 1:
        return files | {"model.safetensors": tensor_bytes(seed)}
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    files |= {name: tensor_bytes(f"{seed} {name}") for name in names}
    weight_map = {f"layer.{i}.weight": name for i, name in enumerate(names)}
    index = {"metadata": {"total_size": 24 * 4 * shards}, "weight_map": weight_map}
    return files | {"model.safetensors.index.json": _json(index)}


def pythia(steps: tuple[int, ...] = PYTHIA_STEPS, *, shards: int = 2) -> Release:
    """Return a clean release with a branch per step, main at the last one."""
    release = {f"step{step}": checkpoint(f"step{step}", shards=shards) for step in steps}
    return release | {"main": dict(release[f"step{steps[-1]}"])}


def olmo(n: int = 12) -> Release:
    """Return branches ``stage1-step{n}-tokens{m}B`` at 4.194 million tokens a step, with trainer states."""
    release = {}
    for step in range(101000, 101000 + 1000 * n, 1000):
        tokens = -(-step * 4.194304e6 // 1e9)
        files = checkpoint(f"olmo {step}", shards=1) | {
            "trainer_state.json": _json({"global_step": step, "epoch": 0.5})
        }
        release[f"stage1-step{step}-tokens{tokens:.0f}B"] = files
    return release | {"main": dict(files)}


def sae_folders(layers: int = 12, widths: tuple[str, ...] = ("16k", "65k", "131k")) -> Release:
    """Return one repo with a folder per layer and width, as sparse autoencoders are published."""
    files: Files = {"README.md": CARD.encode()}
    for layer in range(layers):
        for width in widths:
            l0 = 20 + int(hashlib.sha256(f"{layer}{width}".encode()).hexdigest(), 16) % 100
            folder = f"layer_{layer}/width_{width}/average_l0_{l0}"
            files[f"{folder}/sae_weights.safetensors"] = tensor_bytes(f"sae {layer} {width}")
            files[f"{folder}/cfg.json"] = _json({"d_in": 8, "width": width, "layer": layer})
    return {"main": files}


def put_release(client: HubClient, repo: Repo, release: Mapping[str, Files]) -> None:
    """Put a release on a Hub: every branch gets exactly the given files (beside the repo's ``.gitattributes``)."""
    client.create_repo(repo)
    start = client.resolve(repo)
    everything = {hashlib.sha256(data).hexdigest(): data for files in release.values() for data in files.values()}
    large = [_send(f"{sha256}.safetensors", data) for sha256, data in everything.items() if _is_large(data)]
    client.upload(repo, large)

    def put(item: tuple[str, Files]) -> None:
        branch, files = item
        if branch != "main":
            client.create_branch(repo, branch, start)
        _commit(client, repo, branch, files, start)

    list(map_ordered(put, release.items(), 8))


def replace_files(client: HubClient, repo: Repo, branch: str, files: Files) -> None:
    """Put other files over those of a branch, in one more commit."""
    client.upload(repo, [_send(path, data) for path, data in files.items() if _is_large(data)])
    _commit(client, repo, branch, files, client.resolve(repo, branch))


def _commit(client: HubClient, repo: Repo, branch: str, files: Files, parent: str) -> None:
    sent = [_send(path, data) for path, data in sorted(files.items())]
    large = frozenset(path for path, data in files.items() if _is_large(data))
    client.commit(repo, branch, NewCommit(title=f"files of {branch}", files=sent, large=large, parent=parent))


def _send(path: str, data: bytes) -> SendFile:
    sha256 = hashlib.sha256(data).hexdigest()
    return SendFile(path=path, size_bytes=len(data), sha256=sha256, source=data, git_sha1=git_blob_sha1(data))


def _is_large(data: bytes) -> bool:
    return b"\0" in data


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
