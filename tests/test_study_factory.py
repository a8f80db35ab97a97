"""The clean study that other tests build on is what it promises to be."""

from pathlib import Path

import study_factory

from release_kit.core.cell import read_cells
from release_kit.core.files import iter_files
from release_kit.core.grid import iter_levels
from release_kit.core.hashing import hash_file


def test_every_declared_cell_is_written_and_readable(make_study):
    study = make_study(seeds=(0, 1, 2))
    cells, problems = read_cells(study.folder)
    assert problems == []
    assert len(cells) == len(list(iter_levels(study))) == 13


def test_every_safetensors_file_is_well_formed(make_study):
    study = make_study(shards=3)
    files = sorted(study.folder.rglob("*.safetensors"))
    assert len(files) == 4 * 3 + 4 + 1
    for path in files:
        digest = hash_file(path, values=True)
        assert digest.problem is None
        assert not any(tensor.zero or tensor.n_nonfinite for tensor in digest.tensors)


def test_same_arguments_give_the_same_bytes(tmp_path: Path):
    one, two = (study_factory.make_study(tmp_path / name).folder for name in ("one", "two"))
    files = [relative for relative, _ in iter_files(one)]
    assert files == [relative for relative, _ in iter_files(two)]
    assert all((one / relative).read_bytes() == (two / relative).read_bytes() for relative in files)
