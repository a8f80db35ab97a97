"""The longest cell that Python's reader of CSV takes, and what a table that breaks its rules is told.

The limit is one of the whole process, so nobody here moves it: a text that is longer leaves in another format.
"""

import csv

_TOO_LONG = "field larger than field limit"


def longest_cell() -> int:
    """Return how many characters a cell may hold (131,072 unless the process was told otherwise)."""
    return csv.field_size_limit()


def csv_fault(error: csv.Error) -> str:
    """Return what is wrong with a table, as the end of a sentence that begins with its name."""
    if str(error).startswith(_TOO_LONG):
        return (
            f"has a cell of more than {longest_cell():,} characters, which is rarely a text and most often a double "
            "quote that is never closed"
        )
    return f"cannot be read as a table ({error})"
