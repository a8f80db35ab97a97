"""Results as lm-evaluation-harness 0.4 writes them, unchanged, turned into rows.

Owns the reading of one results file: ``results`` → rows with number of shots, samples, standard error and version from
their own tables. Groups are benchmarks like any other; the copy that the harness keeps under ``groups`` is not read
twice. A filter other than ``none`` stays part of the metric's name (``exact_match,strict-match``).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.collected import Batch
from release_kit.core.errors import RecordError
from release_kit.core.foreign_json import parse_foreign_json
from release_kit.core.records import Fields
from release_kit.core.results import Result

_STDERR = "_stderr"


def read_lm_eval_results(path: Path, relative: str, cell_id: str) -> Batch:
    """Read one results file of the harness.

    Args:
        path: the file.
        relative: the file as rows name it, relative to the study folder.
        cell_id: the cell that was evaluated.
    """
    try:
        data = path.read_bytes()
        value = parse_foreign_json(data, relative)
        rows = list(_rows(value, relative, hashlib.sha256(data).hexdigest(), cell_id))
        if not rows:
            step = "files of versions before 0.4 name metrics without a filter; evaluate again, or use a table"
            raise RecordError("holds no metric (`acc,none` and the like)", where=relative, next_step=step)
        return Batch(rows=rows)
    except OSError as error:
        return Batch(problems=[RecordError(f"cannot be read ({error.strerror})", where=relative)])
    except RecordError as problem:
        return Batch(problems=[problem])


def parse_metric_key(key: str) -> tuple[str, bool] | None:
    """Return ``(metric, whether it is the standard error)`` of ``acc_stderr,none``; None for what is no metric."""
    name, comma, selected = key.partition(",")
    if not comma or not name:
        return None
    is_stderr = name.endswith(_STDERR)
    metric = name.removesuffix(_STDERR)
    return (metric if selected == "none" else f"{metric},{selected}"), is_stderr


def _rows(value: Any, where: str, sha256: str, cell_id: str) -> Iterator[Result]:
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        step = "only results files of lm-evaluation-harness 0.4 belong here"
        raise RecordError("has no mapping `results`", where=where, next_step=step)
    for task, measured in value["results"].items():
        if not isinstance(measured, dict):
            raise RecordError(f"`results.{task}` is not a mapping", where=where)
        facts = _task_facts(value, task)
        stderrs = {parsed[0]: number for key, number in measured.items() if (parsed := _parsed(key)) and parsed[1]}
        for key, number in measured.items():
            parsed = _parsed(key)
            if parsed is None or parsed[1]:
                continue
            yield Result(
                cell_id=cell_id,
                benchmark=task,
                metric=parsed[0],
                value=_number(number, where, f"results.{task}.{key}"),
                stderr=_number(stderrs.get(parsed[0]), where, f"results.{task}.{key} (its stderr)"),
                higher_is_better=_better(value, task, key.partition(",")[0]),
                n=_n_of(facts["n"], measured, key),
                n_shot=facts["n_shot"],
                task_version=facts["version"],
                source=where,
                source_key="/results/" + "/".join(_escaped(part) for part in (task, key)),
                source_sha256=sha256,
            )


def _parsed(key: str) -> tuple[str, bool] | None:
    return parse_metric_key(key) if isinstance(key, str) else None


def _task_facts(value: Mapping, task: str) -> dict[str, Any]:
    """Return shots, samples and version of a task from the tables beside ``results``."""
    n_shot = _table(value, "n-shot").get(task)
    if n_shot is None:
        config = _table(value, "configs").get(task)
        n_shot = config.get("num_fewshot") if isinstance(config, dict) else None
    samples = _table(value, "n-samples").get(task)
    version = _table(value, "versions").get(task)
    return {
        "n_shot": n_shot if type(n_shot) is int else None,
        "n": samples.get("effective") if isinstance(samples, dict) else None,
        "version": None if version in (None, "N/A", "Yaml") else str(version),
    }


def _n_of(n_samples: Any, measured: Mapping, key: str) -> int | None:
    """Return the samples behind one value; groups count them for each metric."""
    counts = measured.get("sample_count")
    n = counts.get(key) if isinstance(counts, dict) else n_samples
    if n is None:
        n = measured.get("sample_len")
    return n if type(n) is int else None


def _better(value: Mapping, task: str, metric: str) -> bool | None:
    directions = _table(value, "higher_is_better").get(task)
    better = directions.get(metric) if isinstance(directions, dict) else None
    return better if isinstance(better, bool) else None


def _table(value: Mapping, name: str) -> Mapping:
    table = value.get(name)
    return table if isinstance(table, dict) else {}


def _number(value: Any, where: str, key: str) -> float | None:
    """Return a finite number; what the harness writes for "none" (``N/A``, NaN, null, an empty text) is None."""
    if value is None or (isinstance(value, str) and value.strip() in ("N/A", "", "NaN", "nan")):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fields({}, where).error(key, f"is {str(value)[:40]!r}, not a number")
    try:
        number = float(value)
    except OverflowError:
        raise Fields({}, where).error(key, "is too large to be a measured number") from None
    return number if math.isfinite(number) else None


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
