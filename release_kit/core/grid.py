"""The factorial grid of a study, expanded lazily: 100,000 cells cost nothing until someone walks them.

A grid is the union of its ``include`` blocks (no blocks: the full product), less what ``exclude`` matches. Cells come
in a fixed order: block by block, factors in declared order, the last factor fastest.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.core.study import Level, Study

Levels = Mapping[str, Level]
"""One combination: factor name → level, in the order in which the study declares its factors."""


def iter_levels(study: Study) -> Iterator[dict[str, Level]]:
    """Yield the levels of every declared cell once, in the fixed order of the grid."""
    for _, levels in iter_block_levels(study):
        yield levels


def iter_block_levels(study: Study) -> Iterator[tuple[int, dict[str, Level]]]:
    """Yield (index of the ``include`` block, levels) of every declared cell; a cell of two blocks is of the first."""
    names = [factor.name for factor in study.factors]
    blocks = study.include or ({},)
    for index, block in enumerate(blocks):
        axes = [block.get(factor.name, factor.levels) for factor in study.factors]
        unwanted = [_marks(names, partial) for partial in (*blocks[:index], *study.exclude)]
        unwanted = [marks for marks in unwanted if _may_meet(marks, axes)]
        for combination in itertools.product(*axes):
            if not any(_has_marks(combination, marks) for marks in unwanted):
                yield index, dict(zip(names, combination, strict=True))


_Marks = list[tuple[int, frozenset]]
"""A partial made quick to test: (position of the factor, its wanted levels with their types)."""


def _marks(names: Sequence[str], partial: Mapping[str, Sequence[Level]]) -> _Marks:
    return [(names.index(name), frozenset((type(x), x) for x in levels)) for name, levels in partial.items()]


def _has_marks(combination: Sequence[Level], marks: _Marks) -> bool:
    for position, wanted in marks:
        level = combination[position]
        if (type(level), level) not in wanted:
            return False
    return True


def _may_meet(marks: _Marks, axes: Sequence[Sequence[Level]]) -> bool:
    """Return whether any combination of ``axes`` can have ``marks``; blocks that never overlap cost nothing."""
    return all(any((type(level), level) in wanted for level in axes[position]) for position, wanted in marks)


def is_declared(study: Study, levels: Levels) -> bool:
    """Return whether ``levels`` is a cell of the grid, without expanding it."""
    if set(levels) != {factor.name for factor in study.factors}:
        return False
    known = all(has_level(factor.levels, levels[factor.name]) for factor in study.factors)
    included = any(matches(levels, block) for block in study.include or ({},))
    return known and included and not any(matches(levels, block) for block in study.exclude)


def is_results_only(study: Study, levels: Levels) -> bool:
    """Return whether the study declares that this cell has results and no weights."""
    return study.artifacts == "results-only" or any(matches(levels, partial) for partial in study.results_only)


def matches(levels: Levels, partial: Mapping[str, Sequence[Level]]) -> bool:
    """Return whether ``levels`` has one of the wanted levels for every factor that ``partial`` names."""
    return all(has_level(wanted, levels.get(name)) for name, wanted in partial.items())


def has_level(wanted: Sequence[Level], level: Any) -> bool:
    """Return whether ``level`` is among ``wanted``; ``1``, ``1.0``, ``True`` and ``"1"`` are four levels."""
    return any(level == other and type(level) is type(other) for other in wanted)


def cell_config(study: Study, levels: Levels) -> dict[str, Any]:
    """Return the canonical configuration of a cell: what its identity is the digest of."""
    return {"levels": dict(levels), "settings": dict(study.settings), "study": study.name}


def cell_id_of(config: Mapping[str, Any]) -> str:
    """Return the identity of a configuration: the first 12 hex digits of the sha256 of its canonical JSON."""
    return canonical.digest(config)[:12]


def cell_id(study: Study, levels: Levels) -> str:
    """Return the identity of the cell of ``study`` that has ``levels``."""
    return cell_id_of(cell_config(study, levels))


def parse_level(text: str, levels: Sequence[Level]) -> Level | None:
    """Return the declared level that is written ``text`` (``true``, ``0.5``, ``lima``), or None."""
    for level in levels:
        if level_text(level) == text:
            return level
    return None


def level_text(level: Level) -> str:
    """Return how a level is written in names and on the command line; booleans as ``true``/``false``."""
    return str(level).lower() if isinstance(level, bool) else str(level)


def parse_selection(terms: Sequence[str], factors: Mapping[str, Sequence[Level]]) -> dict[str, tuple[Level, ...]]:
    """Turn ``["dataset=lima,alpaca", "seed=1"]`` into a partial for ``matches``.

    Args:
        terms: what ``--select`` was given; several terms of one factor add up.
        factors: factor name → its levels.

    Raises:
        UsageError: no ``=``, an unknown factor, or an unknown level; with the nearest known one.
    """
    selection: dict[str, tuple[Level, ...]] = {}
    for term in terms:
        name, equals, value = term.partition("=")
        if not equals or not value:
            raise UsageError(f"{term!r} is not a selection", where="--select", next_step="write factor=level")
        if name not in factors:
            raise UsageError(f"no factor {name!r}{nearest(name, list(factors))}", where="--select")
        for text in value.split(","):
            level = parse_level(text, factors[name])
            if level is None:
                known = [level_text(level) for level in factors[name]]
                raise UsageError(f"{name} has no level {text!r}{nearest(text, known)}", where="--select")
            selection[name] = (*selection.get(name, ()), level)
    return selection


def describe(levels: Levels) -> str:
    """Return ``dataset=lima seed=0``: how a cell is named in messages."""
    return " ".join(f"{name}={level_text(level)}" for name, level in levels.items())
