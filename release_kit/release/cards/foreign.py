"""Cards that others wrote, held against a results table that others made.

A table is tidy (one number a row) or wide (one model a row, one column a number). Which row belongs to a card and
which column to a number follows from names, or from ``--map``; nothing is matched by likeness. Numbers are equal when
the table's value, rounded to as many places as the card shows, is the card's.
"""

import decimal
import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release_kit.core.errors import RecordError, UsageError
from release_kit.core.files import iter_files
from release_kit.core.records import nearest
from release_kit.core.text_table import FORMATS, TextTable, read_text_table
from release_kit.release.cards.card_file import IndexedNumber, indexed_numbers, read_front_matter
from release_kit.release.cards.compare import CardsReport
from release_kit.release.cards.inputs import CARD_FILE
from release_kit.release.cards.lint import lint_card
from release_kit.release.cards.lint_results import value_problem
from release_kit.release.cards.problems import CardProblem
from release_kit.release.cards.render import read_text

TIDY = ("model", "benchmark", "metric", "n_shot", "value")
_MODEL_COLUMNS = ("model", "name", "model_name")


@dataclass(frozen=True, kw_only=True)
class TableMap:
    """How a table is to be read: what ``--map`` said."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """``model`` (column or template over columns), ``benchmark``, ``metric``, ``n_shot``, ``value``."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """Name of a number in cards → column of a wide table."""


@dataclass(frozen=True, kw_only=True)
class TableNumber:
    """One number of the table."""

    text: str
    row: int
    column: str


class ResultsOfOthers:
    """A table, indexed by the name of the model and the name of the number.

    Args:
        path: CSV, TSV, JSON Lines or Parquet.
        mapping: which column is what.

    Raises:
        RecordError: the table cannot be read.
        UsageError: a column that the mapping names is not there, or no column names the model.
    """

    def __init__(self, path: Path, mapping: TableMap):
        kind = path.suffix.removeprefix(".").lower()
        if kind not in FORMATS:
            raise UsageError(f"{path.name!r} is none of {', '.join(FORMATS)}", where="--results")
        self.name, self._mapping = path.name, mapping
        self._table = read_text_table(path, kind, where=str(path))
        self._position = {column: index for index, column in enumerate(self._table.header)}
        self._check_columns()
        self.tidy = self._column("value") is not None and self._column("benchmark") is not None
        self.sha256 = self._table.sha256
        self.rows = _rows_by_model(self._table, self._model_template(), self._position)

    def find(self, model: str, number: IndexedNumber) -> list[TableNumber]:
        """Return the numbers of a model that a number of a card can stand for; one when all is well."""
        return self._find_tidy(model, number) if self.tidy else self._find_wide(model, number)

    def _find_wide(self, model: str, number: IndexedNumber) -> list[TableNumber]:
        names = [name for name in _names(number) if name in self._mapping.numbers]
        columns = [self._mapping.numbers[names[0]]] if names else []
        if not columns:
            wanted = {plain(name) for name in _names(number)}
            columns = [column for column in self._table.header if plain(column) in wanted]
        return [
            TableNumber(text=fields[self._position[column]], row=row, column=column)
            for column in columns
            for row, fields in self.rows.get(model, ())
        ]

    def _find_tidy(self, model: str, number: IndexedNumber) -> list[TableNumber]:
        benchmarks = {plain(number.dataset_type), plain(number.dataset_name), plain(_bare(number.dataset_name))}
        found = []
        for row, fields in self.rows.get(model, ()):
            benchmark, metric, shots, value = (self._field(fields, name) for name in TIDY[1:])
            same_metric = metric is None or plain(metric) == plain(number.metric)
            same_shots = shots in (None, "") or number.n_shot is None or _integer(shots) == number.n_shot
            if plain(benchmark or "") in benchmarks and same_metric and same_shots:
                found.append(TableNumber(text=value or "", row=row, column=self._column("value") or ""))
        return found

    def _field(self, fields: Sequence[str], name: str) -> str | None:
        column = self._column(name)
        return None if column is None else fields[self._position[column]]

    def _column(self, name: str) -> str | None:
        column = self._mapping.columns.get(name, name)
        return column if column in self._position else None

    def _model_template(self) -> str:
        given = self._mapping.columns.get("model")
        if given is not None:
            return given if "{" in given else f"{{{given}}}"
        for column in _MODEL_COLUMNS:
            if column in self._position:
                return f"{{{column}}}"
        raise UsageError(
            f"no column of {self.name} names the model; it has {', '.join(self._table.header[:12])}",
            where="--map",
            next_step="say which: --map model=COLUMN, or --map 'model={column}-{other}'",
        )

    def _check_columns(self) -> None:
        named = [column for key, column in self._mapping.columns.items() if key != "model"]
        named += list(self._mapping.numbers.values())
        model = self._mapping.columns.get("model")
        if model:
            named += [name for _, name, _, _ in string.Formatter().parse(model) if name] if "{" in model else [model]
        for column in named:
            if column not in self._position:
                raise UsageError(
                    f"{self.name} has no column {column!r}{nearest(column, list(self._position))}", where="--map"
                )


def parse_map(terms: Sequence[str]) -> TableMap:
    """Turn ``["model=model_name", "mmlu (5-shot)=mmlu-5shot"]`` into a mapping.

    Raises:
        UsageError: a term without ``=``.
    """
    columns, numbers = {}, {}
    for term in terms:
        name, equals, column = term.rpartition("=")
        if not equals or not name or not column:
            raise UsageError(f"{term!r} is not a mapping", where="--map", next_step="write NAME=COLUMN")
        (columns if name in TIDY else numbers)[name] = column
    return TableMap(columns=columns, numbers=numbers)


def check_foreign(folder: Path, results: ResultsOfOthers | None, files: Path | None = None) -> CardsReport:
    """Check every card below ``folder``: by itself, and against the table when there is one.

    Args:
        folder: where the cards lie.
        results: the table.
        files: where the files lie that cards name, if not beside each card.

    Raises:
        RecordError: there is no card.
    """
    problems: list[CardProblem] = []
    n_cards = n_numbers = n_files = 0
    for path, _ in iter_files(folder):
        if not (path == CARD_FILE or path.endswith("/" + CARD_FILE)):
            continue
        n_cards, n_files = n_cards + 1, n_files + 1
        try:
            text = read_text(folder / path) or ""
        except RecordError as error:
            problems.append(CardProblem(code="card-unreadable", path=path, line=1, what=error.what))
            continue
        problems += lint_card(text, path, files or (folder / path).parent)
        if results is not None:
            numbers = _numbers(text, path)
            n_numbers += len(numbers)
            problems += _against(numbers, path, folder, results)
    if not n_cards:
        raise RecordError(f"holds no {CARD_FILE}", where=str(folder), next_step="name a folder with cards")
    ordered = tuple(sorted(problems, key=lambda problem: problem.order))
    return CardsReport(problems=ordered, n_cards=n_cards, n_files=n_files, n_numbers=n_numbers)


def plain(name: str) -> str:
    """Return a name without case, spaces and punctuation: ``MMLU (5-shot)`` and ``mmlu_5shot`` are one name."""
    return re.sub(r"[^0-9a-z]+", "", name.lower())


def agrees(shown: str, text: str) -> bool:
    """Return whether a table's text is the number that a card shows, to the places that the card shows."""
    value = _float(text)
    try:
        number = decimal.Decimal(shown)
    except decimal.InvalidOperation:
        return False
    if value is None or not number.is_finite():
        return False
    half = decimal.Decimal(5).scaleb(min(number.as_tuple().exponent, 0) - 1)
    # A value that lies in the middle may have been rounded either way, and binary floats lie a little beside it.
    return abs(decimal.Decimal(value) - number) <= half * (1 + decimal.Decimal("1e-9")) or value == float(number)


def _against(
    numbers: list[IndexedNumber], path: str, folder: Path, results: ResultsOfOthers
) -> Iterator[CardProblem]:  # fmt: skip
    if not numbers:
        return
    model = next((name for name in _card_names(path, folder, numbers) if name in results.rows), None)
    if model is None:
        names = " or ".join(repr(name) for name in _card_names(path, folder, numbers)[:3])
        what = f"no row of {results.name} is called {names}"
        yield CardProblem(code="row-unmatched", path=path, line=numbers[0].line, what=what,
                          next_step="say which column names the model: --map model=COLUMN")  # fmt: skip
        return
    for number in numbers:
        if value_problem(number.value) is None:
            yield from _one(number, path, results.name, results.find(model, number))


def _one(number: IndexedNumber, path: str, table: str, found: list[TableNumber]) -> Iterator[CardProblem]:
    shown = number.text
    if not found:
        what = f"model-index: {number.label} shows {shown}, and {table} has no such number"
        yield CardProblem(code="number-without-source", path=path, line=number.line, what=what, shown=shown,
                          next_step=f"name its column: --map '{number.label.replace(' · ', '/')}=COLUMN'")  # fmt: skip
        return
    if any(agrees(number.text, candidate.text) for candidate in found):
        return
    candidate = found[0]
    value = _float(candidate.text)
    scaled = value is not None and any(agrees(number.text, repr(value * factor)) for factor in (100, 0.01))
    hint = " (a percentage against a share?)" if scaled else ""
    now = candidate.text or "nothing"
    what = f"model-index: {number.label} shows {shown}, but {table}, row {candidate.row}, has {now}{hint}"
    row = {"table": table, "row": candidate.row, "column": candidate.column}
    yield CardProblem(code="number-disagrees", path=path, line=number.line, what=what, shown=shown, now=now, row=row,
                      next_step="correct the card or the table")  # fmt: skip


def _numbers(text: str, path: str) -> list[IndexedNumber]:
    try:
        front = read_front_matter(text, path)
    except RecordError:
        return []
    return indexed_numbers(front) if front is not None else []


def _names(number: IndexedNumber) -> list[str]:
    """Return what a number may be called in a table or in ``--map``, the most exact name first."""
    shots = "" if number.n_shot is None else f"{number.n_shot}shot"
    names = []
    for dataset in dict.fromkeys([_bare(number.dataset_name), number.dataset_name, number.dataset_type]):
        for parts in ([dataset, shots, number.metric], [dataset, number.metric], [dataset, shots], [dataset]):
            names.append("/".join(part for part in parts if part))
    return list(dict.fromkeys([number.label.replace(" · ", "/"), *names]))


def _bare(name: str) -> str:
    return re.sub(r"\s*\(.*?shots?\)", "", name, flags=re.IGNORECASE)


def _card_names(path: str, folder: Path, numbers: list[IndexedNumber]) -> list[str]:
    parent = path.removesuffix(CARD_FILE).rstrip("/") or folder.resolve().name
    return list(dict.fromkeys([parent, parent.rpartition("/")[2], *(number.model for number in numbers)]))


def _rows_by_model(
    table: TextTable, template: str, position: Mapping[str, int]
) -> dict[str, list[tuple[int, list[str]]]]:  # fmt: skip
    rows: dict[str, list[tuple[int, list[str]]]] = {}
    for number, fields in table.rows:
        name = template.format(**{column: fields[index] for column, index in position.items()})
        rows.setdefault(name, []).append((number, fields))
    return rows


def _integer(text: str) -> int | None:
    value = _float(text)
    return int(value) if value is not None and value == int(value) else None


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
