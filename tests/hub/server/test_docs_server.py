"""docs/local-hub.md says what the code does."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from release_kit.cli.hub import serve_command
from release_kit.hub.server import Fault, LocalHub
from release_kit.hub.server.auth import read_tokens
from release_kit.hub.server.faults import KINDS, read_faults

DOCS = Path(__file__).parents[3] / "docs" / "local-hub.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCS.read_text()


def test_every_option_is_described(text):
    table = text.partition("## Options")[2].partition("## Tokens")[0]
    documented = set(re.findall(r"--[a-z-]+", "\n".join(re.findall(r"^\| (.*?) \| ", table, re.MULTILINE))))
    assert documented == {name for parameter in serve_command.params for name in parameter.opts}


def test_every_kind_and_field_of_a_fault_is_described(text):
    part = text.partition("## Fault plans")[2].partition("## What is on disk")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", part, re.MULTILINE)) == set(KINDS)
    missing = [field.name for field in fields(Fault) if f"`{field.name}`" not in part and f'"{field.name}"' not in part]
    assert missing == []


def test_examples_can_be_read(text, tmp_path):
    tokens, plan = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "plan.json").write_text(plan)
    assert len(read_faults(tmp_path / "plan.json")) == 4
    (tmp_path / "tokens.json").write_text(tokens)
    assert {user.name for user in read_tokens(tmp_path / "tokens.json").values()} == {"ada", "reader"}
    assert json.loads(tokens)


def test_python_example_runs(text, tmp_path, capsys):
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    exec(compile(code.replace('Path("hub")', f"Path({str(tmp_path)!r})"), str(DOCS), "exec"), {})
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_folder_looks_as_described(text, tmp_path):
    with LocalHub(root=tmp_path / "hub"):
        names = {path.name for path in (tmp_path / "hub").iterdir()}
    block = text.partition("## What is on disk")[2].partition("```\n")[2].partition("```")[0]
    described = set(re.findall(r"<root>/([^/\s]+)", block))
    assert names - {"hub.sqlite3-wal", "hub.sqlite3-shm"} <= described
