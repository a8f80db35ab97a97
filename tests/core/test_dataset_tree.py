"""A manifest of a dataset cannot put a file where git, a study or release_kit would take it for theirs."""

import pytest

from release_kit.core.dataset_record import DatasetRecord, DatasetRow, DatasetTable
from release_kit.core.dataset_tree import local_path
from release_kit.core.errors import RecordError, UnsafePathError
from release_kit.core.manifest import CellEntry, FileEntry, Manifest


def manifest(*paths: str, kinds: tuple[str, ...] = ("dataset", "dataset"), shared: tuple[str, ...] = ()) -> Manifest:
    def entries(names: tuple[str, ...]) -> tuple[FileEntry, ...]:
        return tuple(FileEntry(path=path, size_bytes=0, sha256="0" * 64) for path in names)

    cells = tuple(
        CellEntry(cell_id=f"{n:012x}", name=f"sub-{n}", levels={"subject": str(n)}, kind=kind, files=entries(files))
        for n, (kind, files) in enumerate(zip(kinds, ((paths[0],), paths[1:]), strict=True))
    )
    return Manifest(study="s", version="1", cells=cells, index=entries(shared))


def test_a_dataset_is_read_back():
    found = manifest("sub-1/a", "sub-2/a", shared=("README.md",))
    assert Manifest.from_dict(found.to_dict()) == found and found.is_dataset


@pytest.mark.parametrize(
    "path",
    [".git/config", "sub-1/.GIT/hooks/post-checkout", ".release/manifest.json", ".release_kit/lock", "study.yaml"],
)
def test_a_path_that_belongs_to_somebody_else_is_refused(path: str):
    with pytest.raises(RecordError, match="not a place for a file of a dataset"):
        Manifest.from_dict(manifest("sub-1/a", path).to_dict())
    with pytest.raises(RecordError, match="not a place for a file of a dataset"):
        Manifest.from_dict(manifest("sub-1/a", "sub-2/a", shared=(path,)).to_dict())


def test_two_parts_with_one_path_are_refused_case_aside():
    with pytest.raises(RecordError, match="belongs to two parts"):
        Manifest.from_dict(manifest("sub-1/a", "sub-2/a", shared=("Sub-1/A",)).to_dict())


def test_parts_and_models_are_not_mixed():
    with pytest.raises(RecordError, match="parts of it, and nothing else"):
        Manifest.from_dict(manifest("sub-1/a", "b", kinds=("dataset", "weights")).to_dict())


def test_local_paths_are_those_of_the_dataset():
    assert local_path("cells/sub-01/sub-01/anat/x.json", dataset=True) == "sub-01/anat/x.json"
    assert local_path("index/cells/x", dataset=True) == "cells/x"
    assert local_path("index/README.md", dataset=False) == "index/README.md"


def test_the_record_of_a_dataset_is_read_back():
    row = DatasetRow(keys=("01",), shown=("2",), sources=("sub-01/x",))
    table = DatasetTable(name="t", title="T", keys=("K",), columns=("N",), rows=(row,), rules={"N": "a count"})
    record = DatasetRecord(folder="dataset", shared=("a", "b"), readme="README", configs={"b": "b.parquet", "a": "a.p"},
                           n_rows=3, kinds=("bids",), tables=(table,), sources={"sub-01/x": "0" * 64})  # fmt: skip
    again = DatasetRecord.from_dict(record.to_dict())
    assert again == record and list(again.configs) == ["b", "a"]
    with pytest.raises(UnsafePathError):
        DatasetRecord.from_dict(record.to_dict() | {"shared": ["../x"]})
