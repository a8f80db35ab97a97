"""The page on training data says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

from release_kit.sft.data import audit, columns, invariants, trained_text
from release_kit.sft.data.record import DataRecord
from release_kit.sft.data.templates import PAPER_TEXT
from release_kit.sft.data.tokens import FAULTS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "sft-data.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    return [cell for cell in re.findall(r"^\| (.*?) \|", section(title), re.MULTILINE) if cell.startswith("`")]


def test_known_columns_are_those_of_the_code():
    documented = [tuple(re.findall(r"`(\w+)`", cell)) for cell in first_cells("Files")]
    assert documented == list(columns._FORMS)


def test_keys_of_a_record_are_those_of_the_code():
    text = re.search(r"is the record of where.*?Without a record", section("Files"), re.DOTALL)[0]
    assert {field.name for field in fields(DataRecord)} | {"schema_version"} == {
        word for word in re.findall(r"`(\w+)`", text) if word != "jsonl"
    }


def test_faults_and_the_papers_template_are_those_of_the_code():
    assert [cell.strip("`") for cell in first_cells("The audit")] == list(FAULTS)
    assert repr(PAPER_TEXT)[1:-1] in section("Templates")


def test_checks_that_the_page_names_exist():
    named = set(re.findall(r"`(check_\w+)`", PAGE))
    assert named <= {*dir(invariants), *dir(trained_text), *dir(audit)} and len(named) > 4
