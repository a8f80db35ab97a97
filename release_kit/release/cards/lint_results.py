"""The lint of results in cards: ``model-index``, ``.eval_results/*.yaml`` and the configs of a dataset card."""

import glob
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.release.cards.card_file import FrontMatter, IndexedNumber, indexed_numbers, read_front_matter
from release_kit.release.cards.inputs import EVAL_RESULTS_FOLDER
from release_kit.release.cards.problems import CardProblem

_RESULT_PARTS = {"task": ("type",), "dataset": ("type", "name")}


def lint_model_index(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    """Yield what is wrong with a ``model-index``: structure, values, results that stand twice or were merged."""
    if "model-index" not in front.values:
        return
    yield from _structure(front, path)
    seen: dict[tuple, IndexedNumber] = {}
    for number in indexed_numbers(front):
        if why := value_problem(number.value):
            what = f"model-index: {number.label} is {number.value!r}, {why}"
            yield _problem("number-nan", path, number.line, what, "remove it, or write the number that was measured")
        earlier = seen.setdefault(number.key, number)
        if earlier is not number:
            what = f"model-index: {number.label} stands twice, with {earlier.value!r} and {number.value!r}"
            yield _problem("number-duplicate", path, number.line, what, "keep the one that the results hold")
    yield from _merged(front, path)


def value_problem(value: Any) -> str | None:
    """Return why a value of a result is not a number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "which is missing" if value is None else "which is not a number"
    return None if math.isfinite(value) else "which is not a finite number"


def lint_eval_results(folder: Path, path: str) -> Iterator[CardProblem]:
    """Yield what is wrong with the files in ``.eval_results`` beside a card."""
    for file in sorted(glob.glob(os.path.join(glob.escape(str(folder)), EVAL_RESULTS_FOLDER, "*.y*ml"))):
        name = f"{path.rpartition('/')[0]}/{EVAL_RESULTS_FOLDER}/{os.path.basename(file)}".lstrip("/")
        yield from _eval_file(Path(file), name)


def lint_configs(front: FrontMatter, path: str, folder: Path | None) -> Iterator[CardProblem]:
    """Yield what is wrong with the ``configs`` of a dataset card, files that are not there included."""
    configs = front.values.get("configs")
    if configs is None:
        return
    if not isinstance(configs, list):
        yield _problem("configs-broken", path, front.line("configs"), "`configs` is not a list", "write one item each")
        return
    names: set[str] = set()
    for index, config in enumerate(configs):
        line = front.line("configs", index)
        name = config.get("config_name") if isinstance(config, dict) else None
        if not isinstance(name, str) or not name:
            yield _problem("configs-broken", path, line, f"configs[{index}] has no config_name", "name it")
            continue
        if name in names:
            yield _problem("configs-broken", path, line, f"two configs are called {name!r}", "rename one")
        names.add(name)
        for pattern in _patterns(config):
            if folder is not None and not _exists(folder, pattern):
                what = f"config {name!r} names {pattern!r}, and no such file is there"
                yield _problem("file-missing", path, line, what, "correct the path, or add the file")


def _structure(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    step = "follow the structure of the Hub's model card specification"
    models = front.values["model-index"]
    if not isinstance(models, list) or not models:
        yield _problem("model-index-broken", path, front.line("model-index"), "`model-index` is not a list", step)
        return
    for m, model in enumerate(models):
        base: tuple = ("model-index", m)
        if not isinstance(model, dict) or not isinstance(model.get("results"), list):
            what = f"model-index[{m}] is not a mapping with a list of `results`"
            yield _problem("model-index-broken", path, front.line(*base), what, step)
            continue
        if not model.get("name"):
            yield _problem("model-index-broken", path, front.line(*base), f"model-index[{m}] has no name", step)
        for r, result in enumerate(model["results"]):
            for what in _result_gaps(result):
                line = front.line(*base, "results", r)
                yield _problem("model-index-broken", path, line, f"model-index[{m}].results[{r}] {what}", step)


def _result_gaps(result: Any) -> Iterator[str]:
    if not isinstance(result, dict):
        yield "is not a mapping"
        return
    for part, keys in _RESULT_PARTS.items():
        inner = result.get(part)
        for key in keys:
            if not isinstance(inner, dict) or not inner.get(key):
                yield f"has no {part}.{key}"
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield "has no metrics"
        return
    for k, metric in enumerate(metrics):
        if not isinstance(metric, dict) or not metric.get("type"):
            yield f"has no metrics[{k}].type"


def _merged(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    """One result with several values of one metric: what is left when results that differ in shots were merged."""
    for m, model in enumerate(_list(front.values["model-index"])):
        for r, result in enumerate(_list(_get(model, "results"))):
            kinds = [str(_get(metric, "type")) for metric in _list(_get(result, "metrics"))]
            twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
            if twice is not None:
                line = front.line("model-index", m, "results", r)
                what = f"model-index[{m}].results[{r}] holds several values of {twice!r}: were different shots merged?"
                yield _problem("shots-merged", path, line, what, "give each number of shots its own result")


def _eval_file(file: Path, name: str) -> Iterator[CardProblem]:
    step = "follow the structure of the Hub's evaluation results"
    try:
        text = file.read_text(encoding="utf-8")
        front = read_front_matter(f"---\nentries:\n{text if text.endswith(chr(10)) else text + chr(10)}---\n", name)
    except (OSError, UnicodeDecodeError, RecordError) as error:
        what = error.what if isinstance(error, RecordError) else "cannot be read"
        yield _problem("eval-results-broken", name, 1, what, step)
        return
    entries = front.values.get("entries") if front else None
    if not isinstance(entries, list) or not entries:
        yield _problem("eval-results-broken", name, 1, "is not a list of results", step)
        return
    for index, entry in enumerate(entries):
        # The two lines put before the text shift every line by two.
        line = max(front.line("entries", index) - 2, 1)
        for what in _entry_gaps(entry):
            yield _problem("eval-results-broken", name, line, f"entry {index + 1} {what}", step)


def _entry_gaps(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "is not a mapping"
        return
    dataset = entry.get("dataset")
    for key in ("id", "task_id"):
        if not isinstance(dataset, dict) or not isinstance(dataset.get(key), str) or not dataset[key]:
            yield f"has no dataset.{key}"
    if why := value_problem(entry.get("value")):
        yield f"has a value {why}"
    source = entry.get("source")
    if source is not None and (not isinstance(source, dict) or not source.get("url")):
        yield "has a source without a url"


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _patterns(config: Mapping[str, Any]) -> list[str]:
    files, folder = config.get("data_files"), config.get("data_dir")
    prefix = f"{folder.strip('/')}/" if isinstance(folder, str) and folder.strip("/") else ""
    if files is None:
        return [prefix.rstrip("/")] if prefix else []
    found: list[str] = []
    for item in files if isinstance(files, list) else [files]:
        paths = item.get("path") if isinstance(item, dict) else item
        found += [prefix + p for p in (paths if isinstance(paths, list) else [paths]) if isinstance(p, str)]
    return found


def _exists(folder: Path, pattern: str) -> bool:
    if "://" in pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        return "://" in pattern
    return any(True for _ in glob.iglob(os.path.join(glob.escape(str(folder)), pattern), recursive=True))


def _problem(code: str, path: str, line: int, what: str, next_step: str) -> CardProblem:
    return CardProblem(code=code, path=path, line=line, what=what, next_step=next_step)
