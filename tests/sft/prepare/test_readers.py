"""Examples of every kind of packaged file: what an item becomes, and which items are left out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from release_kit.core.packages import PackageFiles
from release_kit.sft.prepare import readers


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., PackageFiles]:
    def make(*items: dict, name: str = "a.jsonl") -> PackageFiles:
        data = "".join(f"{json.dumps(item)}\n" for item in items).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return PackageFiles(name="p", version="1", root=tmp_path)

    return make


def test_lettered_options_become_texts_and_an_index(package: Callable):
    item = {"question": " What is  a doctor? ", "options": "\nA. a job\nB. a fish\nC. e. coli", "answer": "C. e. coli"}
    (row,) = readers.iter_lettered(package(item), "a.jsonl")
    assert row == {
        "prompt": "Question: What is a doctor?\nAnswer:",
        "completion": " e. coli",
        "question": "What is a doctor?",
        "group": "What is a doctor?",
        "choices": ["a job", "a fish", "e. coli"],
        "answer": 2,
    }


@pytest.mark.parametrize(
    "options, answer",
    [
        ("A. one\nB. two", "C. three"),
        ("A. one\nB. two", "A. two"),
        ("A. one\nB. two", ""),
        ("A. one\nB. one", "A. one"),
        ("A. one\nB. ", "A. one"),
        (f"A. one\nB. {'long ' * 200}", "A. one"),
    ],
    ids=["letter without option", "text of another", "no gold", "equal options", "empty option", "too long"],
)
def test_question_without_one_right_option_is_left_out(package: Callable, options: str, answer: str):
    item = {"question": "Which?", "options": options, "answer": answer}
    assert list(readers.iter_lettered(package(item), "a.jsonl")) == []


def test_reading_question_belongs_to_its_passage(package: Callable):
    items = [
        {"passage": "Water  boils.", "question": "does water boil", "answer": "True"},
        {"passage": "Water boils.", "question": "is water dry", "answer": "False"},
    ]
    yes, no = readers.iter_boolq(package(*items), "a.jsonl")
    assert yes["prompt"] == "Passage: Water boils.\nQuestion: does water boil?\nAnswer:"
    assert (yes["completion"], yes["answer"], no["completion"], no["answer"]) == (" yes", 1, " no", 0)
    assert yes["group"] == no["group"] == "Water boils."


@pytest.mark.parametrize(
    "answer, number",
    [("9 apples", "9"), ("1,200", "1200"), ("-3.5 degrees", "-3.5")]
    + [(answer, None) for answer in ("9:41", "13; 39", "1/2", "7 years old; 9 years old", "noon")],
)
def test_word_problem_has_one_number_as_answer(package: Callable, answer: str, number: str | None):
    item = {"passage": "Two apples.", "question": "How many?", "answer": answer}
    rows = list(readers.iter_asdiv(package(item), "a.jsonl"))
    assert [row["answer"] for row in rows] == ([number] if number else [])
    assert all(row["completion"] == f" {answer}" for row in rows)


def test_open_question_takes_its_first_answer_and_gets_a_question_mark(package: Callable):
    items = [{"question": "who sings", "answer": ["Ada", "A. L."]}, {"question": "why", "answer": [" "]}]
    (row,) = readers.iter_open(package(*items), "a.jsonl")
    assert (row["prompt"], row["completion"]) == ("Question: who sings?\nAnswer:", " Ada")


def test_code_problem_keeps_what_its_tests_need(package: Callable):
    item = {"task_id": "H/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n", "entry_point": "f",
            "test": "def check(f):\n    assert f() == 1\n"}  # fmt: skip
    (row,) = readers.iter_code(package(item, name="a.jsonl.gz"), "a.jsonl.gz")
    assert row["completion"] == item["canonical_solution"] and row["test"] == item["test"]


def test_same_passage_counts_once(package: Callable):
    items = [{"passage": "One  text."}, {"passage": "One text."}, {"passage": " "}]
    assert [row["text"] for row in readers.iter_passages(package(*items), "a.jsonl")] == ["One text."]


@pytest.mark.parametrize(
    "text, characters, expected",
    [
        ("One. Two. Three.", 9, "One. Two."),
        ("One. Two. Three.", 100, "One. Two. Three."),
        ("No end here", 5, ""),
        ('He said "no." Then.', 13, 'He said "no."'),
    ],
)
def test_prose_is_cut_at_the_end_of_a_sentence(text: str, characters: int, expected: str):
    assert readers.first_sentences(text, characters) == expected


def test_held_out_questions_of_the_harness_are_no_training_examples():
    from release_kit.core.packages import installed_package

    package, folder = installed_package("lm_eval"), "lm_eval/tasks/mmlu/flan_cot_fewshot"
    train, test = (list(readers.iter_mmlu_examples(package, folder, held_out=held)) for held in (False, True))
    questions = [{" ".join(row["question"].lower().split()) for row in rows} for rows in (train, test)]
    assert len(train) > 150 and len(test) > 40 and not questions[0] & questions[1]
    assert all(row["completion"] == f" {'ABCD'[row['answer']]}" and len(row["choices"]) == 4 for row in train + test)
