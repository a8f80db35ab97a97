"""Two small instruction datasets and one held-out test, taken from the worked examples inside lm-evaluation-harness.

Owns where the examples come from, the split and the files ``data/<name>.jsonl`` with ``data/<name>.json`` (source,
licence, digest). Nothing is downloaded and no example is stored in this project. Tokenising is ``batches.py``.
"""

import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, MissingExtraError, StudyError
from release_kit.core.files import write_atomic
from release_kit.core.records import Fields, check_schema_version, nearest

SCHEMA_VERSION = 1
PACKAGE = "lm_eval"
LETTERS = "ABCD"
MAX_CHARACTERS = 800
"""Longer training examples are left out: they would not fit into the few hundred tokens of a short run."""
MAX_TEST_CHARACTERS = 300

_OPTIONS = re.compile(r"(?s)(.*?)\s*\(A\)\s*(.*?)\s*\(B\)\s*(.*?)\s*\(C\)\s*(.*?)\s*\(D\)\s*(.*?)\s*")
_ANSWER = re.compile(r"answer is \(([A-Z])\)\.?\s*$")


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """Where the examples of one file came from. ``from_dict(to_dict(record)) == record``."""

    name: str
    hub_id: str
    license: str
    package: str
    package_version: str
    n_examples: int
    sha256: str
    """Digest of the ``.jsonl`` file."""

    def summary(self) -> str:
        """Return one line for people."""
        return (
            f"{self.name}: {self.n_examples} examples of {self.hub_id} ({self.license}) "
            f"from {self.package} {self.package_version}, sha256 {self.sha256[:12]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any, where: str) -> "DataRecord":
        """Read the JSON form.

        Raises:
            RecordError: a key is missing, unknown, or of another type.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        kinds = {"n_examples": int}
        record = cls(**{name: fields.take(name, kinds.get(name, str)) for name in cls.__dataclass_fields__})
        fields.done()
        return record


def prepare_datasets(folder: Path) -> dict[str, DataRecord]:
    """Write every dataset and its record into ``folder``; files that already hold the same bytes stay untouched.

    Returns:
        Dataset name → record; the held-out test is among them.

    Raises:
        MissingExtraError: lm-evaluation-harness is not installed.
        ArtifactError: the installed version ships no such examples.
    """
    tasks, version = _find_tasks()
    records = {}
    for name, (rows_of, hub_id) in DATASETS.items():
        rows = list(rows_of(tasks))
        if not rows:
            raise ArtifactError(f"ships no examples for {name!r}", where=f"{PACKAGE} {version}")
        data = b"".join(canonical.canonical_bytes(row) + b"\n" for row in rows)
        record = DataRecord(
            name=name,
            hub_id=hub_id,
            license="mit",
            package=PACKAGE,
            package_version=version,
            n_examples=len(rows),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        write_atomic(folder / f"{name}.jsonl", data)
        write_atomic(folder / f"{name}.json", canonical.document_bytes(record.to_dict()))
        records[name] = record
    return records


def read_dataset(folder: Path, name: str) -> tuple[list[dict[str, Any]], DataRecord]:
    """Read ``(examples, record)`` of one dataset; each example has ``prompt`` and ``completion``.

    Raises:
        StudyError: there is no such dataset in ``folder``.
        ArtifactError: the examples are not those that the record was written for.
    """
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.jsonl"))
        raise StudyError(f"no dataset {name!r}{nearest(name, known)}", where=str(folder))
    record = DataRecord.from_dict(canonical.read_json(folder / f"{name}.json"), str(folder / f"{name}.json"))
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != record.sha256:
        what = f"its sha256 is {found[:12]}…, but its record says {record.sha256[:12]}…"
        raise ArtifactError(what, where=str(path), next_step="remove the data folder; the next run writes it again")
    return [canonical.parse_json(line, str(path)) for line in data.splitlines()], record


def iter_mmlu(tasks: Path, *, held_out: bool) -> Iterator[dict[str, Any]]:
    """Yield MMLU development questions; the shortest one of each subject is held out for the test.

    Questions that do not have exactly four options with an answer among them, and those that are too long, are left
    out. A question that several subjects share counts once, and a held-out one is never a training example.
    """
    test: dict[str, dict[str, Any]] = {}
    train: dict[str, dict[str, Any]] = {}
    for file in sorted((tasks / "mmlu" / "flan_cot_fewshot").glob("mmlu_*.yaml")):
        subject = {"subject": file.stem.removeprefix("mmlu_")}
        samples = sorted(filter(None, map(_mmlu_row, _read_samples(file))), key=_length)
        for kind, rows in ((test, samples[:1]), (train, samples[1:])):
            for row in rows:
                kind.setdefault(_same_question(row), {**subject, **row})
    longest = MAX_TEST_CHARACTERS if held_out else MAX_CHARACTERS
    for key, row in (test if held_out else train).items():
        if _length(row) <= longest and (held_out or key not in test):
            yield row


def iter_bbh(tasks: Path) -> Iterator[dict[str, Any]]:
    """Yield the BIG-Bench-Hard examples that come with a chain of thought."""
    for file in sorted((tasks / "bbh" / "cot_fewshot").glob("[!_]*.yaml")):
        for sample in _read_samples(file):
            prompt = f"Question: {sample['input'].strip()}\nAnswer:"
            row = {"subject": file.stem, "prompt": prompt, "completion": f" {sample['target'].strip()}"}
            if _length(row) <= MAX_CHARACTERS:
                yield row


DATASETS: Mapping[str, tuple[Callable[[Path], Iterator[dict[str, Any]]], str]] = {
    "mmlu-dev": (lambda tasks: iter_mmlu(tasks, held_out=False), "cais/mmlu"),
    "bbh-cot": (iter_bbh, "SaylorTwift/bbh"),
    "mmlu-holdout": (lambda tasks: iter_mmlu(tasks, held_out=True), "cais/mmlu"),
}
"""Name → (examples, dataset on the Hub that the harness names as their origin)."""


def _same_question(row: Mapping[str, Any]) -> str:
    """Return what two prints of one question share: its words, whatever the case and the spacing."""
    return " ".join(row["question"].lower().split())


def _length(row: Mapping[str, Any]) -> int:
    return len(row["prompt"]) + len(row["completion"])


def _mmlu_row(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    answer = _ANSWER.search(sample["target"].strip())
    parts = _OPTIONS.fullmatch(sample["question"].strip())
    if not parts or not answer or answer[1] not in LETTERS or "(E)" in parts[5]:
        return None
    question, *choices = parts.groups()
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True)]
    prompt = "\n".join([question, *lines, "Answer:"])
    index = LETTERS.index(answer[1])
    return {"prompt": prompt, "completion": f" {answer[1]}", "choices": choices, "answer": index, "question": question}


def _read_samples(file: Path) -> list[Mapping[str, Any]]:
    document = yaml.load(file.read_text(encoding="utf-8"), Loader=_TaskLoader)
    return (document.get("fewshot_config") or {}).get("samples") or []


class _TaskLoader(yaml.SafeLoader):
    """Reads task files without running the functions that their tags name."""


_TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _find_tasks() -> tuple[Path, str]:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(PACKAGE, "sft") from error
    return Path(str(distribution.locate_file(f"{PACKAGE}/tasks"))), distribution.version
