"""Where a cell came from: machine, versions, commit, and the digests of an artifact's files.

Owns the facts of ``cell.json``'s provenance that no other room knows. Clocks and host facts stand there and in
``done.json``, nowhere else.
"""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from release_kit import __version__
from release_kit.core.files import iter_files
from release_kit.sft.spec.identity import file_sha256

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "lm_eval")


def artifact_digests(folder: Path) -> dict[str, str]:
    """Return path → sha256 of every file of an artifact, sorted."""
    return {path: file_sha256(folder / path) for path, _ in iter_files(folder)}


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python, release_kit and the libraries that make results."""
    found = {"python": platform.python_version(), "release_kit": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str, threads: int) -> dict[str, Any]:
    """Return what the work ran on."""
    facts: dict[str, Any] = {"processor": _processor(), "threads": threads, "device": device}
    if device != "cpu":
        import torch

        facts["accelerator"] = torch.cuda.get_device_name(torch.device(device))
    return facts


@functools.cache
def code_commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None for an installed package."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", os.fspath(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
