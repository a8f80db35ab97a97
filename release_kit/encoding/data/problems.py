"""Everything that is wrong with the inputs of an analysis, told at once: whose, which run, what, and what to do.

Owns the record of one problem and the error that is made of many. Finding them is ``check.py``'s and the layouts'.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from release_kit.core.errors import ReleaseKitError
from release_kit.core.wording import counted, printable
from release_kit.encoding.errors import ResponseError

MAX_SHOWN = 20
"""Problems that the sentence of an error spells out; ``to_dict`` has them all."""


@dataclass(frozen=True, kw_only=True)
class DataProblem:
    """One thing that is wrong with one run of one subject; None where it concerns all of them."""

    what: str
    subject: str | None = None
    run: str | None = None
    next_step: str | None = None

    def sentence(self) -> str:
        """Return ``sub-01, task-film_run-02: what — next step``."""
        place = ", ".join(part for part in (self.subject and f"sub-{self.subject}", self.run) if part)
        step = f" — {self.next_step}" if self.next_step else ""
        return f"{place}: {printable(self.what)}{step}" if place else f"{printable(self.what)}{step}"


class DataError(ResponseError):
    """Recordings, masks or annotations that do not fit each other; ``problems`` has every one."""

    def __init__(self, problems: Iterable[DataProblem], *, where: str | None = None):
        self.problems = tuple(sorted(problems, key=lambda each: (each.subject or "", each.run or "", each.what)))
        sentences = [problem.sentence() for problem in self.problems]
        shown = sentences[:MAX_SHOWN]
        if len(sentences) > MAX_SHOWN:
            shown.append(f"and {counted(len(sentences) - MAX_SHOWN, 'further problem')}")
        many = f"{counted(len(sentences), 'problem')}:\n  " + "\n  ".join(shown)
        super().__init__(sentences[0] if len(sentences) == 1 else many, where=where)

    def to_dict(self) -> dict[str, Any]:
        """Return the parts for ``--json``, with every problem as subject, run and sentence."""
        return {**super().to_dict(), "problems": [asdict(problem) for problem in self.problems]}


def problems_of(error: ReleaseKitError, subject: str | None) -> list[DataProblem]:
    """Return an error as problems of a subject, each with the place that it names."""
    if isinstance(error, DataError):
        return list(error.problems)
    what = f"{error.where}: {error.what}" if error.where else error.what
    return [DataProblem(subject=subject, what=what, next_step=error.next_step)]


def refuse(problems: Iterable[DataProblem], where: str | None = None) -> None:
    """Raise what was found, if anything was.

    Raises:
        DataError: there is at least one problem.
    """
    if found := list(problems):
        raise DataError(found, where=where)
