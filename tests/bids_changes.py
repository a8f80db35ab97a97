"""Small changes to files that tests make."""

from pathlib import Path


def edit(path: Path, old: str, new: str) -> None:
    """Replace ``old``, which must be there, everywhere in a text file."""
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def swap(one: Path, other: Path) -> None:
    """Exchange the contents of two files."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
