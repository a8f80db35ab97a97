"""The results table: same rows, same bytes; every row is read back as it was."""

import random
from dataclasses import FrozenInstanceError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.core.errors import RecordError
from release_kit.core.results import COLUMNS, Result, parquet_bytes, read_results, results_table, write_results

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.none() | st.integers(0, 2**40)
RESULTS = st.lists(
    st.builds(
        Result, cell_id=TEXT, benchmark=TEXT, metric=TEXT, value=NUMBERS, n_shot=COUNTS, n=COUNTS, stderr=NUMBERS,
        higher_is_better=st.none() | st.booleans(), task_version=st.none() | TEXT, source=TEXT, source_row=COUNTS,
        source_key=TEXT, source_sha256=TEXT,
    ),
    max_size=8,
)  # fmt: skip


def place(row: Result):
    return (row.key, row.source, row.source_row or 0, row.source_key)


@given(RESULTS)
@settings(max_examples=25)
def test_rows_are_read_back_as_they_were(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "results.parquet"
    write_results(path, rows)
    assert sorted(map(repr, read_results(path))) == sorted(map(repr, rows))
    assert [place(row) for row in read_results(path)] == sorted(map(place, rows))


def some_rows(n=200):
    shared = {"metric": "acc", "source": "t.csv", "source_sha256": "0" * 64}
    return [
        Result(cell_id=f"c{i % 7}", benchmark=f"b{i % 5}", value=i / 3, source_row=i, n_shot=i % 3, **shared)
        for i in range(n)
    ]


def test_same_rows_in_any_order_give_the_same_bytes():
    rows = some_rows()
    shuffled = random.Random(0).sample(rows, len(rows))
    levels = {f"c{i}": {"dataset": f"d{i}", "seed": i} for i in range(7)}
    assert parquet_bytes(results_table(rows, levels)) == parquet_bytes(results_table(shuffled, levels))


def test_a_table_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "tables" / "results.parquet"
    assert write_results(path, some_rows()) is True
    assert write_results(path, some_rows()) is False
    assert write_results(path, some_rows()[:-1]) is True


def test_factors_become_columns_and_numbers_stay_numbers():
    rows = some_rows(3)
    levels = {f"c{i}": {"dataset": f"d{i}", "seed": i, "mixed": i if i else "none"} for i in range(3)}
    table = results_table(rows, levels, made_by="test")
    assert table.column_names[:4] == ["cell_id", "dataset", "seed", "mixed"]
    assert table.schema.field("seed").type == pa.int64()
    assert table.column("mixed").to_pylist() == ["none", "1", "2"]
    assert table.schema.metadata == {b"release_kit.results_schema": b"1", b"made_by": b"test"}
    assert [name for name in table.column_names if name in COLUMNS] == list(COLUMNS)


def test_shots_are_part_of_the_key():
    zero, five = (Result(cell_id="c", benchmark="b", metric="acc", value=0.5, n_shot=n) for n in (0, 5))
    unknown = Result(cell_id="c", benchmark="b", metric="acc", value=0.5)
    assert len({zero.key, five.key, unknown.key}) == 3
    with pytest.raises(FrozenInstanceError):
        zero.value = 1.0


def test_what_is_no_results_table_is_named(tmp_path):
    path = tmp_path / "results.parquet"
    with pytest.raises(RecordError, match="not a results table") as caught:
        read_results(path)
    assert caught.value.where == str(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match="not a results table"):
        read_results(path)
    pq.write_table(pa.table({"cell_id": ["a"]}), path)
    with pytest.raises(RecordError, match="not a results table"):
        read_results(path)
    columns = {name: ["x"] for name in COLUMNS}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(RecordError, match="not a results table"):
        read_results(path)
    write_results(path, some_rows())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="not a results table"):
        read_results(path)
