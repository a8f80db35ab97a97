"""Plan: counts are those of the grid, what is there is counted, large grids cost nothing."""

import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from release_kit.core.grid import cell_id, is_results_only, iter_levels
from release_kit.core.plan import count_cells, plan_study
from release_kit.core.study import parse_study, read_study

AXES = {"dataset": ["lima", "alpaca", "x"], "method": ["full", "lora"], "flag": [True, 1, 0], "seed": [0, 1]}

GRIDS = [
    {},
    {"include": [{"dataset": ["lima", "x"], "flag": True}]},
    {"include": [{"dataset": "lima"}, {"method": "lora"}]},
    {"exclude": [{"dataset": "lima", "method": "lora"}, {"flag": 1}]},
    {"results_only": [{"flag": [True, 0]}]},
    {"artifacts": "results-only"},
    {"artifacts": "results-only", "exclude": [{"seed": 1}]},
    {"include": [{"dataset": "lima"}], "exclude": [{"dataset": "lima"}]},
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_counts_are_those_of_the_grid(grid):
    document = {"schema_version": 1, "name": "s", "version": "1", "factors": AXES, **grid}
    study = parse_study(yaml.safe_dump(document, sort_keys=False), folder=Path("."))
    cells = list(iter_levels(study))
    n_cells, n_results_only, levels = count_cells(study)
    assert n_cells == len(cells)
    assert n_results_only == sum(is_results_only(study, cell) for cell in cells)
    for factor in study.factors:
        expected = Counter((type(cell[factor.name]), cell[factor.name]) for cell in cells)
        assert list(levels[factor.name]) == list(dict.fromkeys(factor.levels))
        if factor.name != "flag":
            assert levels[factor.name] == {level: expected[type(level), level] for level in factor.levels}


def test_what_is_there_and_what_is_missing(make_study):
    study = make_study()
    plan = plan_study(study)
    assert (plan.n_cells, plan.n_results_only, plan.n_on_disk, plan.n_missing) == (9, 1, 9, 0)
    assert plan.missing == plan.problems == ()
    assert plan.first[0] == (cell_id(study, plan.first[0][1]), next(iter_levels(study)))
    (source,) = plan.sources
    assert (source.kind, source.path, source.n_found) == ("lm-eval", "cells/*/eval/*.json", 27)
    first, second = plan.first[0][0], plan.first[1][0]
    (study.folder / "cells" / first / "cell.json").unlink()
    shutil.rmtree(study.folder / "cells" / second / "model")
    plan = plan_study(study)
    assert (plan.n_on_disk, plan.n_missing) == (7, 2)
    assert [identity for identity, _ in plan.missing] == [first, second]


def test_cells_of_another_grid_and_broken_declarations_are_counted(make_study):
    study = make_study()
    file = study.folder / "study.yaml"
    document = yaml.safe_load(file.read_text()) | {"exclude": [{"dataset": "lima"}], "results": [{"format": "x"}]}
    file.write_text(yaml.safe_dump(document | {"checkpoints": [{"path": "{x}"}]}))
    next(study.folder.glob("cells/*/cell.json")).write_text("{")
    plan = plan_study(read_study(study.folder))
    assert plan.n_cells == 5
    assert plan.n_undeclared + plan.n_on_disk == 8
    told = " ".join(map(str, plan.problems))
    assert "`results[0].format`" in told
    assert "`checkpoints[0].path`" in told
    assert "cell.json: " in told


def test_a_hundred_thousand_cells_are_planned_in_a_moment(tmp_path):
    axes = {"a": list(range(100)), "b": [f"b{i}" for i in range(100)], "c": list(range(10))}
    document = {"schema_version": 1, "name": "s", "version": "1", "factors": axes, "exclude": [{"a": 1, "b": "b2"}]}
    study = parse_study(yaml.safe_dump(document), folder=tmp_path)
    start = time.process_time()
    plan = plan_study(study)
    assert time.process_time() - start < 4
    assert plan.n_cells == plan.n_missing == 99_990
    assert len(plan.first) == len(plan.missing) == 3
