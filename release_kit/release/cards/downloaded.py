"""The cards of a download held against its results table, by nothing but what the download holds.

Without the study a card cannot be made anew. Its record says which rows its numbers come from and how; here each one is
worked out again from ``results/results.parquet`` and compared with what a reader sees. A partial download is checked as
far as it goes.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError
from release_kit.core.results import Result, read_results
from release_kit.release.cards.cell_card import rows_digest
from release_kit.release.cards.compare import CardsReport
from release_kit.release.cards.inputs import CARD_FILE, PUBLISHED_RESULTS
from release_kit.release.cards.markdown import NOTHING
from release_kit.release.cards.numbers import fixed, signed
from release_kit.release.cards.problems import CardProblem
from release_kit.release.cards.render import read_text
from release_kit.release.cards.trace import (
    Trace,
    body_digest,
    key_text,
    parse_trace,
    traced_numbers,
    visible_numbers,
)

_STEP = "run: release-kit verify FOLDER; a card that is as published and wrong is a matter for its authors"

Identity = tuple[str, int | None, str]


def check_downloaded(folder: Path) -> CardsReport:
    """Check every card of a download, whole or partial.

    Raises:
        RecordError: the results table is not there or not readable, or there is no card.
    """
    paths = sorted(folder.glob(f"cells/*/{CARD_FILE}"))
    paths += [path for group in ("index", "results") if (path := folder / group / CARD_FILE).is_file()]
    if not paths:
        raise RecordError("holds no cards", where=str(folder), next_step="name a download or a study")
    rows = _Rows(read_results(folder / PUBLISHED_RESULTS), _baselines(folder))
    problems: list[CardProblem] = []
    n_numbers = 0
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            text = read_text(path) or ""
            trace = parse_trace(text, name)
            if trace is None:
                what = "holds no record of its numbers"
                problems.append(CardProblem(code="card-foreign", path=name, line=1, what=what, next_step=_STEP))
                continue
            n_numbers += len(visible_numbers(text))
            problems += [*_edited(text, trace, name), *_recomputed(text, trace, name, rows)]
        except RecordError as error:
            problems.append(CardProblem(code="card-unreadable", path=name, line=1, what=error.what, next_step=_STEP))
    ordered = tuple(sorted(problems, key=lambda problem: problem.order))
    return CardsReport(problems=ordered, n_cards=len(paths), n_files=len(paths), n_numbers=n_numbers)


class _Rows:
    """The results table, by cell and by result."""

    def __init__(self, results: list[Result], baselines: frozenset[str] | None):
        self.of_cell: dict[str, dict[Identity, Result]] = defaultdict(dict)
        self.columns: dict[Identity, dict[str, float]] = defaultdict(dict)
        for row in results:
            identity = (row.benchmark, row.n_shot, row.metric)
            self.of_cell[row.cell_id][identity] = row
            if row.value is not None:
                self.columns[identity][row.cell_id] = row.value
        self.baselines = baselines

    def digest(self, cell_id: str) -> str:
        """Return the digest of a cell's rows, as its card records it."""
        rows = self.of_cell.get(cell_id, {}).values()
        return rows_digest(sorted(rows, key=lambda row: row.key))

    def others(self, identity: Identity) -> list[float] | None:
        """Return the values of cells that are not baselines; None when the baselines are not known."""
        if self.baselines is None:
            return None
        return [value for cell_id, value in self.columns[identity].items() if cell_id not in self.baselines]


def _baselines(folder: Path) -> frozenset[str] | None:
    """Return the baseline cells, as the card of the release records them; None without that card."""
    path = folder / "index" / CARD_FILE
    try:
        text = read_text(path)
        trace = None if text is None else parse_trace(text, str(path))
    except RecordError:
        return None
    known = None if trace is None else trace.numbers.get("results", {}).get("baselines")
    return frozenset(known) if isinstance(known, list) else None


def _edited(text: str, trace: Trace, path: str) -> Iterator[CardProblem]:
    """Yield numbers that differ from the card's own record, or the card as a whole when other text does."""
    recorded, named = traced_numbers(trace, path), False
    for address, (shown, line) in visible_numbers(text).items():
        number = recorded.get(address)
        if number is not None and number.shown != shown:
            named = True
            what = f"{_name(address)} shows {shown.strip('*`')}; its record says {number.shown.strip('*`')}"
            yield CardProblem(code="number-edited", path=path, line=line, what=what, next_step=_STEP,
                              shown=shown.strip("*`"), now=number.shown.strip("*`"))  # fmt: skip
    if not named and trace.body_sha256 != body_digest(text):
        what = "was changed outside the hand-written sections after it was made"
        yield CardProblem(code="text-edited", path=path, line=1, what=what, next_step=_STEP)


def _recomputed(text: str, trace: Trace, path: str, rows: _Rows) -> Iterator[CardProblem]:
    """Yield numbers of the evaluation table that do not follow from the rows that the record names."""
    table = trace.numbers.get("evaluation")
    if table is None or not isinstance(table.get("cell"), str):
        return
    lines = {address: line for address, (_, line) in visible_numbers(text).items()}
    differs = False
    for identity, shown, origin in table["rows"]:
        found = dict(zip(table["origin"], origin, strict=True))
        now = _texts(table, tuple(identity), int(found["decimals"]), rows)
        for column, old in zip(table["columns"], shown, strict=True):
            if column in now and now[column] != old.strip("*"):
                differs = True
                address = ("evaluation", tuple(map(key_text, identity)), column)
                what = f"{_name(address)} was made as {old.strip('*')}, but {trace.table} gives {now[column]}"
                yield CardProblem(code="number-stale", path=path, line=lines.get(address, 1), what=what,
                                  next_step=_STEP, shown=old.strip("*"), now=now[column])  # fmt: skip
    if not differs and rows.digest(table["cell"]) != table.get("rows_sha256"):
        what = f"the rows of this cell in {trace.table} are not those that the card was made from"
        yield CardProblem(code="source-changed", path=path, line=1, what=what, next_step=_STEP)


def _texts(table: Mapping[str, Any], identity: Identity, decimals: int, rows: _Rows) -> dict[str, str]:
    """Return column → text of one row, worked out from the results table."""
    row = rows.of_cell.get(table["cell"], {}).get(identity)
    base_id = table.get("base")
    base = rows.columns[identity].get(base_id) if base_id else None
    value = None if row is None else row.value
    texts = {
        "Value": NOTHING if value is None else fixed(value, decimals),
        "Std. error": NOTHING if row is None or row.stderr is None else fixed(row.stderr, decimals),
        "n": NOTHING if row is None or row.n is None else str(row.n),
        "Base model": NOTHING if base is None else fixed(base, decimals),
        "Difference": NOTHING if value is None or base is None else signed(value - base, decimals),
    }
    others = rows.others(identity)
    if others is not None:
        texts["Grid median"] = fixed(statistics.median(others), decimals) if others else NOTHING
        texts["Cells"] = str(len(others))
    return texts


def _name(address: tuple[str, tuple[str, ...], str]) -> str:
    table, keys, column = address
    return f"{table}: {' · '.join(key.replace(chr(92), '') for key in keys)}, {column}"
