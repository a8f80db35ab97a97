"""A grid in worker processes: complete, resumable, and failures named without losing the rest."""

import shutil
from pathlib import Path

import pytest

from release_kit.core.cell import read_cells
from release_kit.core.errors import ReleaseKitError
from release_kit.core.study import Study
from release_kit.sft.grid_run import run_grid


@pytest.mark.slow
def test_grid_is_completed_and_a_second_run_does_nothing(tiny_study: Study, tmp_path: Path):
    events: list[dict] = []
    report = run_grid(tiny_study, workers=2, log_folder=tmp_path / "logs", on_event=events.append)
    cells, problems = read_cells(tiny_study.folder)
    assert not problems and set(report.done) == set(cells) and len(cells) == 5
    assert {event["cell_id"] for event in events if event["event"] == "done"} == set(cells)
    one, other = sorted(cells)[:2]
    shutil.rmtree(tiny_study.folder / "cells" / one)
    (tiny_study.folder / "cells" / other / "cell.json").unlink()
    again = run_grid(tiny_study, workers=1, log_folder=tmp_path / "logs")
    assert set(again.done) == {one, other} and len(again.before) == 3
    assert run_grid(tiny_study, log_folder=tmp_path / "logs").done == ()


@pytest.mark.slow
def test_cells_that_fail_are_all_named(tiny_study: Study, tmp_path: Path):
    record = tiny_study.folder / "data" / "colours.json"
    record.write_text(record.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(ReleaseKitError, match="4 cells failed") as caught:
        run_grid(tiny_study, workers=2, log_folder=tmp_path / "logs")
    assert str(caught.value).count("its record says 0") == 4
    cells, _ = read_cells(tiny_study.folder)
    assert [cell.levels["method"] for cell in cells.values()] == ["none"]


@pytest.mark.slow
def test_workers_that_die_fail_their_cells_instead_of_hanging(tiny_study: Study, tmp_path: Path):
    (tiny_study.folder / "study.yaml").unlink()
    with pytest.raises(ReleaseKitError, match=r"5 cells failed.*the worker process ended with code 1"):
        run_grid(tiny_study, workers=2, log_folder=tmp_path / "logs")
