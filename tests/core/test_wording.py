"""Counted nouns, and foreign text on a terminal."""

import pytest

from release_kit.core.wording import counted, printable


def test_one_is_singular_and_thousands_are_marked():
    assert [counted(n, "cell") for n in (0, 1, 2, 1027)] == ["0 cells", "1 cell", "2 cells", "1,027 cells"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a name", "a name"),
        ("größe\u00a0µ", "größe\u00a0µ"),
        ("new\nline", r"new\nline"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bad\udcff", r"bad\udcff"),
        ("\u2028\u202e", r"\u2028\u202e"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
