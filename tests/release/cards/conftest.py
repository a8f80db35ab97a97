"""A built tiny study for the tests of cards; each test gets its own copy."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import study_factory

from release_kit.core.results import RESULTS_FILE, Result, read_results, write_results
from release_kit.core.study import Study, read_study
from release_kit.release.build import build_release
from release_kit.release.cards import CardInputs, read_card_inputs


@dataclass(frozen=True)
class Built:
    """A built study on disk."""

    study: Study

    @property
    def release(self) -> Path:
        """Where its cards lie."""
        return self.study.folder / "release"

    def inputs(self) -> CardInputs:
        """Read what its cards are made from, as it is now."""
        return read_card_inputs(read_study(self.study.folder))

    def card(self, name: str) -> Path:
        """Return the card of a cell."""
        return self.release / "cells" / name / "README.md"

    def change_results(self, change: Callable[[Result], Result | None]) -> None:
        """Rewrite the current results table, as a new evaluation does; None removes a row."""
        path = self.study.folder / RESULTS_FILE
        rows = [new for row in read_results(path) if (new := change(row)) is not None]
        write_results(path, rows)

    def change_value(self, name: str, benchmark: str, value: float) -> None:
        """Give one result of one cell another value."""
        cell_id = next(cell.cell_id for cell in self.inputs().cells if cell.name == name)
        self.change_results(
            lambda row: replace(row, value=value) if (row.cell_id, row.benchmark) == (cell_id, benchmark) else row
        )


@pytest.fixture(scope="session")
def built_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a tiny study once."""
    folder = tmp_path_factory.mktemp("cards") / "study"
    build_release(study_factory.make_study(folder))
    return folder


@pytest.fixture
def built(built_template: Path, tmp_path: Path) -> Built:
    """Return a copy of the built study that the test may change."""
    folder = tmp_path / "study"
    shutil.copytree(built_template, folder)
    return Built(read_study(folder))
