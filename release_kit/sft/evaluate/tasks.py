"""A task made ready: its documents and requests, its digests, and its requests as tokens for one tokenizer.

What is asked comes from ``harness.py``; this file decides what the fast scorer takes over and keeps what is ready for
the next cell of the same worker. A task file or data file that changed is read again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.sft.evaluate import harness
from release_kit.sft.evaluate.generate import Prompt, plan_groups
from release_kit.sft.evaluate.model import file_sha256
from release_kit.sft.evaluate.plan import Row, Scored, plan_rows

LIKELIHOODS = ("loglikelihood", "loglikelihood_rolling")
GENERATION = "generate_until"
N_KEPT = 64
"""Prepared tasks, and tokenised tasks, that stay in memory."""


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What decides a task's requests beside its file."""

    limit: int | None = None
    num_fewshot: int | None = None
    max_new_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedTask:
    """A task with its requests."""

    name: str
    task: Any
    """The harness's object."""
    instances: Sequence[Any]
    """The harness's requests, in its order."""
    config: dict[str, Any]
    """The resolved task file."""
    request_type: str
    requests_sha256: str
    """Digest of every document and every request made of it."""
    sha256: str
    """Digest of all of it: configuration, code beside the task file, data files, requests, version of the harness."""
    documents: dict[int, str]
    """doc_id → digest of the document."""
    uses_executed_tests: bool


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The requests of a task as tokens: texts to score in rows, or prompts to continue in groups."""

    refusal: str | None = None
    """Why the fast scorer does not take the task; the rest is empty then."""
    texts: Sequence[Scored] = ()
    text_counts: Sequence[int] = ()
    """Texts of each request, in order: 1 for a likelihood, the number of windows for a perplexity."""
    rows: Sequence[Row] = ()
    prompts: Sequence[Prompt] = ()
    groups: Sequence[tuple[int, ...]] = ()
    encoder: harness.Encoder | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        scored = max((len(text.inputs) for text in self.texts), default=0)
        return max(scored, max((len(p.ids) + p.max_new_tokens for p in self.prompts), default=0))


_PREPARED: OrderedDict[str, PreparedTask] = OrderedDict()
_ENCODED: OrderedDict[tuple[str, str, int], Encoded] = OrderedDict()


def prepare_task(study_folder: Path, name: str, settings: TaskSettings) -> PreparedTask:
    """Return the task with its requests, from memory when neither its file nor its data changed.

    Raises:
        StudyError: the task cannot be used as the harness would.
    """
    key_parts = [str(study_folder.resolve()), name, vars(settings), _code_files(study_folder)]
    for kept in reversed(_PREPARED.values()):
        if kept.name == name:
            key = canonical.digest([*key_parts, _data_files(study_folder, kept.config)])
            if key in _PREPARED:
                _PREPARED.move_to_end(key)
                return _PREPARED[key]
    prepared = _prepare(study_folder, name, settings)
    _keep(_PREPARED, canonical.digest([*key_parts, _data_files(study_folder, prepared.config)]), prepared)
    return prepared


def encode_task(prepared: PreparedTask, module: Any, tokenizer: Any, tokenizer_sha256: str) -> Encoded:
    """Return the requests as tokens, from memory for a tokenizer that was seen before."""
    key = (prepared.sha256, tokenizer_sha256, harness.max_length(module, tokenizer))
    if key not in _ENCODED:
        encoder = harness.Encoder(module, tokenizer)
        _keep(_ENCODED, key, _encode(prepared, encoder))
        encoder.release()
    _ENCODED.move_to_end(key)
    return _ENCODED[key]


def _prepare(study_folder: Path, name: str, settings: TaskSettings) -> PreparedTask:
    task = harness.load_task(
        study_folder, name, num_fewshot=settings.num_fewshot, max_new_tokens=settings.max_new_tokens
    )
    instances = harness.build_requests(study_folder, task, settings.limit)
    config = harness.describe_task(task)
    documents = {i.doc_id: hashlib.sha256(harness.document_json(i.doc).encode()).hexdigest() for i in instances}
    requests = [
        [i.doc_id, i.idx, i.request_type, harness.document_json(list(i.args)), documents[i.doc_id]] for i in instances
    ]
    requests_sha256 = canonical.digest(requests)
    parts = {
        "config": config,
        "code": {name: digest for name, digest in _code_files(study_folder).items() if name.endswith(".py")},
        "data": _data_files(study_folder, config),
        "requests": requests_sha256,
        "harness": harness.version(),
        "seed": harness.HARNESS_SEED,
        "limit": settings.limit,
    }
    metrics = [metric.get("metric") for metric in config.get("metric_list") or []]
    return PreparedTask(
        name=name,
        task=task,
        instances=instances,
        config=config,
        request_type=instances[0].request_type,
        requests_sha256=requests_sha256,
        sha256=canonical.digest(parts),
        documents=documents,
        uses_executed_tests=harness.EXECUTED_TESTS in metrics,
    )


def _encode(prepared: PreparedTask, encoder: harness.Encoder) -> Encoded:
    if prepared.request_type in LIKELIHOODS:
        texts = encoder.scored(prepared.instances)
        flat = [text for group in texts for text in group]
        return Encoded(texts=flat, text_counts=[len(group) for group in texts], rows=plan_rows(flat), encoder=encoder)
    if prepared.request_type != GENERATION:
        return Encoded(refusal=f"requests are of the kind {prepared.request_type}")
    prompts = [encoder.prompt(instance) for instance in prepared.instances]
    for prompt in prompts:
        if isinstance(prompt, str):
            return Encoded(refusal=prompt)
    return Encoded(prompts=prompts, groups=plan_groups(prompts), encoder=encoder)


def _code_files(study_folder: Path) -> dict[str, str]:
    """Return {task file or code beside it: sha256}."""
    folder = study_folder / harness.TASKS_FOLDER
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml", ".py"))
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def _data_files(study_folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Return {local data file as the task names it: sha256}."""
    named = (config.get("dataset_kwargs") or {}).get("data_files") or []
    listed = named.values() if isinstance(named, dict) else [named]
    names = sorted({name for part in listed for name in ([part] if isinstance(part, str) else part)})
    return {name: file_sha256(study_folder / name) for name in names if (study_folder / name).is_file()}


def _keep(kept: OrderedDict, key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > N_KEPT:
        kept.popitem(last=False)
