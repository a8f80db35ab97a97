"""Running ``check`` on a study with one planted defect."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from release_kit.core.study import Study, read_study
from release_kit.release.check import Problem, check_study


@pytest.fixture
def only() -> Callable[..., list[Problem]]:
    """Return a function that checks a study and insists that one code, and no other, is reported at one place."""

    def run(study: Study, code: str, where: str = "*", *, severity: str | None = None, n: int = 1) -> list[Problem]:
        found = check_study(read_study(study.folder)).problems
        shown = "\n".join(f"{each.severity} {each.code} {each.where}: {each.what}" for each in found)
        assert {each.code for each in found} == {code}, shown
        assert len(found) == n, shown
        assert all(fnmatchcase(each.where, where) for each in found), shown
        assert severity is None or {each.severity for each in found} == {severity}, shown
        assert all(each.what and each.next_step for each in found)
        return list(found)

    return run
