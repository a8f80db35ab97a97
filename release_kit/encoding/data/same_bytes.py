"""Recordings that stand twice in a dataset: the same bytes under two subjects or two runs, whatever their names.

A copy that was named wrong makes one subject's brain that of two, or the same run train and test a model. Files are
held against each other by size, then by their ends, and only those that agree so far are read to be sure.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from release_kit.encoding.data.layout import Dataset, files_digest
from release_kit.encoding.data.problems import DataProblem
from release_kit.encoding.data.runs import RunInfo

_END_BYTES = 1 << 14
_STEP = "find out whose recording it is, and get the other; or leave one of them out"

_Found = tuple[RunInfo, Path]


def same_recordings(dataset: Dataset, runs: Sequence[RunInfo]) -> list[DataProblem]:
    """Return a problem for each recording whose bytes are those of another run, with both paths.

    Args:
        dataset: that the runs are of.
        runs: of all subjects.
    """
    groups: list[list[_Found]] = [[(run, path) for run in runs for path in dataset.recordings(run.subject, run)]]
    for alike in (_size, _ends, _digest):
        groups = [part for group in groups for part in _parted(group, alike)]
    problems = []
    for (first, path), *others in groups:
        for run, other in others:
            both = f"{_inside(dataset, other)} and {_inside(dataset, path)}"
            what = f"its recording has the same bytes as that of sub-{first.subject}, {first.name}: {both}"
            problems.append(DataProblem(subject=run.subject, run=run.name, what=what, next_step=_STEP))
    return problems


def _parted(group: Iterable[_Found], alike: Callable[[Path], object]) -> list[list[_Found]]:
    """Return those of a group that agree, two or more together; what cannot be read is said elsewhere."""
    found: dict[object, list[_Found]] = {}
    for run, path in group:
        try:
            found.setdefault(alike(path), []).append((run, path))
        except OSError:
            continue
    return [part for part in found.values() if len(part) > 1]


def _size(path: Path) -> object:
    return path.stat().st_size


def _ends(path: Path) -> object:
    with open(path, "rb") as stream:
        start = stream.read(_END_BYTES)
        stream.seek(max(0, path.stat().st_size - _END_BYTES))
        return start, stream.read(_END_BYTES)


def _digest(path: Path) -> object:
    return files_digest([path])


def _inside(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else str(path)
