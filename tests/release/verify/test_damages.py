"""A thousand seeded damages: every one is reported, with its kind and its path, and nothing else is."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from release_factory import TinyRelease

from release_kit.release.verify.run import VerifyOptions, verify_folder

N_DAMAGES = 1200
Report = set[tuple[str, str]]
"""(code, path) of each expected difference."""
Damage = Callable[[Path, TinyRelease, random.Random, list[str]], Report]


def flip_a_byte(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = paths.pop()
    data = bytearray(release.files[path])
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (root / path).write_bytes(data)
    return {("changed", path)}


def truncate(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = paths.pop()
    data = release.files[path]
    (root / path).write_bytes(data[: rng.randrange(len(data))])
    return {("changed", path)}


def lengthen(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = paths.pop()
    (root / path).write_bytes(release.files[path] + rng.randbytes(rng.randint(1, 9)))
    return {("changed", path)}


def swap(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    first, second = _different(release, paths)
    (root / first).rename(root / "held")
    (root / second).rename(root / first)
    (root / "held").rename(root / second)
    return {("swapped", first), ("swapped", second)}


def rename(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = paths.pop()
    (root / path).rename(root / f"{path}.{rng.randrange(10**6)}.bak")
    return {("renamed", path)}


def copy_over_another(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    first, second = _different(release, paths)
    shutil.copy(root / first, root / second)
    return {("mislabelled", second)}


def delete(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = paths.pop()
    (root / path).unlink()
    return {("missing", path)}


def add(root: Path, release: TinyRelease, rng: random.Random, paths: list[str]) -> Report:
    path = f"cells/alpaca-s0/notes-{rng.randrange(10**6)}.txt"
    (root / path).write_bytes(rng.randbytes(rng.randint(0, 50)))
    return {("extra", path)}


DAMAGES: tuple[Damage, ...] = (flip_a_byte, truncate, lengthen, swap, rename, copy_over_another, delete, add)


def _different(release: TinyRelease, paths: list[str]) -> tuple[str, str]:
    """Take two paths of different content."""
    first = paths.pop()
    second = next(path for path in reversed(paths) if release.files[path] != release.files[first])
    paths.remove(second)
    return first, second


def _restore(root: Path, release: TinyRelease, report: Report) -> None:
    """Undo one damage: rewrite the files that were named and remove those of other names."""
    for _, path in report:
        if path in release.files:
            (root / path).write_bytes(release.files[path])
    for folder, _, names in os.walk(root):
        for name in names:
            if name != "manifest.json" and os.path.relpath(f"{folder}/{name}", root) not in release.files:
                os.unlink(f"{folder}/{name}")


def test_every_damage_is_reported_with_its_kind_and_its_path(copy: Path, release: TinyRelease) -> None:
    once = [path for path, data in release.files.items() if data and data != release.files.get(_twin(path))]
    done: Counter[str] = Counter()
    one_thread = VerifyOptions(workers=1)
    for number in range(N_DAMAGES):
        rng = random.Random(number)
        damage = DAMAGES[number % len(DAMAGES)]
        expected = damage(copy, release, rng, rng.sample(once, len(once)))
        report = verify_folder(copy, one_thread)
        assert {(d.code, d.where) for d in report.differences} == expected, (number, damage.__name__)
        assert not report.ok
        done[damage.__name__] += 1
        _restore(copy, release, expected)
    assert verify_folder(copy).ok
    print(f"{sum(done.values())} damages, all reported: {dict(done)}")
    assert sum(done.values()) >= 1000


@pytest.mark.parametrize("seed", range(60))
def test_several_damages_at_once_are_all_reported(copy: Path, release: TinyRelease, seed: int) -> None:
    rng = random.Random(seed)
    once = [path for path, data in release.files.items() if data and data != release.files.get(_twin(path))]
    paths = rng.sample(once, len(once))
    expected: Report = set()
    for damage in rng.sample(DAMAGES, 5):
        expected |= damage(copy, release, rng, paths)
    report = verify_folder(copy)
    assert {(d.code, d.where) for d in report.differences} == expected
    assert list(report.differences) == sorted(report.differences, key=lambda d: d.where)


def _twin(path: str) -> str:
    """Return the path of the same file in the first cell, where equal content would make a rename ambiguous."""
    inner = path.split("/")[-1]
    first = f"cells/alpaca-s0/{inner}"
    return "" if path == first and inner != "tokenizer.json" else first
