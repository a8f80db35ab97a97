"""A pointer of git-annex is told from every other file."""

from pathlib import Path

import pytest

from release_kit.core.annexed import pointer_key

KEY = "SHA256E-s9--0f.tsv"


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (f"/annex/objects/{KEY}\n", KEY),
        (f"/annex/objects/{KEY}", KEY),
        (f"/annex/objects/zq/W1/{KEY}\n", KEY),
        (f"/annex/objects/{KEY}\n" + "x" * 40_000, None),
        ("/annex/objects/", None),
        ("/annex/", None),
        ("onset\tduration\n", None),
        ("", None),
    ],
)
def test_only_a_small_file_that_begins_as_one_is_a_pointer(content: str, key: str | None, tmp_path: Path):
    (tmp_path / "file").write_text(content, encoding="utf-8")
    assert pointer_key(tmp_path / "file") == key
