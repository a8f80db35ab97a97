"""Data files are read strictly, and the same bytes, size and seed choose the same examples."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import RecordError
from release_kit.sft.data.errors import DataError
from release_kit.sft.data.examples import random_order, read_dataset, select_for, select_rows
from release_kit.sft.data.record import DataRecord, read_record, write_record
from release_kit.sft.spec.runs import plan_runs

Write = Callable[[Path, list[dict[str, Any]]], Path]


def plan_of(*components: str, size: int | None = None, seed: int = 0) -> Any:
    return SimpleNamespace(components=components, data_size=size, seed=seed, describe=lambda: "a run")


@pytest.mark.parametrize(
    ("row", "normal"),
    [
        ({"prompt": "p", "completion": "c", "id": 3}, {"prompt": "p", "completion": "c"}),
        ({"instruction": "i", "response": "r"}, {"prompt": "i", "completion": "r"}),
        ({"instruction": "i", "input": "x", "output": "r"}, {"prompt": "i\nx", "completion": "r"}),
        ({"instruction": "i", "input": "", "output": "r"}, {"prompt": "i", "completion": "r"}),
        (
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 1}]},
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
        ),
    ],
)
def test_known_columns_are_found_by_name(tmp_path: Path, write_data: Write, row: dict, normal: dict):
    assert read_dataset(tmp_path, write_data(tmp_path / "d.jsonl", [row])).rows == (normal,)


def test_other_columns_are_read_by_the_studys_mapping(tmp_path: Path, write_data: Write):
    path = write_data(tmp_path / "d.jsonl", [{"question": "q", "answer": "a", "prompt": "no"}])
    dataset = read_dataset(tmp_path, path, {"prompt": "question", "completion": "answer"})
    assert dataset.rows == ({"prompt": "q", "completion": "a"},)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": "questoin", "completion": "answer"}, "no column 'questoin'; did you mean 'question'"),
        ({"promt": "question", "completion": "answer"}, "'promt' is no part of an example; did you mean 'prompt'"),
        ({"prompt": "question"}, "expected prompt \\+ completion"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_nearest_name(
    tmp_path: Path, write_data: Write, columns: dict, message: str
):
    path = write_data(tmp_path / "d.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path, path, columns)


def test_unknown_columns_are_refused_with_what_is_there(tmp_path: Path, write_data: Write):
    path = write_data(tmp_path / "data" / "d.jsonl", [{"promt": "q", "completion": "a"}])
    with pytest.raises(DataError, match=r"data/d.jsonl: expected .* got 'promt', 'completion'.*did you mean 'prompt'"):
        read_dataset(tmp_path, path)


def test_columns_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, write_data: Write):
    path = write_data(tmp_path / "d.jsonl", [{"prompt": "p", "completion": "c", "instruction": "i", "response": "r"}])
    with pytest.raises(DataError, match="can be read in 2 ways"):
        read_dataset(tmp_path, path)


def test_every_broken_line_is_named_at_once(tmp_path: Path):
    path = tmp_path / "d.jsonl"
    good = json.dumps({"prompt": "p", "completion": "c"})
    lines = [good, "{broken", good, json.dumps({"prompt": "p"}), json.dumps({"prompt": "p", "completion": 7}), "[1]"]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path, path)
    text = str(caught.value)
    assert "4 problems" in text
    for part in (
        "line 2",
        "line 4: has no column 'completion'",
        "line 5: 'completion' expected text, got int",
        "line 6",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "got an empty one"),
        ("hello", "expected a list of turns, got str"),
        ([{"role": "user", "content": "u"}], "no turn of the assistant"),
        ([{"role": "asistant", "content": "u"}], "did you mean 'assistant'"),
        ([{"role": "user", "content": None}], r"messages\[0\] expected"),
        ([{"role": "assistant", "content": "\ud800"}], r"messages\[0\].content' holds half of a surrogate pair"),
    ],
)
def test_turns_that_are_none_are_refused(tmp_path: Path, write_data: Write, turns: Any, message: str):
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path, write_data(tmp_path / "d.jsonl", [{"messages": turns}]))


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"prompt": "p", "completion": "\\ud83d"}\r\n{"prompt": "\xff", "completion": "c"}\n')
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path, path)
    assert "line 1: 'completion' holds half of a surrogate pair" in str(caught.value)
    assert "line 2: not valid JSON ('utf-8'" in str(caught.value)


@given(rows=st.lists(st.fixed_dictionaries({"prompt": st.text(), "completion": st.text()}), min_size=1, max_size=5))
def test_every_text_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]):
    path = tmp_path_factory.mktemp("texts") / "d.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    assert list(read_dataset(path.parent, path).rows) == rows


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="holds no example"):
        read_dataset(tmp_path, tmp_path / "d.jsonl")


def test_a_missing_file_is_refused_with_the_nearest_one(tmp_path: Path, write_data: Write):
    write_data(tmp_path / "data" / "asdiv.jsonl", [{"prompt": "p", "completion": "c"}])
    with pytest.raises(DataError, match=r"data/asdvi.jsonl: cannot be read .*did you mean 'asdiv.jsonl'"):
        read_dataset(tmp_path, tmp_path / "data" / "asdvi.jsonl")


def test_data_that_its_record_was_not_written_for_is_refused(tmp_path: Path, write_data: Write, sum_rows: Callable):
    path = write_data(tmp_path / "d.jsonl", sum_rows(3))
    facts = {"name": "d", "license": "mit", "source": "a-package", "source_version": "1", "n_examples": 3}
    record = DataRecord(**facts, sha256=read_dataset(tmp_path, path).sha256)
    write_record(path, record)
    assert read_record(path) == record == DataRecord.from_dict(record.to_dict(), "x")
    assert len(read_dataset(tmp_path, path).rows) == 3
    write_data(path, sum_rows(4))
    with pytest.raises(DataError, match="its record says"):
        read_dataset(tmp_path, path)


def test_a_record_with_an_unknown_key_is_refused(tmp_path: Path, write_data: Write, sum_rows: Callable):
    path = write_data(tmp_path / "d.jsonl", sum_rows(1))
    (tmp_path / "d.json").write_text('{"schema_version": 1, "name": "d"}', encoding="utf-8")
    with pytest.raises(RecordError, match="license"):
        read_dataset(tmp_path, path)


def test_a_file_that_changed_is_read_again(tmp_path: Path, write_data: Write, sum_rows: Callable):
    path = write_data(tmp_path / "d.jsonl", sum_rows(3))
    first = read_dataset(tmp_path, path)
    assert read_dataset(tmp_path, path) is first
    write_data(path, sum_rows(3, 7))
    assert read_dataset(tmp_path, path).rows != first.rows


def test_a_mixture_takes_equal_parts_in_declared_order(tmp_path: Path, write_data: Write, sum_rows: Callable):
    paths = {name: write_data(tmp_path / f"{name}.jsonl", sum_rows(9, 100 * i)) for i, name in enumerate("abc")}
    selected = select_rows(tmp_path, plan_of("a", "b", "c", size=11), paths)
    assert selected.component == (*"aaaa", *"bbbb", *"ccc")
    assert len(selected.rows) == 11
    assert set(selected.by_component) == {"a", "b", "c"}
    assert selected.places[0].startswith("a.jsonl, line ")
    without_b = select_rows(tmp_path, plan_of("a", "c", size=8), paths)
    assert set(without_b.component) == {"a", "c"}


def test_all_examples_are_taken_in_the_order_of_the_file(tmp_path: Path, write_data: Write, sum_rows: Callable):
    rows = sum_rows(5)
    paths = {"a": write_data(tmp_path / "a.jsonl", rows)}
    one, other = (select_rows(tmp_path, plan_of("a", seed=seed), paths) for seed in (0, 1))
    assert list(one.rows) == rows
    assert one.sha256 == other.sha256


def test_a_choice_follows_from_bytes_size_and_seed_alone(tmp_path: Path, write_data: Write, sum_rows: Callable):
    here = {"a": write_data(tmp_path / "a.jsonl", sum_rows(50))}
    there = {"other": write_data(tmp_path / "elsewhere" / "b.jsonl", sum_rows(50))}
    one = select_rows(tmp_path, plan_of("a", size=10, seed=3), here)
    assert one.sha256 == select_rows(tmp_path / "elsewhere", plan_of("other", size=10, seed=3), there).sha256
    assert one.sha256 != select_rows(tmp_path, plan_of("a", size=10, seed=4), here).sha256
    larger = select_rows(tmp_path, plan_of("a", size=20, seed=3), here)
    assert set(one.places) < set(larger.places)
    write_data(here["a"], sum_rows(50, 1))
    assert one.sha256 != select_rows(tmp_path, plan_of("a", size=10, seed=3), here).sha256


def test_digest_of_a_choice_is_that_of_its_content(tmp_path: Path, write_data: Write):
    plain = {"a": write_data(tmp_path / "a.jsonl", [{"prompt": "p", "completion": "c"}])}
    renamed = {"a": write_data(tmp_path / "b.jsonl", [{"question": "p", "answer": "c", "id": 4}])}
    columns = {"a": {"prompt": "question", "completion": "answer"}}
    one = select_rows(tmp_path, plan_of("a"), plain)
    other = select_rows(tmp_path, plan_of("a"), renamed, columns=columns)
    assert one.sha256 == other.sha256
    assert one.by_component != other.by_component


def test_too_few_examples_and_missing_files_are_named_together(tmp_path: Path, write_data: Write, sum_rows: Callable):
    paths = {"a": write_data(tmp_path / "a.jsonl", sum_rows(3)), "b": tmp_path / "b.jsonl"}
    with pytest.raises(DataError, match=r"2 problems: a.jsonl: expected 5 examples or more, got 3.*b.jsonl: cannot be"):
        select_rows(tmp_path, plan_of("a", "b", size=10), paths)


def test_a_study_gives_paths_and_columns(data_study: Callable, write_data: Write):
    columns = {"prompt": "q", "completion": "a"}
    study = data_study(datasets={"odd": {"path": "data/own/odd.jsonl", "columns": columns}})
    write_data(study.folder / "data" / "own" / "odd.jsonl", [{"q": "1", "a": "2"}])
    plan = next(plan for plan in plan_runs(study) if plan.dataset == "odd")
    assert select_for(study, plan).rows == ({"prompt": "1", "completion": "2"},)
    both = next(plan for plan in plan_runs(study) if plan.dataset == "both")
    assert select_for(study, both).component == ("low",) * 12 + ("high",) * 7


@given(n=st.integers(1, 200), seed=st.integers(-3, 2**32), key=st.integers(0, 2**63))
def test_random_order_is_a_permutation_of_its_keys(n: int, seed: int, key: int):
    order = random_order(n, seed, key)
    assert sorted(order.tolist()) == list(range(n))
    assert (order == random_order(n, seed, key)).all()
