"""Everything that is wrong with annotation files, told at once: file, line, what.

Owns the record of one problem, the list that a reader fills while it goes on, and the error made of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted, printable

MAX_SHOWN = 20
"""Problems that the sentence of an error spells out; ``to_dict`` has them all."""


@dataclass(frozen=True, kw_only=True)
class AnnotationProblem:
    """One thing that is wrong in one place; ``line`` counts from 1, None where a file has no lines."""

    path: str
    what: str
    line: int | None = None

    def sentence(self) -> str:
        """Return ``path, line 3: what``."""
        place = self.path if self.line is None else f"{self.path}, line {self.line}"
        return f"{place}: {printable(self.what)}"


class AnnotationError(ReleaseKitError):
    """Annotation files that cannot be read as what the recipe says they are; ``problems`` has every one."""

    def __init__(self, problems: Iterable[AnnotationProblem], next_step: str | None = None):
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.path, problem.line or 0)))
        first, *others = [problem.sentence() for problem in self.problems]
        shown = [first, *others[: MAX_SHOWN - 1]]
        if len(self.problems) > len(shown):
            shown.append(f"and {counted(len(self.problems) - len(shown), 'further problem')}")
        what = first if not others else f"{counted(len(self.problems), 'problem')}:\n  " + "\n  ".join(shown)
        super().__init__(what, next_step=next_step or "nothing was written; correct the files or the recipe")

    def to_dict(self) -> dict:
        """Return the parts for ``--json``, with every problem as path, line and sentence."""
        found = [{"path": each.path, "line": each.line, "what": each.what} for each in self.problems]
        return {**super().to_dict(), "problems": found}


@dataclass(kw_only=True)
class Problems:
    """The problems of one file, collected while its reader goes on."""

    path: Path | str
    found: list[AnnotationProblem] = field(default_factory=list)

    def add(self, what: str, line: int | None = None) -> None:
        """Note one problem."""
        self.found.append(AnnotationProblem(path=str(self.path), what=what, line=line))

    def refuse(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            AnnotationError: at least one problem was noted.
        """
        if self.found:
            raise AnnotationError(self.found)
