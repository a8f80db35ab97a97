"""``docs/cards.md`` says what the code does."""

import re
from pathlib import Path

from release_kit.release.cards.problems import CODES, WARNINGS
from release_kit.release.cards.trace import parse_trace

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/cards.md").read_text()


def test_table_of_codes_is_the_registry():
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {code: (severity, text) for code, severity, text in rows} == {
        code: ("warning" if code in WARNINGS else "error", text) for code, text in CODES.items()
    }


def test_every_code_is_used():
    source = "".join(path.read_text() for path in (ROOT / "release_kit/release/cards").glob("*.py"))
    assert {code for code in CODES if source.count(f'"{code}"') > 1 + (code in WARNINGS)} == set(CODES)


def test_keys_of_the_trace_are_documented(built):
    trace = parse_trace(built.card("tiny-llama-alpaca-lora-s0").read_text(), "card")
    for key in [*trace.numbers["evaluation"], "table", "body_sha256", "sources", "from"]:
        assert f"{key}`" in PAGE, key
    for part in trace.numbers["evaluation"]["origin"]:
        assert f"`{part}`" in PAGE
