"""The offline lint of a card's front matter: what the Hub would refuse, ignore or misread.

Owns the judgement of single cards, anybody's; the tables it holds ids against are in ``hub_tables.py``, the structure
of results in ``lint_results.py``. Nothing is asked on a network.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.records import nearest
from release_kit.release.cards import hub_tables
from release_kit.release.cards.card_file import FrontMatter, read_front_matter
from release_kit.release.cards.lint_results import lint_configs, lint_eval_results, lint_model_index
from release_kit.release.cards.problems import CardProblem

_HUB_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?\Z")
_PLACEHOLDER = re.compile(r"\[more information needed\]|\{\{\s*\w+[^}]*\}\}|\[optional\]", re.IGNORECASE)
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_DATASET_ONLY = frozenset({"configs", "dataset_info", "size_categories", "task_categories", "annotations_creators"})


def lint_card(text: str, path: str, folder: Path | None = None, kind: str | None = None) -> list[CardProblem]:
    """Return what is wrong with one card, by itself.

    Args:
        text: the card.
        path: how problems name it.
        folder: the folder that it lies in, to see whether the files that it names are there.
        kind: ``model`` or ``dataset``; None looks at its keys.
    """
    problems = [*_placeholders(text, path), *(_images(text, path, folder) if folder else ())]
    try:
        front = read_front_matter(text, path)
    except RecordError as error:
        line = (error.where or "").rpartition(":")[2]
        number = int(line) if line.isdigit() else 1
        problems.append(_problem("front-matter-broken", path, number, error.what, "correct the YAML"))
        return sorted(problems, key=lambda problem: problem.order)
    if front is None:
        what = "has no front matter: the Hub knows neither licence nor task nor results"
        problems.append(
            _problem("front-matter-missing", path, 1, what, "begin the card with a block between --- lines")
        )
    else:
        kind = kind or ("dataset" if _DATASET_ONLY & set(front.values) else "model")
        problems += lint_front_matter(front, path, kind, folder)
    if folder is not None and kind != "dataset":
        problems += lint_eval_results(folder, path)
    return sorted(problems, key=lambda problem: problem.order)


def lint_front_matter(front: FrontMatter, path: str, kind: str, folder: Path | None) -> Iterator[CardProblem]:
    """Yield what is wrong with the front matter of a ``model`` or ``dataset`` card."""
    for dotted, line in front.duplicates:
        yield _problem("key-duplicate", path, line, f"`{dotted}` stands twice; readers keep the last", "remove one")
    known = hub_tables.DATASET_KEYS if kind == "dataset" else hub_tables.MODEL_KEYS
    for key in front.values:
        if key not in known:
            what = f"`{key}` is not a key of a {kind} card{nearest(key, sorted(known))}"
            yield _problem("key-unknown", path, front.line(key), what, "correct or remove it")
    yield from _license(front, path)
    yield from _languages(front, path)
    yield from _tags(front, path)
    if kind == "dataset":
        yield from _members(front, path, "size_categories", hub_tables.SIZE_CATEGORIES, "key-type")
        yield from _members(front, path, "task_categories", hub_tables.TASKS, "task-unknown")
        yield from _ids(front, path, "source_datasets", also=("original",))
        yield from lint_configs(front, path, folder)
        return
    yield from _base_model(front, path)
    yield from _ids(front, path, "datasets")
    yield from _members(front, path, "pipeline_tag", hub_tables.TASKS, "task-unknown")
    yield from _members(front, path, "base_model_relation", hub_tables.RELATIONS, "relation-unknown")
    yield from lint_model_index(front, path)


def _license(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    value, line = front.values.get("license"), front.line("license")
    if value in (None, "", []):
        step = "add `license:` with one of the Hub's ids, or `other` with license_name"
        yield _problem("license-missing", path, line, "names no licence", step)
        return
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str) or item not in hub_tables.LICENSES:
            what = f"the licence {item!r} is not one of the Hub's ids{_close(item, hub_tables.LICENSES)}"
            yield _problem("license-unknown", path, line, what, "use an id, or `other` with license_name")
        elif item == "other" and not front.values.get("license_name"):
            what = "the licence is `other` without a `license_name`"
            yield _problem("license-unknown", path, line, what, "add license_name, and license_link if it has a page")


def _languages(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    value = front.values.get("language")
    for index, item in enumerate(value if isinstance(value, list) else [] if value is None else [value]):
        line = front.line("language", index)
        if item is False:
            what, step = "`language: no` is read as false by YAML", 'write "no" in quotes'
        elif not isinstance(item, str):
            what, step = f"the language {item!r} is not text", "use an ISO 639 code"
        elif item in hub_tables.LANGUAGES or re.fullmatch(r"[a-z]{3}", item):
            continue
        else:
            what = f"the language {item!r} is not an ISO 639 code"
            step = "use two or three letters; regions and scripts belong to language_bcp47"
        yield _problem("language-unknown", path, line, what, step)


def _tags(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    value = front.values.get("tags")
    items = value if isinstance(value, list) else [] if value is None else [value]
    for index, item in enumerate(items):
        if not isinstance(item, str):
            line = front.line("tags", index)
            yield _problem("key-type", path, line, f"the tag {item!r} is not text", "put it in quotes")


def _base_model(front: FrontMatter, path: str) -> Iterator[CardProblem]:
    if front.values.get("base_model") in (None, "", []):
        what = "names no base model, so the Hub cannot link it to what it was made from"
        yield _problem("base-model-missing", path, 1, what, "add `base_model:` unless it was trained from scratch")
        return
    yield from _ids(front, path, "base_model")


def _ids(front: FrontMatter, path: str, key: str, also: tuple[str, ...] = ()) -> Iterator[CardProblem]:
    value = front.values.get(key)
    items = value if isinstance(value, list) else [] if value is None else [value]
    for index, item in enumerate(items):
        if item in also:
            continue
        if not isinstance(item, str) or not _HUB_ID.match(item) or ".." in item or "--" in item:
            line = front.line(key, index) if isinstance(value, list) else front.line(key)
            what = f"`{key}` names {item!r}, which cannot be an id on the Hub"
            yield _problem("id-malformed", path, line, what, "write it as namespace/name")


def _members(
    front: FrontMatter, path: str, key: str, known: frozenset[str], code: str
) -> Iterator[CardProblem]:  # fmt: skip
    value = front.values.get(key)
    for item in value if isinstance(value, list) else [] if value is None else [value]:
        if item not in known:
            what = f"`{key}` is {item!r}, which the Hub does not know{_close(item, known)}"
            yield _problem(code, path, front.line(key), what, "use one of the Hub's ids")


def _placeholders(text: str, path: str) -> Iterator[CardProblem]:
    for number, line in enumerate(text.split("\n"), 1):
        if (found := _PLACEHOLDER.search(line)) and not line.startswith("<!--"):
            what = f"holds {found.group()!r}, left over from a template"
            yield _problem("placeholder", path, number, what, "fill it in, or remove the section")


def _images(text: str, path: str, folder: Path) -> Iterator[CardProblem]:
    for number, line in enumerate(text.split("\n"), 1):
        for target in _IMAGE.findall(line):
            inner = target.split("#")[0].split("?")[0]
            outside = "://" in inner or inner.startswith(("/", "data:")) or not inner
            if not outside and not os.path.exists(os.path.join(folder, inner)):
                yield _problem("file-missing", path, number, f"shows {inner!r}, which is not there", "add the file")


def _close(item: Any, known: frozenset[str]) -> str:
    return nearest(item.lower(), sorted(known)) if isinstance(item, str) else ""


def _problem(code: str, path: str, line: int, what: str, next_step: str) -> CardProblem:
    return CardProblem(code=code, path=path, line=line, what=what, next_step=next_step)
