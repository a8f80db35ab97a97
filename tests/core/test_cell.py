"""``cell.json``: round trip, an id that follows from the configuration, one broken cell hides no other."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.cell import Cell, artifact_folder, read_cell, read_cells, write_cell
from release_kit.core.errors import RecordError, ReleaseKitError
from release_kit.core.grid import cell_id_of

SCALARS = st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEVELS = st.dictionaries(st.sampled_from(["dataset", "seed", "lora"]), SCALARS, max_size=3)
PROVENANCE = st.dictionaries(st.sampled_from(["seed", "code_commit", "versions"]), SCALARS | st.lists(SCALARS))


def make_cell(levels, settings=None, **changes) -> Cell:
    config = {"levels": dict(levels), "settings": settings or {}, "study": "s"}
    return Cell(cell_id=cell_id_of(config), levels=levels, config=config, **changes)


@given(LEVELS, PROVENANCE, st.none() | st.just("runs/a/checkpoint-10"))
def test_round_trip(levels, provenance, path):
    cell = make_cell(levels, {"lr": 1e-5}, provenance=provenance, artifact_path=path)
    assert Cell.from_dict(cell.to_dict()) == cell
    assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell


WRONG = [
    ({"cell_id": "0" * 12}, "`cell_id` is '000000000000', but the digest of `config` begins with"),
    ({"levels": {"seed": 2}}, "`levels` differ from `config.levels`"),
    ({"artifact_path": "/root/model"}, "not a plain relative path"),
    ({"artifact_path": "../model"}, "not a plain relative path"),
    ({"artefact_path": "x"}, "did you mean 'artifact_path'?"),
    ({"levels": []}, "`levels` expected mapping, got list"),
    ({"schema_version": 7}, "`schema_version` is 7"),
]


@pytest.mark.parametrize(("change", "part"), WRONG, ids=[part[:30] for _, part in WRONG])
def test_each_mistake_is_named(change, part):
    with pytest.raises(ReleaseKitError) as caught:
        Cell.from_dict(make_cell({"seed": 1}).to_dict() | change, "cells/x/cell.json")
    assert part in str(caught.value)
    assert "cells/x/cell.json" in str(caught.value)


def test_one_broken_cell_hides_no_other(tmp_path):
    cells = [make_cell({"seed": seed}) for seed in range(4)]
    paths = [write_cell(tmp_path, cell) for cell in cells]
    paths[1].write_text(paths[1].read_text()[:-20])
    paths[2].parent.rename(tmp_path / "cells" / "elsewhere")
    (tmp_path / "cells" / "incomplete").mkdir()
    (tmp_path / "cells" / "stray.txt").write_text("")
    found, problems = read_cells(tmp_path)
    assert found == {cell.cell_id: cell for cell in (cells[0], cells[3])}
    assert len(problems) == 2
    assert any("lies in a folder of another name" in str(problem) for problem in problems)
    assert read_cells(tmp_path / "nowhere") == ({}, [])


def test_artifact_lies_in_the_cell_unless_it_was_imported(tmp_path):
    own, imported = make_cell({"seed": 1}), make_cell({"seed": 2}, artifact_path="runs/b")
    assert artifact_folder(tmp_path, own) == tmp_path / "cells" / own.cell_id / "model"
    assert artifact_folder(tmp_path, imported) == tmp_path / "runs" / "b"


def test_writing_a_cell_twice_gives_the_same_bytes(tmp_path):
    cell = make_cell({"b": 1, "a": "ü"}, {"z": 1, "y": {"n": [1, 2]}})
    first = write_cell(tmp_path, cell).read_bytes()
    assert write_cell(tmp_path, cell).read_bytes() == first
    assert read_cell(tmp_path / "cells" / cell.cell_id / "cell.json") == cell
    with pytest.raises(RecordError, match="cannot be read"):
        read_cell(tmp_path / "cell.json")
