"""``data/<name>.jsonl`` read strictly, and the examples of one run chosen from its datasets.

The choice and its order follow from the bytes of the files, ``data_size`` and the seed, on every machine alike. What
the columns mean is ``columns.py``; tokens are ``tokens.py``.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.files import iter_files
from release_kit.core.records import nearest
from release_kit.core.study import Study
from release_kit.sft.data.columns import Row, find_columns
from release_kit.sft.data.errors import DataError, combined
from release_kit.sft.data.record import read_record
from release_kit.sft.spec.runs import RunPlan, data_path

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """All examples of one file."""

    rows: tuple[Row, ...]
    """In normal form (see ``columns.py``)."""
    lines: tuple[int, ...]
    """1-based line of each row in the file."""
    sha256: str
    """Digest of the file."""


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The examples of one run, in the order from which every epoch draws its own."""

    rows: tuple[Row, ...]
    sha256: str
    """Digest of the rows in their order; equal for equal examples, however their columns are called."""
    by_component: Mapping[str, str]
    """Dataset → sha256 of its file."""
    component: tuple[str, ...]
    """Dataset of each row."""
    places: tuple[str, ...]
    """``data/x.jsonl, line 3`` of each row."""


def select_for(study: Study, plan: RunPlan) -> Selected:
    """Return the examples of a run of ``study``: ``select_rows`` with the paths and columns that it declares.

    Raises:
        DataError: as ``select_rows``.
    """
    factor = study.factor_with_role("dataset")
    known = factor.properties if factor else {}
    columns = {name: known.get(name, {}).get("columns") for name in plan.components}
    paths = {name: data_path(study, name) for name in plan.components}
    return select_rows(study.folder, plan, paths, columns=columns)


def select_rows(
    study_folder: Path,
    plan: RunPlan,
    paths: Mapping[str, Path],
    *,
    columns: Mapping[str, Mapping[str, str] | None] | None = None,
) -> Selected:
    """Return the examples of a run: ``data_size`` of them, divided equally over its datasets, or all.

    Of ``m`` datasets each gives ``data_size // m``, the first ``data_size % m`` one more. A smaller choice from a file
    is part of every larger one with the same seed. Rows stand by dataset in declared order, then as in the file.

    Args:
        study_folder: messages name files relative to it.
        plan: the run; its ``components``, ``data_size`` and ``seed`` are used.
        paths: dataset → file.
        columns: dataset → ``columns`` of study.yaml, where it gives them.

    Raises:
        DataError: missing, empty or broken files, unknown columns, fewer examples than asked for; all at once.
    """
    shares = _shares(plan.data_size, len(plan.components))
    problems: list[ReleaseKitError] = []
    parts: list[_Part] = []
    for name, share in zip(plan.components, shares, strict=True):
        shown = _shown(study_folder, paths[name])
        try:
            dataset = read_dataset(study_folder, paths[name], (columns or {}).get(name))
            chosen = _choose(dataset, share, plan.seed, shown)
        except (DataError, RecordError) as problem:
            problems.append(problem)
            continue
        parts.append((name, shown, dataset, chosen))
    if problems:
        raise combined(problems, plan.describe())
    return _selected(tuple(parts))


_Part = tuple[str, str, Dataset, tuple[int, ...] | None]
"""Dataset, how messages name its file, its examples, indexes of the chosen ones (None: all)."""


@functools.lru_cache(maxsize=16)
def _selected(parts: tuple[_Part, ...]) -> Selected:
    chosen = [
        (name, shown, dataset, index)
        for name, shown, dataset, indexes in parts
        for index in (range(len(dataset.rows)) if indexes is None else indexes)
    ]
    rows = tuple(dataset.rows[index] for _, _, dataset, index in chosen)
    return Selected(
        rows=rows,
        sha256=rows_sha256(rows),
        by_component={name: dataset.sha256 for name, _, dataset, _ in parts},
        component=tuple(name for name, _, _, _ in chosen),
        places=tuple(f"{shown}, line {dataset.lines[index]}" for _, shown, dataset, index in chosen),
    )


def rows_sha256(rows: tuple[Row, ...]) -> str:
    """Return the digest of rows in their order: sha256 of their canonical JSON, one a line."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(canonical.canonical_bytes(row) + b"\n")
    return digest.hexdigest()


def read_dataset(study_folder: Path, path: Path, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read one data file; a file that nobody touched since is not read again in this process.

    Raises:
        DataError: the file is missing or empty, a line is broken, a column is unknown, or the file is not the one that
            its record (``data/<name>.json``) was written for.
    """
    shown = _shown(study_folder, path)
    try:
        state = path.stat()
    except OSError as error:
        raise _missing(study_folder, path, error) from error
    wanted = None if columns is None else tuple(sorted((str(k), str(v)) for k, v in columns.items()))
    dataset = _read(str(path), shown, wanted, (state.st_ino, state.st_size, state.st_mtime_ns))
    record = read_record(path)
    if record is not None and record.sha256 != dataset.sha256:
        what = f"its sha256 is {dataset.sha256[:12]}…, but its record says {record.sha256[:12]}…"
        raise DataError(what, where=shown, next_step="prepare the data again, or remove the record of other data")
    return dataset


@functools.lru_cache(maxsize=64)
def _read(path: str, shown: str, columns: tuple[tuple[str, str], ...] | None, state: tuple[int, ...]) -> Dataset:
    data = Path(path).read_bytes()
    problems: list[ReleaseKitError] = []
    found = list(_parsed_lines(data, shown, problems))
    if not found and not problems:
        step = 'one JSON object a line, such as {"prompt": …, "completion": …}'
        raise DataError("holds no example", where=shown, next_step=step)
    normal = (
        find_columns([row for _, row in found], None if columns is None else dict(columns), shown) if found else None
    )
    rows: list[Row] = []
    for number, row in found:
        try:
            rows.append(normal.normal_row(row, f"{shown}, line {number}"))
        except DataError as problem:
            problems.append(problem)
    if problems:
        raise combined(problems, shown)
    return Dataset(
        rows=tuple(rows), lines=tuple(number for number, _ in found), sha256=hashlib.sha256(data).hexdigest()
    )


def _parsed_lines(data: bytes, shown: str, problems: list[ReleaseKitError]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (1-based line, object); lines that are none go to ``problems``."""
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{shown}, line {number}"
        try:
            value = canonical.parse_json(line, place)
        except RecordError as problem:
            problems.append(DataError(problem.what, where=place, next_step="mend or remove the line"))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            problems.append(DataError(f"expected a JSON object, got {type(value).__name__}", where=place))


def random_order(n: int, *keys: int) -> np.ndarray:
    """Return ``(n,) int64``: the order of ``n`` things that follows from ``keys``.

    Made of raw PCG64 output and a stable sort, which numpy promises to keep over versions; ``permutation`` is not.
    """
    bits = np.random.PCG64(np.random.SeedSequence([key % 2**64 for key in keys]))
    return np.argsort(bits.random_raw(n), kind="stable")


def _choose(dataset: Dataset, share: int | None, seed: int, shown: str) -> tuple[int, ...] | None:
    """Return the indexes of the chosen rows, as they stand in the file; None for all of them."""
    n = len(dataset.rows)
    if share is None or share == n:
        return None
    if share > n:
        step = "lower data_size, or exclude this combination in study.yaml"
        raise DataError(f"expected {share:,} examples or more, got {n:,}", where=shown, next_step=step)
    return tuple(sorted(random_order(n, seed, int(dataset.sha256[:16], 16))[:share].tolist()))


def _shares(size: int | None, n_parts: int) -> list[int | None]:
    if size is None:
        return [None] * n_parts
    return [size // n_parts + (part < size % n_parts) for part in range(n_parts)]


def _missing(study_folder: Path, path: Path, error: OSError) -> DataError:
    shown = _shown(study_folder, path)
    folder = path.parent
    there = [name for name, _ in iter_files(folder) if name.endswith(path.suffix)] if folder.is_dir() else []
    hint = nearest(path.name, there) if there else ""
    step = "run `release-kit sft prepare` on the study, or put the file there"
    return DataError(f"cannot be read ({error.strerror}){hint}", where=shown, next_step=step)


def _shown(study_folder: Path, path: Path) -> str:
    return path.relative_to(study_folder).as_posix() if path.is_relative_to(study_folder) else str(path)
