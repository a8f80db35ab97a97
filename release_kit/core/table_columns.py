"""The columns of one table of results, held against their declaration: which column means what.

Owns the matching of names and patterns with a table's header. Every column must have a meaning, and every declared
column must be there; what does not fit is reported together. Reading the rows is ``results_csv.py``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from release_kit.core.errors import RecordError
from release_kit.core.records import nearest
from release_kit.core.study import Study
from release_kit.core.table_source import FactorColumn, MetricColumns, TableSource
from release_kit.core.text_table import TextTable


class TableRefused(Exception):
    """A table whose columns are not those declared; ``problems`` has one entry for each."""

    def __init__(self, problems: list[RecordError]):
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class ValueColumn:
    """One column of values, resolved against the header."""

    name: str
    index: int
    benchmark: str | None
    metric: str | None
    n_shot: int | None
    rule: MetricColumns
    higher_is_better: bool | None
    n: int | None
    n_index: int | None
    stderr_index: int | None
    in_row: tuple[tuple[str, int], ...] = ()
    """Parts of the name (``benchmark``, ``metric``, ``n_shot``) that stand in columns of their own, in each row."""


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """Where levels and values stand in each row."""

    factors: tuple[tuple[FactorColumn, int | None], ...]
    values: tuple[ValueColumn, ...]
    notes: tuple[RecordError, ...] = ()
    """Columns that were understood although they are written in another way than the others."""


def plan_columns(study: Study, source: TableSource, table: TextTable, where: str) -> ColumnPlan:
    """Give every column of a table its meaning.

    Raises:
        TableRefused: columns without a meaning, or declared columns that are absent.
    """
    index = {name: i for i, name in enumerate(table.header)}
    header_place, problems = f"{where}, header", []
    declared = [f.column for f in source.factors if f.column] + list(source.ignore)
    declared += [rule.column for rule in source.metrics if rule.column]
    declared += [column for rule in source.metrics for column in rule.in_columns.values()]
    for name in dict.fromkeys(declared):
        if name not in index:
            problems.append(RecordError(f"has no column {name!r}{nearest(name, table.header)}", where=header_place))
    named = {name for name in declared if name in index}
    matched = _matched_columns(source, table, named, problems, header_place)
    used = named | {name for _, name, _ in matched}
    for rule, _, parts in matched:
        for key, name in _beside_names(rule, parts).items():
            used.add(name)
            if name not in index:
                problems.append(RecordError(f"has no column {name!r} ({rule.key}.{key})", where=header_place))
    for name in table.header:
        if name not in used:
            step = f"declare it under {source.key}.factors or .metrics, or name it in {source.key}.ignore"
            what = f"the column {name!r} is not declared{nearest(name, [d for d in declared if d != name])}"
            problems.append(RecordError(what, where=header_place, next_step=step))
    if problems:
        raise TableRefused([*problems, *table.problems])
    values = [_value_column(study, rule, name, parts, index) for rule, name, parts in matched]
    factors = tuple((f, None if f.column is None else index[f.column]) for f in source.factors)
    return ColumnPlan(factors=factors, values=tuple(values), notes=tuple(_spelling_notes(values, header_place)))


def _spelling_notes(values: Sequence[ValueColumn], where: str) -> Iterator[RecordError]:
    """Yield a note for columns with shots whose separators differ from most (``mbpp_4shot`` beside ``gsm8k-4shot``)."""
    forms: dict[str, dict[str, list[str]]] = {}
    for column in values:
        rest = column.name.removeprefix(column.benchmark or "")
        if column.n_shot is not None and rest != column.name:
            form = re.sub("[0-9]+", "#", rest)
            forms.setdefault(re.sub(r"[\W_]+", "", form), {}).setdefault(form, []).append(column.name)
    for written in forms.values():
        most = max(written.values(), key=len)
        for names in written.values():
            if names is not most:
                listed = " and ".join(repr(name) for name in names[:4])
                what = f"writes {listed} where {len(most)} columns are written like {most[0]!r}"
                yield RecordError(what, where=where)


_Matched = tuple[MetricColumns, str, dict[str, str]]
"""A rule, the column of values that it names, and what its pattern says about the column."""


def _matched_columns(
    source: TableSource, table: TextTable, named: set[str], problems: list, where: str
) -> list[_Matched]:
    """Return each column of values with its rule.

    A column that is named outright, or holds the standard error or the number of another one, is not matched by
    patterns.
    """
    matched: list[_Matched] = [(rule, rule.column, {}) for rule in source.metrics if rule.column in table.header]
    by_pattern: list[_Matched] = []
    for rule in source.metrics:
        if rule.pattern is not None:
            regex = _pattern_regex(rule.pattern)
            found = [(name, m.groupdict()) for name in table.header if (m := regex.fullmatch(name))]
            by_pattern += [(rule, name, parts) for name, parts in found if name not in named]
            if not found:
                problems.append(RecordError(f"has no column that follows {rule.pattern!r} ({rule.key})", where=where))
    beside = {name for rule, _, parts in matched + by_pattern for name in _beside_names(rule, parts).values()}
    taken: dict[str, str] = {}
    for rule, name, parts in by_pattern:
        if name in taken:
            what = f"the column {name!r} follows two patterns, {taken[name]} and {rule.key}; name it in one"
            problems.append(RecordError(what, where=where))
        elif name not in beside:
            taken[name] = rule.key
            matched.append((rule, name, parts))
    return matched


def _beside_names(rule: MetricColumns, parts: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the columns for ``n`` and ``stderr`` that stand beside one column of values."""
    templates = {key: getattr(rule, key) for key in ("n", "stderr")}
    return {
        key: re.sub(r"\{([^{}]*)\}", lambda m: parts.get(m[1], m[0]), template)
        for key, template in templates.items()
        if isinstance(template, str)
    }


def _value_column(
    study: Study, rule: MetricColumns, name: str, parts: Mapping[str, str], index: Mapping[str, int]
) -> ValueColumn:
    benchmark = rule.benchmark or parts.get("benchmark")
    metric = rule.metric or parts.get("metric")
    beside = _beside_names(rule, parts)
    known = study.benchmarks.get(benchmark, {}).get(metric)
    better = rule.higher_is_better
    return ValueColumn(
        name=name,
        index=index[name],
        benchmark=benchmark,
        metric=metric,
        n_shot=int(parts["n_shot"]) if "n_shot" in parts else rule.n_shot,
        rule=rule,
        higher_is_better=known.higher_is_better if better is None and known else better,
        n=rule.n if isinstance(rule.n, int) else None,
        n_index=index.get(beside.get("n")),
        stderr_index=index.get(beside.get("stderr")),
        in_row=tuple((part, index[column]) for part, column in rule.in_columns.items()),
    )


def _pattern_regex(pattern: str) -> re.Pattern:
    shapes = {"benchmark": "(?P<benchmark>.+?)", "n_shot": "(?P<n_shot>[0-9]+)", "metric": "(?P<metric>.+?)"}
    parts = re.split(r"(\{[^{}]*\})", pattern)
    return re.compile("".join(shapes[part[1:-1]] if part.startswith("{") else re.escape(part) for part in parts))
