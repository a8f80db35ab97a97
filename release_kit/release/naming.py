"""Readable, unique names for cells: a template over levels, held against the Hub's rules before anything is sent.

Pure: text in, text out. The rules are those that the Hub applies to repo names; branch and folder names obey them too,
so that one set of names serves every layout.
"""

import re
import string
from collections import defaultdict
from collections.abc import Mapping

from release_kit.core.errors import StudyError
from release_kit.core.grid import Levels, describe, level_text
from release_kit.core.records import nearest
from release_kit.core.study import STUDY_FILE, Study

MAX_NAME_LENGTH = 96
_ALLOWED = re.compile(r"^[A-Za-z0-9._-]+\Z")
_ELSEWHERE = re.compile(r"[^A-Za-z0-9._-]+")


def cell_names(study: Study, levels_by_id: Mapping[str, Levels]) -> dict[str, str]:
    """Return ``{cell_id: name}``; without a template, the levels joined by ``-``.

    Raises:
        StudyError: the template names no factor of the study, or names collide or break the Hub's rules; every bad
            name is listed.
    """
    template = study.names or _every_factor(study)
    _check_template(study, template)
    names = {cell_id: format_name(template, levels) for cell_id, levels in levels_by_id.items()}
    problems = [
        f"{name!r} (of {describe(levels_by_id[cell_id])}) {why}"
        for cell_id, name in sorted(names.items(), key=lambda item: item[1])
        if (why := name_problem(name))
    ]
    problems += _collisions(names, levels_by_id)
    reserved = {study.name.lower(), f"{study.name}-results".lower(), "main"}
    problems += [f"{name!r} is the name of the release itself" for name in names.values() if name.lower() in reserved]
    if problems:
        more = f" … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise StudyError(
            f"{len(problems)} names of cells cannot be used: " + "; ".join(problems[:20]) + more,
            where=f"{study.folder / STUDY_FILE}: `names`",
            next_step="change the template `names`, for example " + repr(_every_factor(study)),
        )
    return names


def format_name(template: str, levels: Levels) -> str:
    """Return one name: levels put into the template, characters that no name may hold turned into ``-``."""
    parts = {name: _ELSEWHERE.sub("-", level_text(level)) for name, level in levels.items()}
    return re.sub(r"-{2,}", "-", template.format(**parts)).strip("-.")


def name_problem(name: str) -> str | None:
    """Return why the Hub would refuse ``name`` as the name of a repo, or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"is {len(name)} characters long; {MAX_NAME_LENGTH} are allowed"
    if not _ALLOWED.match(name):
        return "holds characters other than letters, digits, '.', '_' and '-'"
    if "--" in name or ".." in name:
        return "holds '--' or '..'"
    if name[0] in "-." or name[-1] in "-.":
        return "begins or ends with '-' or '.'"
    return "ends with '.git' or '.ipynb'" if name.endswith((".git", ".ipynb")) else None


def _check_template(study: Study, template: str) -> None:
    known = [factor.name for factor in study.factors]
    where = f"{study.folder / STUDY_FILE}: `names`"
    try:
        fields = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise StudyError(f"the template {template!r} is malformed ({error})", where=where) from error
    for name, how, conversion in fields:
        if name not in known:
            raise StudyError(
                f"the template {template!r} names {name!r}, which is no factor{nearest(name, known)}", where=where
            )
        if how or conversion:
            what = f"the template {template!r} says how to write {name!r}; levels go into names as they are declared"
            raise StudyError(what, where=where, next_step=f"write {{{name}}}")


def _collisions(names: Mapping[str, str], levels_by_id: Mapping[str, Levels]) -> list[str]:
    """Names are compared without case: a folder on many disks, and a repo on the Hub, cannot tell them apart."""
    owners: dict[str, list[str]] = defaultdict(list)
    for cell_id, name in names.items():
        owners[name.lower()].append(cell_id)
    return [
        f"{names[ids[0]]!r} stands for {len(ids)} cells ("
        + " and ".join(describe(levels_by_id[i]) for i in ids[:2])
        + ")"
        for _, ids in sorted(owners.items())
        if len(ids) > 1
    ]


def _every_factor(study: Study) -> str:
    return "-".join(f"{{{factor.name}}}" for factor in study.factors)
