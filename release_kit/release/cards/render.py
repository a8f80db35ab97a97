"""All cards of a release as bytes: the one place where facts, words, figures, hand-written sections and trace meet.

Pure but for reading the cards that lie there: the same inputs give the same bytes. Writing is left to build and to
``write.py``, comparing to ``compare.py``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from release_kit.core.errors import RecordError, StudyError
from release_kit.release.cards.analysis_facts import analysis_texts
from release_kit.release.cards.cell_card import CellCards
from release_kit.release.cards.dataset_card import dataset_facts
from release_kit.release.cards.figures import CellFigures
from release_kit.release.cards.handwritten import filled, is_untouched, parse_sections
from release_kit.release.cards.index_card import DISTRIBUTIONS, HEATMAP, common_facts, index_facts
from release_kit.release.cards.index_figures import distributions_figure, heatmap_figure
from release_kit.release.cards.inputs import CARD_FILE, CELL_FIGURE, EVAL_RESULTS_FOLDER, CardCell, CardInputs
from release_kit.release.cards.model_index import eval_results_files
from release_kit.release.cards.numbers import Grid
from release_kit.release.cards.results_card import results_facts
from release_kit.release.cards.templates import render
from release_kit.release.cards.trace import split_trace, trace_comment


class Cards:
    """The cards of one release; what they share is worked out once.

    Args:
        inputs: what the cards are made from.

    Raises:
        StudyError: an artifact holds a file of the name of a figure that belongs to its card.
    """

    def __init__(self, inputs: CardInputs):
        _check_names(inputs)
        self.inputs = inputs
        self.grid = Grid(inputs.study, inputs.cells, inputs.results)
        self.n_numbers = 0
        """Numbers in the tables of the cards made so far."""
        self._common = common_facts(inputs)
        self._cells = CellCards(inputs, self.grid)
        self._figures = CellFigures(self.grid)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``(path in the release tree, bytes)`` of everything, hand-written sections kept.

        Raises:
            RecordError: cards whose hand-written sections cannot be told apart; all of them are named.
        """
        return ((path, text.encode()) for path, _, text in self.merged())

    def merged(self) -> Iterator[tuple[str, str | None, str]]:
        """Yield ``(path in the release tree, text that lies there, text to be written)`` of everything.

        Raises:
            RecordError: cards whose hand-written sections cannot be told apart; all of them are named.
        """
        problems: list[RecordError] = []
        for path, text in self.texts():
            try:
                old = read_text(self.inputs.release_folder / path)
                yield path, old, kept(text, old, path) if path.endswith(f"/{CARD_FILE}") else text
            except RecordError as problem:
                problems.append(problem)
        if problems:
            raise problems[0] if len(problems) == 1 else RecordError("; ".join(map(str, problems)))

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield ``(path in the release tree, text)`` of everything, hand-written sections empty."""
        if self.inputs.study.is_dataset:
            yield f"index/{CARD_FILE}", self._card("dataset", dataset_facts(self.inputs))
            return
        for cell in self.inputs.cells:
            yield from self.cell_texts(cell)
        yield f"index/{CARD_FILE}", self._card("index", index_facts(self.inputs, self.grid))
        if any(population.values for population in self.grid.populations.values()):
            yield f"index/{DISTRIBUTIONS}", distributions_figure(self.grid)
            yield f"index/{HEATMAP}", heatmap_figure(self.inputs, self.grid)
        yield from analysis_texts(self.inputs.analysis)
        yield f"results/{CARD_FILE}", self._card("results", results_facts(self.inputs, self.grid))

    def cell_texts(self, cell: CardCell) -> Iterator[tuple[str, str]]:
        """Yield ``(path in the release tree, text)`` of one cell's card, figure and ``.eval_results``."""
        comparisons = self.grid.compare(cell.cell_id)
        yield f"cells/{cell.name}/{CARD_FILE}", self._card("cell", self._cells.facts(cell, comparisons))
        figure = self._figures.draw(cell.name, comparisons, self.grid.base_of(cell.cell_id) is not None)
        if figure is not None:
            yield f"cells/{cell.name}/{CELL_FIGURE}", figure
        for path, text in eval_results_files(self.inputs.study, comparisons).items():
            yield f"cells/{cell.name}/{path}", text

    def _card(self, kind: str, facts: Mapping[str, Any]) -> str:
        tables = list(facts["tables"].values())
        self.n_numbers += sum(len(table.rows) * len(table.columns) for table in tables)
        shown = {table.name: table.markdown() for table in tables}
        body = render(kind, {**self._common, **facts, "tables": shown})
        return body + trace_comment(body, self.inputs.results_path, tables, facts["sources"])


def kept(text: str, old: str | None, where: str) -> str:
    """Return a fresh card with the hand-written sections of the old one.

    Raises:
        RecordError: the markers of the old card are broken, so that words could be lost.
    """
    if old is None or is_untouched(old):
        return text
    body, _ = split_trace(text)
    return filled(body, parse_sections(old, where)) + text[len(body) :]


def read_text(path: Path) -> str | None:
    """Return the text of a card, or None when there is none; line ends of other systems are taken as ``\\n``.

    Raises:
        RecordError: unreadable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        step = "restore it, or move it away so that it is written anew"
        raise RecordError(f"cannot be read ({reason})", where=str(path), next_step=step) from error


def _check_names(inputs: CardInputs) -> None:
    """An artifact may not hold a file that the card needs the name of; build leaves out its README.md."""
    taken = [
        f"cells/{cell.name}/{file.path}"
        for cell in inputs.cells
        for file in cell.files
        if file.path == CELL_FIGURE or file.path.startswith(EVAL_RESULTS_FOLDER + "/")
    ]
    if taken:
        raise StudyError(
            f"{len(taken)} files of artifacts have names that belong to their cards: {', '.join(taken[:5])}",
            next_step="move them to another name inside the artifact",
        )
