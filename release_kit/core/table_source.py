"""How ``study.yaml`` declares a table of results: which columns are factors, which are metrics, which are ignored.

Owns the records of one entry of ``results:`` with a table format, and their strict reader. Reading the table itself is
``results_csv.py``. Nothing is guessed: every column of the table must have its place here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from release_kit.core.grid import has_level
from release_kit.core.path_rule import level_texts, value_map
from release_kit.core.records import Fields, nearest
from release_kit.core.study import Level, Study, nearest_level
from release_kit.core.text_table import FORMATS

PLACEHOLDERS = ("benchmark", "n_shot", "metric")
MISSING = ("", "NaN", "nan")
"""Texts that mean "no value" unless the source declares its own list."""


@dataclass(frozen=True, kw_only=True)
class FactorColumn:
    """Where the level of one factor stands: in a column, or fixed for the whole table."""

    name: str
    column: str | None = None
    texts: Mapping[str, Level] = field(default_factory=dict)
    """Every text that the column may hold → level."""
    fixed: Level | None = None


@dataclass(frozen=True, kw_only=True)
class MetricColumns:
    """One column of values, or all columns whose name follows a pattern like ``{benchmark}-{n_shot}shot``."""

    key: str
    column: str | None = None
    pattern: str | None = None
    benchmark: str | None = None
    metric: str | None = None
    n_shot: int | None = None
    in_columns: Mapping[str, str] = field(default_factory=dict)
    """Of benchmark, metric and n_shot those that each row names in a column of its own → that column."""
    scale: float = 1.0
    """Factor that values and standard errors are multiplied by."""
    n: int | str | None = None
    """Number of samples: a number, or the (pattern of the) column that holds it."""
    stderr: str | None = None
    """(Pattern of the) column that holds the standard error."""
    higher_is_better: bool | None = None
    optional: bool = False
    """A missing value means "never measured" and gives no row; otherwise it is a hole, kept as a row without value."""


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """One entry of ``results:`` that is a table."""

    key: str
    format: str
    path: str
    factors: tuple[FactorColumn, ...]
    metrics: tuple[MetricColumns, ...]
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    delimiter: str | None = None


def table_source_from(fields: Fields, study: Study) -> TableSource:
    """Read one entry of ``results:``.

    Raises:
        RecordError: unknown keys, factors or levels, a factor without a column, a pattern without its parts.
    """
    kind, delimiter = fields.take("format", str), fields.take("delimiter", str, None)
    if delimiter is not None and (len(delimiter) != 1 or FORMATS.get(kind) is None):
        raise fields.error("delimiter", f"is {delimiter!r}; expected one character, for CSV and TSV only")
    source = TableSource(
        key=fields.key,
        format=kind,
        path=fields.take("path", str),
        factors=_factor_columns(fields, study),
        metrics=tuple(_metric_columns(child) for child in fields.children("metrics")),
        ignore=tuple(fields.take_list("ignore", str, [])),
        missing=tuple(fields.take_list("missing", str, list(MISSING))),
        delimiter=delimiter,
    )
    fields.done()
    if not source.metrics:
        raise fields.error("metrics", "is empty; name the columns that hold values")
    return source


def _factor_columns(fields: Fields, study: Study) -> tuple[FactorColumn, ...]:
    declared = fields.child("factors")
    known = [factor.name for factor in study.factors]
    for name in list(fields.raw("factors")):
        if name not in known:
            raise declared.error(str(name), f"is not a factor{nearest(str(name), known)}")
    return tuple(_factor_column(declared, study, name) for name in known)


def _factor_column(declared: Fields, study: Study, name: str) -> FactorColumn:
    value = declared.raw(name)
    if isinstance(value, str):
        return FactorColumn(name=name, column=value, texts=level_texts(study, name, {}))
    inner = declared.child(name)
    levels = study.factor(name).levels
    if (level := inner.raw("level")) is not None:
        if not has_level(levels, level):
            raise inner.error("level", f"is {level!r}, not a declared level{nearest_level(level, levels)}")
        inner.done()
        return FactorColumn(name=name, fixed=level)
    column = inner.take("column", str)
    values = value_map(inner, "values", inner.take("values", dict, {}), levels)
    inner.done()
    return FactorColumn(name=name, column=column, texts=level_texts(study, name, values))


def _metric_columns(fields: Fields) -> MetricColumns:
    column, pattern = fields.take("column", str, None), fields.take("columns", str, None)
    if (column is None) == (pattern is None):
        raise fields.error("", "needs either `column` (one name) or `columns` (a pattern)")
    parts, in_columns = _parts(fields)
    columns = MetricColumns(
        key=fields.key,
        column=column,
        pattern=pattern,
        **parts,
        in_columns=in_columns,
        scale=float(fields.take("scale", (int, float), 1.0)),
        n=fields.take("n", (int, str), None),
        stderr=fields.take("stderr", str, None),
        higher_is_better=fields.take("higher_is_better", bool, None),
        optional=fields.take("optional", bool, False),
    )
    fields.done()
    named = re.findall(r"\{([^{}]*)\}", pattern or "")
    for name in named:
        if name not in PLACEHOLDERS:
            raise fields.error("columns", f"names {{{name}}}{nearest(name, PLACEHOLDERS)}")
        if named.count(name) > 1 or getattr(columns, name) is not None or name in in_columns:
            raise fields.error("columns", f"gives {name} twice")
    for name in ("benchmark", "metric"):
        if name not in named and name not in in_columns and getattr(columns, name) is None:
            raise fields.error(name, "is missing; a value needs the name of its benchmark and of its metric")
    return columns


def _parts(fields: Fields) -> tuple[dict[str, str | int], dict[str, str]]:
    """Return (parts that the declaration gives, parts that a column of the table gives)."""
    given: dict[str, str | int] = {}
    in_columns: dict[str, str] = {}
    for name, kind in (("benchmark", str), ("metric", str), ("n_shot", int)):
        if isinstance(fields.raw(name), dict):
            inner = fields.child(name)
            in_columns[name] = inner.take("column", str)
            inner.done()
        elif (value := fields.take(name, kind, None)) is not None:
            given[name] = value
    return given, in_columns
