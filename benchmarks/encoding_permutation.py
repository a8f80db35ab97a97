"""Permutation per voxel: 1,000 orders of blocks, 88,000 voxels, 7,737 held-out samples in ten runs.

Ways: ours with blocks and with circular shifts, and the plain way: rows in another order, one product and one sum a
repetition. The plain way does a part of the work and its figures are scaled to the whole. Responses and predictions are
memory maps of random numbers, so that memory is what the test itself takes; ``drawing`` is the time that making them
takes, which is in all other figures.
"""

import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

WAYS = ("block", "shift", "plain", "drawing")
N_RUNS = 10
PLAIN_PART = 200
"""The plain way permutes one in this many voxels."""

Arrays = dict[str, np.ndarray]


def make(small: bool, seed: int = 0) -> Arrays:
    """Return the shape of the problem; numbers are drawn where they are needed."""
    return {"shape": np.array((800, 500, 100) if small else (7737, 88_000, 1000)), "seed": np.array(seed)}


def tiny() -> Arrays:
    """Return a problem that loads everything a test needs."""
    return {"shape": np.array((400, 40, 10)), "seed": np.array(1)}


def work(inputs: Arrays, way: str) -> Arrays:
    """Return p of every voxel."""
    from release_kit.encoding.statistics.permutation import permutation_test

    n, v, repetitions = (int(one) for one in inputs["shape"])
    edges = np.linspace(0, n, N_RUNS + 1).astype(int)
    runs = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    block = 40 if n > 4000 else 10
    with tempfile.TemporaryDirectory() as folder:
        if way == "plain":
            v = max(v // PLAIN_PART, 10)
        y, predicted = (drawn(Path(folder) / name, n, v, [int(inputs["seed"]), k]) for k, name in enumerate("yp"))
        if way == "drawing":
            return {"p": np.ones(v)}
        if way == "plain":
            return {"p": plain(y, predicted, runs, block, repetitions)}
        found = permutation_test(y, predicted, runs, block=block, n=repetitions, null=way)
    return {"p": found.p}


def scale(way: str) -> float:
    """Return what a way's figures are multiplied by."""
    return float(PLAIN_PART) if way == "plain" else 1.0


def drawn(path: Path, n: int, v: int, seed: list[int]) -> np.ndarray:
    """Return a memory map of random numbers, written by parts."""
    rng = np.random.default_rng(seed)
    # Written as a stream: pages of a map that was written to would count as memory of the test.
    with path.open("wb") as stream:
        head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": (n, v)}
        np.lib.format.write_array_header_1_0(stream, head)
        for start in range(0, n, 256):
            rng.standard_normal((min(256, n - start), v), dtype=np.float32).tofile(stream)
    return np.load(path, mmap_mode="r")


def plain(y: np.ndarray, predicted: np.ndarray, runs: list[slice], block: int, n: int) -> np.ndarray:
    """Return p by shuffling blocks of rows and correlating again, all voxels at once."""
    kept = [np.arange(run.start, run.stop - (run.stop - run.start) % block).reshape(-1, block) for run in runs]
    rows = np.concatenate(kept).reshape(-1)
    units = [np.array(one[rows], np.float32) for one in (y, predicted)]
    for one in units:
        one -= one.mean(axis=0)
        one /= np.sqrt((one**2).sum(axis=0))
    observed = (units[0] * units[1]).sum(axis=0)
    place = {int(row): k for k, row in enumerate(rows)}
    blocks = [np.array([[place[int(row)] for row in one] for one in run]) for run in kept]
    rng = np.random.default_rng(0)
    exceed = np.zeros(len(observed))
    for _ in range(n):
        order = np.concatenate([rng.permutation(one) for one in blocks]).reshape(-1)
        exceed += (units[0][order] * units[1]).sum(axis=0) >= observed
    return (1 + exceed) / (1 + n)


def compare(results: Mapping[str, Arrays]) -> dict:
    """Return the share called at p <= .05: there is no signal."""
    return {way: round(float((found["p"] <= 0.05).mean()), 4) for way, found in results.items()}
