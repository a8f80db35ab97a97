"""Benchmark texts are question and right answer, however a task writes them down."""

import json
from pathlib import Path

import pytest
import yaml

from release_kit.core.errors import RecordError, StudyError
from release_kit.sft.measure.benchmarks import read_benchmark

DOCUMENTS = [{"q": "Sky?", "options": ["red", "blue"], "gold": 1}, {"q": "Grass?", "options": ["green"], "gold": 0}]


def _task(folder: Path, text: str | None = None, **settings) -> None:
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "t.jsonl").write_text("".join(json.dumps(d) + "\n" for d in DOCUMENTS))
    value = {
        "task": "t", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "data/t.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}], **settings,
    }  # fmt: skip
    (folder / "tasks" / "t.yaml").write_text(yaml.safe_dump(value) + (text or ""))


@pytest.mark.parametrize(
    "settings",
    [
        {"doc_to_text": "Q: {{q}}\nA:", "doc_to_choice": "{{options}}", "doc_to_target": "gold"},
        {"doc_to_text": "Q: {{q}}\nA:", "doc_to_choice": "options", "doc_to_target": "{{gold}}"},
        {"doc_to_text": "Q: {{q}}\nA:", "doc_to_target": "{{options[gold]}}"},
    ],
    ids=["template", "columns", "target-text"],
)
def test_question_and_right_answer(tmp_path: Path, settings: dict):
    _task(tmp_path, **settings)
    found = read_benchmark(tmp_path, "t")
    assert found.texts == ("Q: Sky?\nA: blue", "Q: Grass?\nA: green")
    assert found.source == "template"


def test_limit_takes_the_documents_that_are_evaluated(tmp_path: Path):
    _task(tmp_path, doc_to_text="q", doc_to_target="{{options[gold]}}")
    assert read_benchmark(tmp_path, "t", limit=1).texts == ("Sky? blue",)


def test_texts_made_by_code_are_those_of_the_harness(tmp_path: Path):
    _task(tmp_path, "doc_to_text: !function t_code.shout\n", doc_to_choice="{{options}}", doc_to_target="gold")
    (tmp_path / "tasks" / "t_code.py").write_text("def shout(doc):\n    return doc['q'].upper()\n")
    found = read_benchmark(tmp_path, "t")
    assert found.source == "harness"
    assert found.texts == ("SKY? blue", "GRASS? green")


@pytest.mark.parametrize(
    ("made_by_code", "settings"),
    [
        ("doc_to_choice: !function t_code.options\n", {"doc_to_target": "gold"}),
        ("doc_to_target: !function t_code.answer\n", {}),
    ],
)
def test_an_answer_made_by_code_is_no_bare_number(tmp_path: Path, made_by_code: str, settings: dict):
    _task(tmp_path, made_by_code, doc_to_text="{{q}}", output_type="generate_until", **settings)
    code = (
        "def options(doc):\n    return doc['options']\n\n\ndef answer(doc):\n    return doc['options'][doc['gold']]\n"
    )
    (tmp_path / "tasks" / "t_code.py").write_text(code)
    found = read_benchmark(tmp_path, "t")
    assert (found.source, found.texts) == ("harness", ("Sky? blue", "Grass? green"))


def test_templates_that_no_one_can_follow_leave_the_strings_of_the_documents(tmp_path: Path):
    _task(tmp_path, "doc_to_text: !function missing.shout\n", doc_to_target="gold")
    found = read_benchmark(tmp_path, "t")
    assert (found.source, found.texts[0]) == ("fields", "Sky?\nred\nblue")


def test_a_template_cannot_reach_outside_its_document(tmp_path: Path):
    _task(tmp_path, doc_to_text="{{ ''.__class__.__mro__[1].__subclasses__() }}", doc_to_target="gold")
    with pytest.raises(RecordError, match="reaches outside its document"):
        read_benchmark(tmp_path, "t")


def test_what_is_missing_is_named(tmp_path: Path):
    _task(tmp_path, doc_to_text="q", doc_to_target="gold")
    with pytest.raises(StudyError, match="no task 'tt'; did you mean 't'"):
        read_benchmark(tmp_path, "tt")
    (tmp_path / "data" / "t.jsonl").unlink()
    with pytest.raises(RecordError, match=r"t\.jsonl"):
        read_benchmark(tmp_path, "t")
    _task(tmp_path, doc_to_text="q", dataset_kwargs={"data_files": {"train": "data/t.jsonl"}})
    with pytest.raises(StudyError, match="no local data file for its split 'test'"):
        read_benchmark(tmp_path, "t")
