"""Packaged data files → examples in the one form of this project.

An example has ``prompt`` and ``completion``; multiple-choice ones also ``choices`` and ``answer`` (index), others the
``answer`` as text. ``group`` is what must not be torn apart by a split (the passage of a reading question, otherwise
the question). Which file is what, and the split, is ``sources.py``.
"""

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from release_kit.core.packages import PackageFiles

Row = dict[str, Any]
LETTERS = "ABCD"
MAX_CHARACTERS = 480
"""Longer examples are left out: prompt and completion together must fit into the short contexts of small models."""
MAX_COT_CHARACTERS = 800
MAX_TEST_CHARACTERS = 300

_LETTERED = re.compile(r"(?m)^([A-H])\. ?(.*?) *$")
_NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)(?: [^\d;:]*)?")
"""A number and perhaps its unit; not two numbers, a clock time, a ratio or a fraction."""
_OPTIONS = re.compile(r"(?s)(.*?)\s*\(A\)\s*(.*?)\s*\(B\)\s*(.*?)\s*\(C\)\s*(.*?)\s*\(D\)\s*(.*?)\s*")
_ANSWER = re.compile(r"answer is \(([A-Z])\)\.?\s*\Z")
_PART = re.compile(r"Context \(\d+\): ")
_SENTENCE_END = re.compile(r"[.!?][\"')]*\s")


def iter_json_lines(package: PackageFiles, path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file of a package, gzipped or not."""
    data = package.read(path)
    text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8")
    yield from (json.loads(line) for line in text.splitlines() if line.strip())


def iter_lettered(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield multiple-choice questions whose options are lines ``A. …`` and whose answer repeats one of them.

    The choices are the texts of the options, not letters: a small model can prefer a text long before it can copy a
    letter. Questions whose answer is not exactly one of the options are left out.
    """
    for item in iter_json_lines(package, path):
        options = dict(_LETTERED.findall(item["options"]))
        given = _LETTERED.fullmatch(item.get("answer", "").strip())
        choices = [text.strip() for text in options.values()]
        if not given or options.get(given[1]) != given[2].strip() or not all(choices) or len(set(choices)) < 2:
            continue
        question = " ".join(item["question"].split())
        index = list(options).index(given[1])
        row = _row(question, choices[index], group=question, choices=choices, answer=index)
        if max(map(len, choices)) + len(row["prompt"]) <= MAX_CHARACTERS:
            yield row


def iter_boolq(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield yes/no questions with the passage that answers them."""
    for item in iter_json_lines(package, path):
        passage, index = " ".join(item["passage"].split()), int(item["answer"] == "True")
        question = f"{item['question'].strip()}?"
        yield _row(question, ("no", "yes")[index], group=passage, passage=passage, choices=["no", "yes"], answer=index)


def iter_asdiv(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield word problems whose answer is one number, with or without a unit; ``answer`` is the number alone."""
    for item in iter_json_lines(package, path):
        number = _NUMBER.fullmatch(item["answer"].strip())
        if number:
            question = " ".join(f"{item['passage']} {item['question']}".split())
            answer = number[1].replace(",", "")
            yield _row(question, item["answer"].strip(), group=" ".join(item["passage"].split()), answer=answer)


def iter_open(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield questions with a short answer in free text; of several answers the first."""
    for item in iter_json_lines(package, path):
        question, answers = " ".join(item["question"].split()), item["answer"]
        answer = answers[0].strip()
        if answer:
            yield _row(question if question.endswith("?") else f"{question}?", answer, group=question, answer=answer)


def iter_code(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield HumanEval's problems: the head of a function, its solution, and the tests that decide."""
    for item in iter_json_lines(package, path):
        names = ("task_id", "prompt", "test", "entry_point")
        yield {**{name: item[name] for name in names}, "completion": item["canonical_solution"],
               "group": item["task_id"]}  # fmt: skip


def iter_passages(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield every different passage of a reading set once, as ``text``."""
    seen = set()
    for item in iter_json_lines(package, path):
        text = " ".join(item["passage"].split())
        if text and text not in seen:
            seen.add(text)
            yield {"text": text, "group": text}


def iter_abstracts(package: PackageFiles, path: str) -> Iterator[Row]:
    """Yield every different abstract of a reading set once, as ``text``, without the numbers of its parts."""
    for row in iter_passages(package, path):
        text = " ".join(_PART.sub(" ", row["text"]).split())
        yield {"text": text, "group": text}


def iter_mmlu_examples(package: PackageFiles, folder: str, *, held_out: bool) -> Iterator[Row]:
    """Yield MMLU development questions out of task files; the shortest one of each subject is held out for the test.

    Questions that do not have exactly four options with an answer among them, and those that are too long, are left
    out. A question that several subjects share counts once, and a held-out one is never a training example.
    """
    test: dict[str, Row] = {}
    train: dict[str, Row] = {}
    for path in _task_files(package, folder, "mmlu_"):
        subject = {"subject": _stem(path).removeprefix("mmlu_")}
        samples = sorted(filter(None, map(_letter_row, _task_samples(package, path))), key=_length)
        for kind, rows in ((test, samples[:1]), (train, samples[1:])):
            for row in rows:
                kind.setdefault(" ".join(row["question"].lower().split()), {**subject, **row})
    longest = MAX_TEST_CHARACTERS if held_out else MAX_COT_CHARACTERS
    for key, row in (test if held_out else train).items():
        if _length(row) <= longest and (held_out or key not in test):
            yield row


def iter_bbh(package: PackageFiles, folder: str) -> Iterator[Row]:
    """Yield the BIG-Bench-Hard examples that come with a chain of thought, out of task files."""
    for path in _task_files(package, folder, ""):
        for sample in _task_samples(package, path):
            prompt = f"Question: {sample['input'].strip()}\nAnswer:"
            row = {"subject": _stem(path), "prompt": prompt, "completion": f" {sample['target'].strip()}"}
            if _length(row) <= MAX_COT_CHARACTERS:
                yield row


def first_sentences(text: str, characters: int) -> str:
    """Return the whole sentences at the start of ``text`` that fit into ``characters``; empty if none does."""
    ends = [match.end() for match in _SENTENCE_END.finditer(f"{text} ") if match.end() - 1 <= characters]
    return text[: ends[-1]].rstrip() if ends else ""


def _row(question: str, completion: str, *, group: str, passage: str = "", **more: Any) -> Row:
    lead = f"Passage: {passage}\n" if passage else ""
    prompt = f"{lead}Question: {question}\nAnswer:"
    return {"prompt": prompt, "completion": f" {completion}", "question": question, "group": group, **more}


def _length(row: Mapping[str, Any]) -> int:
    return len(row["prompt"]) + len(row["completion"])


def _letter_row(sample: Mapping[str, Any]) -> Row | None:
    answer = _ANSWER.search(sample["target"].strip())
    parts = _OPTIONS.fullmatch(sample["question"].strip())
    if not parts or not answer or answer[1] not in LETTERS or "(E)" in parts[5]:
        return None
    question, *choices = parts.groups()
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True)]
    prompt = "\n".join([question, *lines, "Answer:"])
    index = LETTERS.index(answer[1])
    return {"prompt": prompt, "completion": f" {answer[1]}", "choices": choices, "answer": index, "question": question}


def _task_files(package: PackageFiles, folder: str, prefix: str) -> list[str]:
    paths = (path for path in package.names(folder) if path.endswith(".yaml"))
    return [path for path in paths if _stem(path).startswith(prefix) and not _stem(path).startswith("_")]


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".yaml")


def _task_samples(package: PackageFiles, path: str) -> list[Mapping[str, Any]]:
    """Return the worked examples of a harness task file; the functions that its tags name are never run."""
    import yaml

    class TaskLoader(yaml.SafeLoader):
        pass

    TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)
    document = yaml.load(package.read(path).decode("utf-8"), Loader=TaskLoader)
    return (document.get("fewshot_config") or {}).get("samples") or []
