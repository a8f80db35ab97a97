"""Results from tables that people already have (CSV, TSV, JSON Lines, Parquet), one row of results for each value.

Owns the way from a table's rows to ``Result``s, as ``table_source.py`` declares it. A column that is not declared is
refused, a text that is no level is a problem with its rows, and all problems of a table are reported at once.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.collected import Batch
from release_kit.core.errors import RecordError
from release_kit.core.grid import Levels, cell_id, is_declared, level_text
from release_kit.core.path_rule import parse_written
from release_kit.core.records import nearest
from release_kit.core.results import Result
from release_kit.core.study import Level, Study
from release_kit.core.table_source import FactorColumn, MetricColumns, TableSource
from release_kit.core.text_table import TextTable, read_text_table, row_place


def read_table_results(study: Study, source: TableSource, path: Path, relative: str) -> Batch:
    """Read one table into rows, with everything that is wrong in it.

    Args:
        study: the study that declares the factors.
        source: how the table is declared.
        path: the file.
        relative: the file as rows name it, relative to the study folder.
    """
    try:
        table = read_text_table(path, source.format, where=relative, delimiter=source.delimiter)
        plan = _plan_columns(study, source, table, relative)
    except _Refused as refused:
        return Batch(problems=list(refused.problems))
    except RecordError as problem:
        return Batch(problems=[problem])
    return _Reader(study, source, table, plan, relative).read()

class _Refused(Exception):
    def __init__(self, problems: list[RecordError]):
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class _ValueColumn:
    """One column of values, resolved against the header."""

    name: str
    index: int
    benchmark: str
    metric: str
    n_shot: int | None
    rule: MetricColumns
    higher_is_better: bool | None
    n: int | None
    n_index: int | None
    stderr_index: int | None


@dataclass(frozen=True, kw_only=True)
class _Plan:
    factors: tuple[tuple[FactorColumn, int | None], ...]
    values: tuple[_ValueColumn, ...]


def _plan_columns(study: Study, source: TableSource, table: TextTable, where: str) -> _Plan:
    """Give every column its meaning; a column without one, or a declared column that is absent, is a problem."""
    index = {name: i for i, name in enumerate(table.header)}
    header_place, problems = f"{where}, header", []
    declared = [f.column for f in source.factors if f.column] + list(source.ignore)
    declared += [rule.column for rule in source.metrics if rule.column]
    for name in dict.fromkeys(declared):
        if name not in index:
            problems.append(RecordError(f"has no column {name!r}{nearest(name, table.header)}", where=header_place))
    named = {name for name in declared if name in index}
    matched = _matched_columns(source, table, named, problems, header_place)
    values = [_value_column(study, rule, name, parts, index, problems, header_place) for rule, name, parts in matched]
    used = named | {name for _, name, _ in matched}
    for column in filter(None, values):
        used.update(table.header[i] for i in (column.n_index, column.stderr_index) if i is not None)
    for name in table.header:
        if name not in used:
            step = f"declare it under {source.key}.factors or .metrics, or name it in {source.key}.ignore"
            what = f"the column {name!r} is not declared{nearest(name, [d for d in declared if d != name])}"
            problems.append(RecordError(what, where=header_place, next_step=step))
    if problems:
        raise _Refused([*problems, *table.problems])
    factors = tuple((f, None if f.column is None else index[f.column]) for f in source.factors)
    return _Plan(factors=factors, values=tuple(values))


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


def _value_column(study, rule, name, parts, index, problems, where) -> _ValueColumn | None:
    benchmark = rule.benchmark or parts["benchmark"]
    metric = rule.metric or parts["metric"]
    beside = _beside_names(rule, parts)
    for key, column in beside.items():
        if column not in index:
            problems.append(RecordError(f"has no column {column!r} ({rule.key}.{key})", where=where))
            return None
    known = study.benchmarks.get(benchmark, {}).get(metric)
    better = rule.higher_is_better
    return _ValueColumn(
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
    )


def _pattern_regex(pattern: str) -> re.Pattern:
    shapes = {"benchmark": "(?P<benchmark>.+?)", "n_shot": "(?P<n_shot>[0-9]+)", "metric": "(?P<metric>.+?)"}
    parts = re.split(r"(\{[^{}]*\})", pattern)
    return re.compile("".join(shapes[part[1:-1]] if part.startswith("{") else re.escape(part) for part in parts))


class _Reader:
    """Reads the rows of one table; collects problems by what is wrong, not by row."""

    def __init__(self, study: Study, source: TableSource, table: TextTable, plan: _Plan, where: str):
        self.study, self.source, self.table, self.plan, self.where = study, source, table, plan, where
        self.missing = frozenset(source.missing)
        self.batch = Batch(problems=list(table.problems))
        self.wrong: dict[tuple[str, str], list[int]] = {}
        self.cells: dict[tuple[str, ...], tuple[str | None, Levels | None]] = {}

    def read(self) -> Batch:
        columns = [index for _, index in self.plan.factors if index is not None]
        written: dict[str, dict[Level, dict[str, int]]] = {}
        for number, fields in self.table.rows:
            texts = tuple(fields[index] for index in columns)
            if texts not in self.cells:
                self.cells[texts] = self._cell_of(fields)
            cell, levels = self.cells[texts]
            if levels is None:
                self._note_bad_levels(number, fields)
            elif cell is None:
                self.batch.add_undeclared(levels, self.where, number, len(self.plan.values))
            else:
                self._read_values(cell, number, fields)
                self._note_spellings(fields, levels, written)
        self._report_wrong()
        self.batch.notes += list(_spelling_notes(written, self.where))
        return self.batch

    def _cell_of(self, fields: list[str]) -> tuple[str | None, Levels | None]:
        levels = {}
        for factor, index in self.plan.factors:
            level = factor.fixed if index is None else parse_written(fields[index], factor.texts)
            if level is None:
                return None, None
            levels[factor.name] = level
        return (cell_id(self.study, levels) if is_declared(self.study, levels) else None), levels

    def _note_bad_levels(self, number: int, fields: list[str]) -> None:
        for factor, index in self.plan.factors:
            if index is not None and parse_written(fields[index], factor.texts) is None:
                text = fields[index]
                known = nearest(text, list(factor.texts))
                what = f"column {factor.column!r}: {text!r} is not a level of {factor.name}{known}"
                step = f"declare the level, or map it in {self.source.key}.factors.{factor.name}.values"
                self.wrong.setdefault((what, step), []).append(number)

    def _note_spellings(self, fields: list[str], levels: Levels, written: dict) -> None:
        for factor, index in self.plan.factors:
            if index is not None:
                counts = written.setdefault(factor.name, {}).setdefault(levels[factor.name], {})
                counts[fields[index]] = counts.get(fields[index], 0) + 1

    def _read_values(self, cell: str, number: int, fields: list[str]) -> None:
        rows, sha256, missing, where = self.batch.rows, self.table.sha256, self.missing, self.where
        for column in self.plan.values:
            text = fields[column.index]
            value = None if text in missing else self._number(text, column.name, number)
            if value is None and column.rule.optional:
                continue
            rule = column.rule
            stderr = self._beside(fields, column.stderr_index, number)
            n = self._beside(fields, column.n_index, number) if column.n_index is not None else column.n
            rows.append(
                Result(
                    cell_id=cell,
                    benchmark=column.benchmark,
                    metric=column.metric,
                    value=value if value is None or rule.scale == 1.0 else value * rule.scale,
                    n_shot=column.n_shot,
                    n=None if n is None else int(n),
                    stderr=None if stderr is None else stderr * rule.scale,
                    higher_is_better=column.higher_is_better,
                    source=where,
                    source_row=number,
                    source_key=column.name,
                    source_sha256=sha256,
                )
            )

    def _beside(self, fields: list[str], index: int | None, number: int) -> float | None:
        if index is None or fields[index] in self.missing:
            return None
        return self._number(fields[index], self.table.header[index], number)

    def _number(self, text: str, column: str, row: int) -> float | None:
        try:
            value = float(text)
            if math.isfinite(value) and "_" not in text:
                return value
        except ValueError:
            pass
        what = f"column {column!r}: {text!r} is not a finite number"
        step = f"correct it, or name it in {self.source.key}.missing if it means that there is no value"
        self.wrong.setdefault((what, step), []).append(row)
        return None

    def _report_wrong(self) -> None:
        for (what, step), rows in self.wrong.items():
            self.batch.problems.append(RecordError(what, where=row_place(self.where, rows), next_step=step))


def _spelling_notes(written: Mapping, where: str) -> Iterator[RecordError]:
    """Yield a note for each level that the table writes in several ways (``None`` and an empty field)."""
    for name, by_level in written.items():
        for level, counts in by_level.items():
            if len(counts) > 1:
                ways = " and ".join(f"{text!r} ({n} rows)" for text, n in sorted(counts.items()))
                yield RecordError(f"{name}={level_text(level)} is written in several ways: {ways}", where=where)
