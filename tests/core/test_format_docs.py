"""The format pages say what the code does: their examples are read, their tables are complete."""

import json
import re
from pathlib import Path

import pytest
import yaml

from release_kit.core.canonical import document_bytes
from release_kit.core.cell import Cell
from release_kit.core.checkpoint_facts import read_facts
from release_kit.core.checkpoints import read_rules
from release_kit.core.collect import read_sources
from release_kit.core.grid import iter_levels
from release_kit.core.results import COLUMNS, results_schema
from release_kit.core.study import LAYOUTS, ROLES, Study, parse_study

FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def page(name: str) -> str:
    return (FORMATS / name).read_text(encoding="utf-8")


def example(name: str, language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def study() -> Study:
    return parse_study(example("study.md", "yaml"), folder=Path("."))


def test_the_example_study_is_valid_in_all_its_parts(study):
    sources, problems = read_sources(study)
    rules, wrong = read_rules(study)
    assert problems == wrong == []
    assert (len(sources), len(rules)) == (2, 1)
    assert len(list(iter_levels(study))) == 2 * 2 * 2 + 1 - 1
    levels = next(iter_levels(study))
    assert study.names.format(**levels) == "SmolLM2-135M-lima-full-s0"


def test_every_key_of_a_study_is_documented_and_in_the_example():
    text = page("study.md")
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    keys = {"schema_version", "seeds", *Study.__dataclass_fields__} - {"folder"}
    assert keys <= documented
    assert set(yaml.safe_load(example("study.md", "yaml"))) == keys
    for word in (*ROLES, *LAYOUTS):
        assert f"`{word}`" in text


def test_the_example_cell_is_valid_and_written_as_documented():
    text = example("cell.md", "json")
    cell = Cell.from_dict(json.loads(text))
    assert document_bytes(cell.to_dict()).decode() == text
    for key in cell.to_dict():
        assert f"| `{key}` |" in page("cell.md")


def test_every_fact_that_an_import_reads_is_documented(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "a/b", "r": 1, "peft_type": "LORA", "peft_version": "1"})
    )
    (tmp_path / "config.json").write_text(json.dumps({"transformers_version": "5"}))
    numbers = dict.fromkeys(
        ("global_step", "epoch", "max_steps", "num_train_epochs", "train_batch_size", "best_metric", "seed"), 1
    )
    (tmp_path / "trainer_state.json").write_text(json.dumps(numbers | {"log_history": [{"loss": 1.0}]}))
    facts = read_facts(tmp_path, "x")
    assert set(facts) == {"base_model", "adapter", "versions", "train_loss", *numbers}
    table = page("cell.md").partition("| read from |")[2]
    for key in facts:
        assert f"`{key}" in table


def test_every_column_of_the_results_is_documented_with_its_type_in_order():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", page("results.md"), re.MULTILINE)
    assert [name for name, _ in rows[: len(COLUMNS)]] == list(COLUMNS)
    assert dict(rows[: len(COLUMNS)]) == {field.name: str(field.type) for field in results_schema()}
