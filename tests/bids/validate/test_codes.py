"""Codes, their page and their families say the same."""

import re
from pathlib import Path

import pytest

from release_kit.bids.validate.codes import CODES, FAMILIES, explain
from release_kit.bids.validate.finding import SEVERITIES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "bids-validate.md"


def test_page_lists_every_code_with_its_severity_and_meaning():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [
        (code.name, code.severity, code.summary, code.why)
        for family in FAMILIES
        for code in CODES.values()
        if code.family == family
    ]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_code_is_complete(code):
    assert code.family in FAMILIES
    assert code.severity in SEVERITIES
    assert code.summary.endswith(".") and code.why.endswith(".") and not code.next_step.endswith(".")
    assert code.why in explain(code.name)
