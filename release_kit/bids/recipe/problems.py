"""What can be wrong with a recipe: one record a problem, and the error that holds all of them.

Used by reading (``read.py``) and by checking against the recordings (``check.py``). Owns no rule.
"""

from collections.abc import Iterable

from release_kit.bids.recipe.codes import CODES
from release_kit.core.errors import StudyError
from release_kit.core.grammar.problem import Problem
from release_kit.core.wording import counted

SHOWN = 100
"""Problems that an error spells out; ``--json`` has all of them."""


class RecipeError(StudyError):
    """Everything that is wrong with a recipe, at once."""

    def __init__(self, problems: Iterable[Problem], *, where: str):
        self.problems = tuple(problems)
        one = self.problems[0] if len(self.problems) == 1 else None
        if one is not None:
            super().__init__(one.what, where=one.where, next_step=one.next_step)
            return
        lines = [f"  {problem.sentence()}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  … and {counted(len(self.problems) - SHOWN, 'more problem')}")
        super().__init__("\n".join([counted(len(self.problems), "problem"), *lines]), where=where)

    def to_dict(self) -> dict:
        """Return the parts for ``--json`` with every problem as a record."""
        return {**super().to_dict(), "problems": [problem.to_dict() for problem in self.problems]}


def problem(code: str, what: str, where: str, next_step: str) -> Problem:
    """Return the problem of a code that ``codes.py`` knows, with its severity."""
    return Problem(code=code, what=what, where=where, next_step=next_step, severity=CODES[code].severity)


def listed(names: Iterable[str], shown: int = 4) -> str:
    """Return ``a, b, c, d and 12 more``."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
