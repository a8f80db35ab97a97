"""``check``: everything that is wrong with a study and its release, at once, each with a code, a place and a next step.

The facade of the room; ``survey.py`` gathers, one module a family judges, ``run.py`` puts together.
"""

from release_kit.release.check.codes import CODES, FAMILIES, explain
from release_kit.release.check.problem import Problem
from release_kit.release.check.run import CheckReport, check_study

__all__ = ["CODES", "FAMILIES", "CheckReport", "Problem", "check_study", "explain"]
