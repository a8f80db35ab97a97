"""Publishing 1,000 checkpoints (adapter, config, card) to a local Hub: release_kit beside HfApi.upload_folder.

    python benchmarks/release_publish.py [--cells 1000] [--rounds 2] [--only ours-repos,hf-loop-lfs]

Every run is a process of its own against an empty Hub in a process of its own; ways take turns within a round, so that
a busy machine slows all of them. release_kit also compares with the Hub's listing, tags every repo and publishes an
index; the peer makes the repos and uploads. Neither makes a collection (one more request for each repo). Times leave
out the start of the interpreter. Of several rounds the best wall time counts; processor time is the median.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

WAYS = (
    "ours-repos", "ours-branches", "ours-folders",
    "hf-loop-lfs", "hf-threads-lfs", "hf-loop-xet", "hf-threads-xet",
)  # fmt: skip
THREADS = 8
CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "base_model_name_or_path": "lab/base"}


def main() -> None:
    """Run the ways in turns and print one JSON object with ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(WAYS))
    parser.add_argument("--run", nargs=3, metavar=("WAY", "FOLDER", "ENDPOINT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_way(*options.run)
        return
    ways = options.only.split(",")
    runs: dict[str, list[dict]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "release"
        write_release(release, options.cells)
        for number in range(options.rounds):
            for way in ways:
                runs[way].append(measure(way, release, Path(folder) / f"hub-{way}-{number}", options.cells))
                print(f"round {number + 1}: {way}: {runs[way][-1]}", file=sys.stderr, flush=True)
    print(json.dumps(summary(runs, options), indent=1))


def write_release(root: Path, n_cells: int) -> None:
    """Write a release of ``n_cells`` adapters of 16 tensors (about 70 kB), each with weights of its own."""
    from release_kit.core.grid import cell_id_of
    from release_kit.core.hashing import hash_file
    from release_kit.core.manifest import CellEntry, FileEntry, Manifest

    random = np.random.default_rng(0)
    cells = []
    for number in range(n_cells):
        levels = {"dataset": f"d{number // 10:04d}", "seed": number % 10}
        name = f"adapter-{levels['dataset']}-s{levels['seed']}"
        folder = root / "cells" / name
        folder.mkdir(parents=True)
        write_adapter(folder / "adapter_model.safetensors", random)
        (folder / "adapter_config.json").write_text(json.dumps(CONFIG, indent=2))
        (folder / "README.md").write_text(f"---\nlicense: mit\nlibrary_name: peft\n---\n# {name}\n\nA small adapter.\n")
        files = tuple(FileEntry.of(path.name, hash_file(path)) for path in sorted(folder.iterdir()))
        cells.append(CellEntry(cell_id=cell_id_of(levels), name=name, levels=levels, kind="adapter", files=files))
    index = root / "index" / "README.md"
    index.parent.mkdir()
    index.write_text("# adapters\n")
    manifest = Manifest(
        study="adapters", version="1.0.0", cells=tuple(cells), index=(FileEntry.of("README.md", hash_file(index)),)
    )
    (root / "manifest.json").write_bytes(manifest.to_bytes())


def write_adapter(path: Path, random: np.random.Generator) -> None:
    """Write one rank-8 LoRA adapter of eight layers as safetensors."""
    header, blocks, position = {}, [], 0
    for layer in range(8):
        for part, shape in (("lora_A", [8, 128]), ("lora_B", [128, 8])):
            data = random.normal(0, 0.02, shape).astype("float32").tobytes()
            name = f"base_model.model.layers.{layer}.self_attn.q_proj.{part}.weight"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, position + len(data)]}
            blocks.append(data)
            position += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))


def measure(way: str, release: Path, hub_root: Path, n_cells: int) -> dict:
    """Run one way in a process of its own against an empty Hub and return what it took."""
    log = hub_root.with_suffix(".log")
    serve = [sys.executable, "-m", "release_kit", "hub", "serve", "--root", str(hub_root), "--port", "0", "--json",
             "--durability", "fast", "--access-log", str(log)]  # fmt: skip
    hub = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    endpoint = json.loads(hub.stdout.readline())["endpoint"]
    environment = os.environ | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(hub_root.with_suffix(".hf")), "HF_TOKEN": "hf_local",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "0" if way.endswith("xet") else "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "RELEASE_KIT_CACHE": str(hub_root.with_suffix(".sqlite")),
    }  # fmt: skip
    for state in release.glob(".release_kit/publish-*"):
        state.unlink()
    command = [sys.executable, __file__, "--run", way, str(release), endpoint]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    server_cpu_s = _cpu_seconds(hub.pid)
    hub.terminate()
    hub.wait()
    with open(log) as lines:
        n_requests = sum(1 for _ in lines)
    return result | {"server_cpu_s": server_cpu_s, "requests_per_checkpoint": round(n_requests / n_cells, 3)}


def run_way(way: str, folder: str, endpoint: str) -> None:
    """Publish in this process and print what it took."""
    release = Path(folder)
    if way.startswith("ours"):
        import release_kit.release.publish.run  # noqa: F401 - imported before the clock starts
    else:
        from huggingface_hub import HfApi  # noqa: F401 - imported before the clock starts
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    if way.startswith("ours"):
        publish_ours(release, endpoint, way.partition("-")[2])
    else:
        publish_peer(release, way)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_mb = after.ru_maxrss / 1024
    start_mb = before.ru_maxrss / 1024
    print(json.dumps({"wall_s": round(wall_s, 2), "client_cpu_s": round(cpu_s, 2), "peak_rss_mb": round(peak_mb, 1),
                      "rss_growth_mb": round(peak_mb - start_mb, 1)}))  # fmt: skip


def publish_ours(release: Path, endpoint: str, layout: str) -> None:
    """Publish with release_kit: content, comparison, tags, index."""
    from release_kit.hub.client import HubClient
    from release_kit.release.publish.run import PublishOptions, publish_release
    from release_kit.release.tree import open_tree

    with HubClient(endpoint) as client:
        options = PublishOptions(namespace="lab", layout=layout)
        publish_release(open_tree(release), client, options)


def publish_peer(release: Path, way: str) -> None:
    """Make one repo for each folder and upload it with huggingface_hub; no comparison, tag or index."""
    from huggingface_hub import HfApi

    api = HfApi()

    def one(folder: Path) -> None:
        api.create_repo(f"lab/{folder.name}", exist_ok=True)
        api.upload_folder(repo_id=f"lab/{folder.name}", folder_path=folder)

    folders = sorted((release / "cells").iterdir())
    if "threads" in way:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, folders))
    else:
        for folder in folders:
            one(folder)


def summary(runs: dict[str, list[dict]], options: argparse.Namespace) -> dict:
    """Return the figures of every way, and how each compares with ``ours-repos`` in wall and processor time."""
    figures = {}
    for way, found in runs.items():
        figures[way] = {key: round(statistics.median(run[key] for run in found), 3) for key in found[0]}
        figures[way]["wall_s"] = min(run["wall_s"] for run in found)
        figures[way]["cpu_s"] = round(figures[way]["client_cpu_s"] + figures[way]["server_cpu_s"], 2)
    report = {"cells": options.cells, "rounds": options.rounds, "figures": figures}
    if "ours-repos" in figures:
        for key in ("wall_s", "cpu_s"):
            ours = figures["ours-repos"][key]
            report[f"{key} over ours-repos"] = {way: round(f[key] / ours, 2) for way, f in figures.items()}
    return report


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return round((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), 2)


if __name__ == "__main__":
    main()
