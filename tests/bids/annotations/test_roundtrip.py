"""The table leaves in every format and comes back the same."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from bids_tables import tables
from hypothesis import given, settings

from release_kit.bids.annotations.reread import read_exports
from release_kit.bids.annotations.table import COLUMNS
from release_kit.bids.annotations.write import FORMATS, write_annotations

N_TABLES = 500


def there_and_back(table: pa.Table, fmt: str) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        if not write_annotations(table, fmt, Path(folder) / "export"):
            (Path(folder) / "export").mkdir()
        return read_exports(Path(folder) / "export", fmt)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS)
@settings(max_examples=N_TABLES)
@given(table=tables())
def test_every_random_table_comes_back_the_same(fmt: str, table: pa.Table):
    back = there_and_back(table, fmt)
    assert back.to_pylist() == table.to_pylist()
    assert back.schema.equals(table.schema, check_metadata=True) and back.column_names == list(COLUMNS)
