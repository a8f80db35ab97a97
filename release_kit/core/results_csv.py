"""Results from tables that people already have (CSV, TSV, JSON Lines, Parquet), one row of results for each value.

Owns the way from a table's rows to ``Result``s, as ``table_source.py`` declares it. A column that is not declared is
refused, a text that is no level is a problem with its rows, and all problems of a table are reported at once.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from release_kit.core.collected import Batch
from release_kit.core.errors import RecordError
from release_kit.core.grid import Levels, cell_id, is_declared, level_text
from release_kit.core.path_rule import parse_written
from release_kit.core.records import nearest
from release_kit.core.results import Result
from release_kit.core.study import Level, Study
from release_kit.core.table_columns import ColumnPlan, TableRefused, ValueColumn, plan_columns
from release_kit.core.table_source import TableSource
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
        plan = plan_columns(study, source, table, relative)
    except TableRefused as refused:
        return Batch(problems=list(refused.problems))
    except RecordError as problem:
        return Batch(problems=[problem])
    return _Reader(study, source, table, plan, relative).read()


class _Reader:
    """Reads the rows of one table; collects problems by what is wrong, not by row."""

    def __init__(self, study: Study, source: TableSource, table: TextTable, plan: ColumnPlan, where: str):
        self.study, self.source, self.table, self.plan, self.where = study, source, table, plan, where
        self.missing = frozenset(source.missing)
        self.batch = Batch(problems=list(table.problems), notes=list(plan.notes))
        self.wrong: dict[tuple[str, str | None], list[int]] = {}
        self.named: dict[tuple, ValueColumn] = {}
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
            if column.in_row:
                column = self._named_in_row(column, fields, number)
            stderr = self._beside(fields, column.stderr_index, number)
            n = column.n if column.n_index is None else self._count(fields, column.n_index, number)
            rows.append(
                Result(
                    cell_id=cell,
                    benchmark=column.benchmark,
                    metric=column.metric,
                    value=value if value is None or rule.scale == 1.0 else value * rule.scale,
                    n_shot=column.n_shot,
                    n=n,
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

    def _count(self, fields: list[str], index: int, number: int) -> int | None:
        count = self._beside(fields, index, number)
        if count is not None and not count.is_integer():
            what = f"column {self.table.header[index]!r}: {fields[index]!r} is not a whole number"
            self.wrong.setdefault((what, None), []).append(number)
        return None if count is None else int(count)

    def _named_in_row(self, column: ValueColumn, fields: list[str], number: int) -> ValueColumn:
        """Return the column with the names that this row gives it; remembered, as few names come again and again."""
        texts = tuple(fields[index] for _, index in column.in_row)
        key = (column.index, texts)
        if key not in self.named:
            parts: dict[str, str | int | None] = dict(zip((part for part, _ in column.in_row), texts, strict=True))
            if "n_shot" in parts:
                parts["n_shot"] = self._shots(str(parts["n_shot"]))
            known = self.study.benchmarks.get(parts.get("benchmark", column.benchmark), {})
            rule = known.get(parts.get("metric", column.metric))
            better = column.rule.higher_is_better
            parts["higher_is_better"] = rule.higher_is_better if better is None and rule else better
            self.named[key] = replace(column, **parts)
        named = self.named[key]
        for part, index in column.in_row:
            if getattr(named, part) in ("", -1):
                what = f"column {self.table.header[index]!r}: {fields[index]!r} cannot be the {part}"
                self.wrong.setdefault((what, None), []).append(number)
        return named

    def _shots(self, text: str) -> int | None:
        """Return the number of shots, None where the text means "missing", -1 for anything else."""
        return None if text in self.missing else int(text) if text.isdecimal() else -1

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
