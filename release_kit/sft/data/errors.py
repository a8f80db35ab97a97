"""The error of this room, and how several of them become one sentence."""

from collections.abc import Sequence

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted

N_SHOWN = 5
"""Problems of one kind that a message spells out; the number of all stands before them."""
N_PLACES = 3


class DataError(ReleaseKitError):
    """Training data that cannot be read, or that would train something else than the study says."""


def combined(problems: Sequence[ReleaseKitError], where: str) -> ReleaseKitError:
    """Return one error that says everything that is wrong: the only one as it is, several as a list.

    Args:
        problems: at least one.
        where: what they have in common (a file, a run).
    """
    if len(problems) == 1:
        return problems[0]
    shown = [problem.sentence() for problem in problems[:N_SHOWN]]
    more = [f"and {len(problems) - N_SHOWN:,} more"] if len(problems) > N_SHOWN else []
    return DataError(f"{counted(len(problems), 'problem')}: " + " | ".join([*shown, *more]), where=where)


def numbers_text(numbers: Sequence[int]) -> str:
    """Return ``3, 9, 12, … (40 in all)``: which lines or examples, the first few of them."""
    shown = ", ".join(f"{number}" for number in numbers[:N_SHOWN])
    return f"{shown}, … ({len(numbers):,} in all)" if len(numbers) > N_SHOWN else shown


def places_text(places: Sequence[str]) -> str:
    """Return ``data/x.jsonl, line 3; data/x.jsonl, line 9; … and 40 more``."""
    more = f" and {len(places) - N_PLACES:,} more" if len(places) > N_PLACES else ""
    return "; ".join(places[:N_PLACES]) + more
