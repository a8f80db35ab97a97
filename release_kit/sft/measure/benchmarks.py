"""The questions of benchmark tasks as texts: what a dataset is compared with.

Reads the YAML of lm-evaluation-harness tasks and their local data with a small reader of its own: plain columns and
Jinja templates. Where a task makes its texts with code, the harness itself is asked; where that cannot be done, the
text is all strings of the document.
"""

import hashlib
import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError, ReleaseKitError, StudyError
from release_kit.core.files import inside
from release_kit.core.records import nearest

TASKS_FOLDER = "tasks"
SPLITS = ("test_split", "validation_split")
FIELDS = ("doc_to_text", "doc_to_target", "doc_to_choice")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One task with the texts of its documents."""

    name: str
    texts: tuple[str, ...]
    """Question and right answer of each document, in the order of the data."""
    sha256: str
    """Digest of the data file; of several, that of the canonical JSON {file: sha256}."""
    source: str
    """How the texts were made: ``template``, ``harness`` or ``fields``."""

    @property
    def key(self) -> str:
        """Digest of the texts themselves: what every measure follows from."""
        return canonical.digest(list(self.texts))


def read_benchmark(study_folder: Path, task: str, limit: int | None = None) -> Benchmark:
    """Read one task of the study.

    Args:
        study_folder: paths of data files in a task are relative to it.
        task: name of a file in ``tasks/``.
        limit: documents that are evaluated, from the first; None: all.

    Raises:
        StudyError: no such task, or its data are not local files.
        RecordError: the task or its data cannot be read.
    """
    known = {path.stem: path for path in sorted((study_folder / TASKS_FOLDER).rglob("*.yaml"))}
    if task not in known:
        raise StudyError(f"no task {task!r}{nearest(task, sorted(known))}", where=str(study_folder / TASKS_FOLDER))
    path, settings = known[task], _read_yaml(known[task])
    files = _data_files(settings, path)
    documents, digests = [], {}
    for name in files:
        data = _read_bytes(inside(study_folder, name))
        digests[name] = hashlib.sha256(data).hexdigest()
        documents += _parse_documents(data, name)
    documents = documents[:limit]
    if not documents:
        raise RecordError("holds no document", where=str(files))
    sha256 = digests[files[0]] if len(files) == 1 else canonical.digest(digests)
    source, texts = "template", _rendered_texts(settings, documents)
    if texts is None:
        source, texts = "harness", _harness_texts(study_folder, task, limit)
    if texts is None:
        source, texts = "fields", list(map(_strings, documents))
    return Benchmark(name=task, texts=tuple(texts), sha256=sha256, source=source)


def _read_yaml(path: Path, depth: int = 0) -> dict[str, Any]:
    """Read a task file; tags such as ``!function`` become None, ``include`` is followed."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe values only; what would be code is left out."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecordError(
            f"cannot be read as a task ({' '.join(str(error).split())[:200]})", where=str(path)
        ) from error
    if not isinstance(value, dict):
        raise RecordError("is not a mapping", where=str(path))
    include = value.pop("include", None)
    if isinstance(include, str) and depth < 5:
        value = _read_yaml(path.parent / include, depth + 1) | value
    return value


def _data_files(settings: Mapping[str, Any], path: Path) -> list[str]:
    """Return the files of the split that is evaluated."""
    given = (settings.get("dataset_kwargs") or {}).get("data_files")
    split = next((settings[name] for name in SPLITS if settings.get(name)), None)
    if isinstance(given, Mapping):
        given = given.get(split)
    files = [given] if isinstance(given, str) else given
    if not isinstance(files, list) or not files or not all(isinstance(name, str) for name in files):
        what = f"names no local data file for its split {split!r}"
        raise StudyError(what, where=str(path), next_step="give dataset_kwargs.data_files, or leave the task out")
    return files


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        step = "run `release-kit sft prepare` on the study, or put the file there"
        raise RecordError(f"cannot be read ({error.strerror})", where=str(path), next_step=step) from error


def _parse_documents(data: bytes, name: str) -> list[dict[str, Any]]:
    """Return the documents of a JSON Lines, JSON or Parquet file."""
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.ParquetFile(pa.BufferReader(data)).read().to_pylist()
    if name.endswith(".json") and data.lstrip()[:1] == b"[":
        documents = canonical.parse_json(data, name)
    else:
        lines = enumerate(data.decode("utf-8", "strict").splitlines(), 1)
        documents = [canonical.parse_json(line, f"{name}, line {number}") for number, line in lines if line.strip()]
    if not all(isinstance(document, dict) for document in documents):
        raise RecordError("expected one JSON object for each document", where=name)
    return documents


def _rendered_texts(settings: Mapping[str, Any], documents: Sequence[dict[str, Any]]) -> list[str] | None:
    """Return question and answer of every document, or None when the task's templates cannot be followed."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    by_code = any(settings[name] is None for name in FIELDS if name in settings)
    if by_code or "doc_to_text" not in settings or "process_docs" in settings:
        return None
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = lambda text, old, new="", count=0: re.sub(old, new, text, count=count)
    value_of = _evaluator(environment)
    try:
        return [_question_and_answer(settings, document, value_of) for document in documents]
    except SecurityError as error:
        raise RecordError(
            f"a template reaches outside its document ({error})", where=str(settings.get("task"))
        ) from error
    except (TemplateError, ValueError, SyntaxError, TypeError, KeyError, IndexError, re.error):
        return None


def _harness_texts(study_folder: Path, name: str, limit: int | None) -> list[str] | None:
    """Return question and answer of every document as the harness makes them, or None when it cannot."""
    from release_kit.sft.evaluate.harness import load_task

    try:
        task = load_task(study_folder, name, num_fewshot=None, max_new_tokens=None)
    except (ReleaseKitError, ImportError, AttributeError):
        return None
    settings = {"doc_to_text": task.doc_to_text, "doc_to_target": task.doc_to_target}
    if task.config.doc_to_choice is not None:
        settings["doc_to_choice"] = task.doc_to_choice
    documents = list(task.eval_docs)[:limit]
    return [
        _question_and_answer(settings, document, lambda field, item: field and field(item)) for document in documents
    ]


_Evaluator = Callable[[Any, Mapping[str, Any]], Any]


def _evaluator(environment: Any) -> _Evaluator:
    """Return what gives ``doc_to_…`` its value: a column, a rendered template, or the value as it is."""
    compiled: dict[str, Any] = {}

    def value_of(field: Any, document: Mapping[str, Any]) -> Any:
        if not isinstance(field, str):
            return field
        if field in document:
            return document[field]
        if field not in compiled:
            compiled[field] = environment.from_string(field)
        return compiled[field].render(**document)

    return value_of


def _question_and_answer(settings: Mapping[str, Any], document: Mapping[str, Any], value_of: _Evaluator) -> str:
    question = str(value_of(settings["doc_to_text"], document))
    answer = value_of(settings.get("doc_to_target"), document)
    choices = value_of(settings.get("doc_to_choice"), document)
    if isinstance(choices, str):
        choices = literal_eval(choices)
    if choices and str(answer).strip().lstrip("-").isdigit():
        answer = choices[int(answer)]
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    return question if answer is None else f"{question} {answer}"


def _strings(value: Any) -> str:
    """Return all strings inside a document, a line each."""
    if isinstance(value, str):
        return value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return "\n".join(text for item in items if (text := _strings(item)))
