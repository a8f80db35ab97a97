"""Verify beside its peers: sha256sum, bagit, model_signing and `hf cache verify`, on the same warm files, in turns.

    python benchmarks/release_verify.py [--rounds 3] [--small] [--shape 3,000]

Shapes: one file of 1 GiB; eight of 256 MiB; eight of 256 MiB as safetensors with --tensors; 3,000 files of
4-256 KiB. Every way is a process of its own, start of the interpreter included; ways take turns within a round, so that
a busy machine slows all of them. ``openssl`` is hashlib's sha256 over 1 MiB of memory in one thread and in one for each
core, and over the warm files in one thread: the bound for everything here. CPU seconds are those of the process and
its children.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from release_kit.core.hashing import default_workers, hash_file
from release_kit.core.manifest import CellEntry, FileEntry, Manifest
from release_kit.core.tensors_file import tensors_bytes

MIB = 1 << 20
Way = Callable[[], None]


def main() -> None:
    """Run all shapes and print one JSON object with the best of all rounds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a sixteenth of the bytes, to try it out")
    parser.add_argument("--shape", default="", help="only shapes whose name holds this text")
    options = parser.parse_args()
    scale = 16 if options.small else 1
    shapes = {
        "one file of 1 GiB": [("model.bin", 1024 * MIB // scale)],
        "eight files of 256 MiB": [(f"part-{i}.bin", 256 * MIB // scale) for i in range(8)],
        "eight safetensors of 256 MiB": [(f"part-{i}.safetensors", 256 * MIB // scale) for i in range(8)],
        "3,000 files of 4-256 KiB": small_sizes(3000 // scale),
    }
    report = {"cores": default_workers(), "rounds": options.rounds, "shapes": {}}
    for label, sizes in shapes.items():
        if options.shape not in label:
            continue
        with tempfile.TemporaryDirectory(prefix="verify-bench-") as folder:
            report["shapes"][label] = measure_shape(Path(folder), sizes, options.rounds)
            print(json.dumps({label: report["shapes"][label]}, indent=1), file=sys.stderr, flush=True)
    print(json.dumps(report, indent=1))


def small_sizes(n: int) -> list[tuple[str, int]]:
    """Return names and sizes of many small files, evenly spread in 100 folders."""
    rng = random.Random(0)
    return [(f"d{i % 100:02}/f{i:04}.bin", rng.randint(4 << 10, 256 << 10)) for i in range(n)]


def measure_shape(folder: Path, sizes: list[tuple[str, int]], rounds: int) -> dict:
    """Return seconds of every way on one set of files."""
    tree = folder / "copy"
    files = tree / "cells" / "one"
    for name, size in sizes:
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, size)
    n_bytes = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    write_manifest(tree, files, with_tensors=sizes[0][0].endswith(".safetensors"))
    with hub_of(folder, files) as hub:
        ways = ways_for(folder, tree, files, hub)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, way in ways.items():
                times[name].append(timed(way))
    return summary(times, n_bytes, len(sizes))


def write_file(path: Path, size: int) -> None:
    """Write random bytes; a safetensors file has tensors of 32 MiB (fewer bytes in small runs)."""
    block = random.Random(path.name).randbytes(min(size, MIB))
    if path.suffix != ".safetensors":
        with open(path, "wb") as stream:
            for start in range(0, size, len(block)):
                stream.write(block[: size - start])
        return
    part = min(32 * MIB, size)
    header = {
        f"layer.{i}": {"dtype": "F32", "shape": [part // 4], "data_offsets": [i * part, (i + 1) * part]}
        for i in range(size // part)
    }
    raw = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for _ in range(size // part * part // len(block)):
            stream.write(block)


def write_manifest(tree: Path, files: Path, *, with_tensors: bool) -> None:
    """Write the manifest of one cell."""
    paths = sorted(path for path in files.rglob("*") if path.is_file())
    digests = {str(path.relative_to(files)): hash_file(path, git=False) for path in paths}
    if with_tensors:
        data = tensors_bytes({name: digest.tensors for name, digest in digests.items()})
        (files / "tensors.json").write_bytes(data)
        digests["tensors.json"] = hash_file(files / "tensors.json")
    entries = tuple(FileEntry.of(name, digest) for name, digest in sorted(digests.items()))
    cell = CellEntry(cell_id="0" * 12, name="one", levels={"n": 1}, kind="weights", files=entries)
    (tree / "manifest.json").write_bytes(Manifest(study="bench", version="1", cells=(cell,)).to_bytes())


class hub_of:
    """A local Hub in a process of its own that holds the files, for ``hf cache verify``."""

    def __init__(self, folder: Path, files: Path):
        self.folder, self.files = folder, files

    def __enter__(self) -> dict[str, str]:
        command = [
            sys.executable,
            "-m",
            "release_kit",
            "hub",
            "serve",
            "--root",
            str(self.folder / "hub"),
            "--port",
            "0",
        ]
        self.server = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
        endpoint = json.loads(self.server.stdout.readline())["endpoint"]
        environment = {
            **os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        code = (
            "import sys; from huggingface_hub import HfApi; a = HfApi(); a.create_repo('lab/bench');"
            "a.upload_folder(repo_id='lab/bench', folder_path=sys.argv[1])"
        )
        subprocess.run([sys.executable, "-c", code, str(self.files)], env=environment, check=True, capture_output=True)
        return environment

    def __exit__(self, *error: object) -> None:
        self.server.terminate()
        self.server.wait()
        self.server.stdout.close()
        shutil.rmtree(self.folder / "hub")


def ways_for(folder: Path, tree: Path, files: Path, hub: dict[str, str]) -> dict[str, Way]:
    """Return every way by name; what they need is prepared here."""
    names = [str(path.relative_to(files)) for path in sorted(files.rglob("*")) if path.is_file()]
    sums = folder / "SHA256SUMS"
    lines = [f"{hash_file(files / name, tensors=False, git=False).sha256}  {name}\n" for name in names]
    sums.write_text("".join(lines))
    parts = [folder / f"sums-{worker}" for worker in range(min(default_workers(), len(lines)))]
    for worker, part in enumerate(parts):
        part.write_text("".join(lines[worker :: len(parts)]))
    bag = folder / "bag"
    shutil.copytree(files, bag, copy_function=os.link)
    bin_folder = Path(sys.executable).parent
    python = [sys.executable, "-m"]
    run([*python, "bagit", "--sha256", "--quiet", str(bag)])
    public, signature = make_signature(folder, files)
    ours = [*python, "release_kit", "verify", str(tree)]
    environment = {**os.environ, "RELEASE_KIT_CACHE": str(folder / "digests.sqlite")}
    check = f"sha256sum --quiet -c {sums}"
    parallel = " ".join(["printf '%s\\n'", *map(str, parts), f"| xargs -P {len(parts)} -n 1 sha256sum --quiet -c"])
    signing = [str(bin_folder / "model_signing"), "verify", "key", str(files), "--signature", str(signature)]
    ways: dict[str, Way] = {
        "release-kit verify": lambda: run(ours, env=environment),
        "sha256sum": lambda: run(["sh", "-c", check], cwd=files),
        "sha256sum, xargs -P": lambda: run(["sh", "-c", parallel], cwd=files),
        "bagit": lambda: run([*python, "bagit", "--validate", "--quiet", str(bag)]),
        "bagit, processes": lambda: run(
            [*python, "bagit", "--validate", "--quiet", "--processes", str(default_workers()), str(bag)]
        ),
        "model_signing verify": lambda: run([*signing, "--public_key", str(public)]),
        "hf cache verify": lambda: run(
            [str(bin_folder / "hf"), "cache", "verify", "lab/bench", "--local-dir", str(files)], env=hub
        ),
    }
    if names[0].endswith(".safetensors"):
        ways["release-kit verify --tensors"] = lambda: run([*ours, "--tensors"], env=environment)
    ways["release-kit verify --trust-cache"] = lambda: run([*ours, "--trust-cache"], env=environment)
    n_bytes = min(sum((files / name).stat().st_size for name in names), 1024 * MIB)
    ways["openssl, one thread"] = lambda: openssl(n_bytes, 1)
    ways["openssl, all cores"] = lambda: openssl(n_bytes, default_workers())
    ways["openssl, one thread, warm files"] = lambda: openssl_files([files / name for name in names])
    ways["release-kit verify"]()
    return ways


def make_signature(folder: Path, files: Path) -> tuple[Path, Path]:
    """Sign the files with the model-signing tool and return (public key, signature)."""
    from release_kit.release.sign.keys import write_key_pair

    write_key_pair(folder / "keys")
    key, public, signature = folder / "keys" / "private.pem", folder / "keys" / "public.pem", folder / "model.sig"
    tool = str(Path(sys.executable).parent / "model_signing")
    run([tool, "sign", "key", str(files), "--private_key", str(key), "--signature", str(signature)])
    return public, signature


def openssl(n_bytes: int, n_threads: int) -> None:
    """Hash ``n_bytes`` from one 1 MiB buffer in each of ``n_threads`` threads."""
    block = os.urandom(MIB)

    def work() -> None:
        hasher = hashlib.sha256()
        for _ in range(n_bytes // MIB):
            hasher.update(block)

    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def openssl_files(paths: list[Path]) -> None:
    """Hash files one after the other as hashlib does it."""
    for path in paths:
        with open(path, "rb") as stream:
            hashlib.file_digest(stream, "sha256")


def run(command: list[str], **options) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{command} exited with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def timed(way: Way) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    way()
    wall = time.perf_counter() - start
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(a.ru_utime + a.ru_stime - b.ru_utime - b.ru_stime for a, b in zip(after, before, strict=True))
    return wall, cpu


def summary(times: dict[str, list[tuple[float, float]]], n_bytes: int, n_files: int) -> dict:
    """Return the best of all rounds, which a busy machine disturbs least, and the ratios that the targets are about."""
    best = {
        name: {
            "wall": round(min(wall for wall, _ in pairs), 3),
            "cpu": round(min(cpu for _, cpu in pairs), 3),
        }
        for name, pairs in times.items()
    }
    hashed = min(n_bytes, 1024 * MIB) // MIB * MIB
    one, every = best["openssl, one thread"], best["openssl, all cores"]
    ours = best["release-kit verify"]
    bound = default_workers() * hashed / every["wall"]
    warm = best["openssl, one thread, warm files"]
    peers = [name for name in best if not name.startswith(("release-kit", "openssl"))]
    ratios = {
        "speed / (all cores' openssl speed at the same time)": round(n_bytes / ours["wall"] / bound, 3),
        "speed / (cores x one thread's openssl speed)": round(
            n_bytes / ours["wall"] / (default_workers() * hashed / one["wall"]), 3
        ),
        "bytes per CPU second / openssl's": round(n_bytes / ours["cpu"] / (hashed / one["cpu"]), 3),
        "speed / (cores x one thread's openssl speed on warm files)": round(
            warm["wall"] / ours["wall"] / default_workers(), 3
        ),
        "bytes per CPU second / openssl's on warm files": round(warm["cpu"] / ours["cpu"], 3),
    }
    ratios |= {f"wall of {name} / ours": round(best[name]["wall"] / ours["wall"], 2) for name in peers}
    ratios |= {f"CPU of {name} / ours": round(best[name]["cpu"] / ours["cpu"], 2) for name in peers}
    if tensors := best.get("release-kit verify --tensors"):
        ratios["speed with tensors / plain"] = round(ours["wall"] / tensors["wall"], 3)
        ratios["CPU of plain / with tensors"] = round(ours["cpu"] / tensors["cpu"], 3)
    return {"n_files": n_files, "n_bytes": n_bytes, "seconds": best, "ratios": ratios}


if __name__ == "__main__":
    main()
