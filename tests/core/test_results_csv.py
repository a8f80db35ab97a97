"""Tables of results: every column has its place, every problem is named with its rows, nothing is guessed."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from release_kit.core.collect import collect_results
from release_kit.core.grid import cell_id
from release_kit.core.hashing import hash_file
from release_kit.core.study import parse_study
from release_kit.core.text_table import read_text_table

FACTORS = {"dataset": ["lima", "alpaca"], "method": ["full", "lora", "none"], "size": [0, 1000]}
SOURCE = {
    "format": "csv",
    "path": "t.csv",
    "factors": {
        "dataset": "data",
        "method": {"column": "lora", "values": {"true": "lora", "false": "full", "": "none", "None": "none"}},
        "size": "size",
    },
    "metrics": [{"columns": "{benchmark}-{n_shot}shot", "metric": "acc"}],
}
HEADER = "data,lora,size,gsm8k-0shot,gsm8k-5shot\n"


def study_of(folder: Path, table: str | bytes = HEADER, name="t.csv", **changes):
    (folder / name).write_bytes(table.encode() if isinstance(table, str) else table)
    source = {key: value for key, value in (SOURCE | changes).items() if value is not ...}
    document = {"schema_version": 1, "name": "s", "version": "1", "factors": FACTORS, "results": [source]}
    document["exclude"] = [{"method": "none", "size": 1000}]
    document["benchmarks"] = {"gsm8k": {"acc": {"higher_is_better": False}}}
    return parse_study(yaml.safe_dump(document, sort_keys=False), folder=folder, where="study.yaml")


def collected(folder, table=HEADER, **changes):
    return collect_results(study_of(folder, table, **changes))


def messages(folder, table=HEADER, **changes):
    return [str(problem) for problem in collected(folder, table, **changes).problems]


def test_rows_carry_value_and_place(tmp_path):
    study = study_of(tmp_path, HEADER + "lima,true,1000.0,12.5,\nalpaca,None,0,3,4e1\n")
    found = collect_results(study)
    assert found.problems == []
    first, hole, third, fourth = found.rows
    lima = cell_id(study, {"dataset": "lima", "method": "lora", "size": 1000})
    alpaca = cell_id(study, {"dataset": "alpaca", "method": "none", "size": 0})
    assert [row.cell_id for row in found.rows] == [lima, lima, alpaca, alpaca]
    assert (first.benchmark, first.n_shot, first.metric, first.value) == ("gsm8k", 0, "acc", 12.5)
    assert (hole.n_shot, hole.value, hole.source_row, hole.source_key) == (5, None, 1, "gsm8k-5shot")
    assert (third.value, fourth.value, fourth.source_row) == (3.0, 40.0, 2)
    assert {row.source for row in found.rows} == {"t.csv"}
    assert {row.source_sha256 for row in found.rows} == {hash_file(tmp_path / "t.csv").sha256}
    assert {row.higher_is_better for row in found.rows} == {False}


def test_named_columns_constants_scale_n_and_stderr(tmp_path):
    table = "data,size,score,score_n,score_se,mt-total,mt-total_err\nlima,1000,0.25,40,0.5,7,0.1\n"
    found = collected(
        tmp_path,
        table,
        factors={"dataset": "data", "size": "size", "method": {"level": "full"}},
        metrics=[
            {"column": "score", "benchmark": "mmlu", "metric": "acc", "n_shot": 5, "scale": 100, "n": "score_n",
             "stderr": "score_se", "higher_is_better": True},
            {"columns": "mt-{metric}", "benchmark": "mtbench", "n": 160, "stderr": "mt-{metric}_err"},
        ],
    )  # fmt: skip
    assert found.problems == []
    mmlu, mtbench = found.rows
    assert (mmlu.value, mmlu.stderr, mmlu.n, mmlu.n_shot, mmlu.higher_is_better) == (25.0, 50.0, 40, 5, True)
    assert (mtbench.benchmark, mtbench.metric, mtbench.value, mtbench.stderr) == ("mtbench", "total", 7.0, 0.1)
    assert (mtbench.n, mtbench.n_shot, mtbench.higher_is_better) == (160, None, None)


def test_a_pattern_does_not_take_columns_that_belong_to_another(tmp_path):
    """``mt-{metric}`` follows ``mt-total_err`` as well, but that column holds a standard error."""
    table = "data,size,mt-total,mt-total_err\nlima,1000,7,0.1\n"
    factors = {"dataset": "data", "size": "size", "method": {"level": "full"}}
    metrics = [{"columns": "mt-{metric}", "benchmark": "mtbench", "stderr": "mt-{metric}_err"}]
    rows = collected(tmp_path, table, factors=factors, metrics=metrics).rows
    assert [(row.metric, row.value, row.stderr) for row in rows] == [("total", 7.0, 0.1)]


def test_an_optional_metric_that_is_missing_gives_no_row(tmp_path):
    metrics = [{"columns": "{benchmark}-{n_shot}shot", "metric": "acc", "optional": True}]
    rows = collected(tmp_path, HEADER + "lima,true,1000,1,\n", metrics=metrics).rows
    assert [row.n_shot for row in rows] == [0]


def test_missing_is_what_the_source_says(tmp_path):
    table = HEADER + "lima,true,1000,n/a,-\n"
    rows = collected(tmp_path, table, missing=["n/a", "-"]).rows
    assert [row.value for row in rows] == [None, None]
    (first, second) = messages(tmp_path, table)
    assert "t.csv, row 1: column 'gsm8k-0shot': 'n/a' is not a finite number" in first
    assert "results[0].missing" in second


def test_infinite_and_odd_numbers_are_refused(tmp_path):
    for text in ("inf", "1_000", "1,5", "0x10", "12%", "--"):
        told = messages(tmp_path, HEADER + f'lima,true,1000,1,"{text}"\n')
        assert [f"{text!r} is not a finite number" in message for message in told] == [True]


def test_all_problems_are_told_at_once_by_what_is_wrong(tmp_path):
    table = HEADER + "limo,true,1000,1,1\n" * 7 + "lima,maybe,1000,x,1\nlima,true,1000,x,1\nalpaca,true,1000,1\n"
    told = messages(tmp_path, table)
    assert len(told) == 4
    by_row = "\n".join(told)
    assert "t.csv, 7 rows (1, 2, 3, 4, 5, …): column 'data': 'limo' is not a level of dataset; did you mean" in by_row
    assert "t.csv, row 8: column 'lora': 'maybe' is not a level of method" in by_row
    assert "results[0].factors.method.values" in by_row
    assert "t.csv, row 9: column 'gsm8k-0shot': 'x'" in by_row
    assert "t.csv, row 10: expected 5 fields, got 4" in by_row


def test_combinations_outside_the_grid_are_kept_apart(tmp_path):
    found = collected(tmp_path, HEADER + "lima,None,1000,1,1\nlima,true,1000,1,1\n")
    assert len(found.rows) == 2
    (undeclared,) = found.undeclared
    assert undeclared.levels == {"dataset": "lima", "method": "none", "size": 1000}
    assert (undeclared.source, undeclared.source_row, undeclared.n_results) == ("t.csv", 1, 2)
    assert "which is not in the grid" in str(undeclared.to_error())


def test_a_level_written_in_two_ways_is_noted(tmp_path):
    (note,) = collected(tmp_path, HEADER + "lima,,0,1,1\nlima,None,0,1,1\nlima,None,0,1,1\n").notes
    assert note.what == "method=none is written in several ways: '' (1 rows) and 'None' (2 rows)"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("data,lora,size,gsm8k-0shot,gsm8k-5shot,extra\n", "the column 'extra' is not declared"),
        ("data,lora,size,gsm8k-0shot,gsm8k-5 shot\n", "the column 'gsm8k-5 shot' is not declared"),
        ("datas,lora,size,gsm8k-0shot\n", "has no column 'data'; did you mean 'datas'?"),
        ("data,lora,size\n", "has no column that follows '{benchmark}-{n_shot}shot' (results[0].metrics[0])"),
        ("data,lora,size,a-0shot,a-0shot\n", "has several columns called 'a-0shot'"),
        ("", "is empty: it has no header"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, header, part):
    told = messages(tmp_path, header)
    assert any(part in message for message in told), told
    assert all(message.startswith("t.csv") for message in told)


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (HEADER.encode() + b"lima,true,1000,1,\xff\n", "t.csv, line 2: is not UTF-8: byte 0xff at offset"),
        (HEADER + 'lima,true,1000,1,"2\n', "is not valid CSV"),
        (HEADER + 'lima,true,1000,1,"2"3\n', "is not valid CSV"),
        (HEADER + "lima,true,1000,1," + "2" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path, table, part):
    (told,) = messages(tmp_path, table)
    assert part in told


def test_byte_order_mark_quotes_blank_lines_and_line_ends_are_understood(tmp_path):
    table = '\ufeffdata,lora,size,gsm8k-0shot\r\n"lima","true",1000,1\r\n\r\nalpaca,true,1000,2\r\n'
    rows = collected(tmp_path, table).rows
    assert [row.value for row in rows] == [1.0, 2.0]


def test_two_patterns_for_one_column_are_refused_but_a_name_wins(tmp_path):
    metrics = [*SOURCE["metrics"], {"columns": "gsm8k-{n_shot}shot", "benchmark": "gsm8k", "metric": "em"}]
    assert "follows two patterns" in "\n".join(messages(tmp_path, metrics=metrics))
    metrics = [*SOURCE["metrics"], {"column": "gsm8k-5shot", "benchmark": "gsm8k", "metric": "em", "n_shot": 5}]
    rows = collected(tmp_path, HEADER + "lima,true,1000,1,2\n", metrics=metrics).rows
    assert {(row.metric, row.n_shot, row.value) for row in rows} == {("acc", 0, 1.0), ("em", 5, 2.0)}


WRONG_ENTRIES = [
    ({"format": "cvs"}, "`results[0].format` is 'cvs'; did you mean 'csv'?"),
    ({"format": ...}, "`results[0].format` is missing"),
    ({"ignored": []}, "`results[0].ignored` is not a known key; did you mean 'ignore'?"),
    ({"factors": {"dataset": "data", "method": "lora"}}, "`results[0].factors.size` is missing"),
    ({"factors": SOURCE["factors"] | {"sise": "x"}}, "`results[0].factors.sise` is not a factor; did you mean 'size'?"),
    ({"factors": SOURCE["factors"] | {"size": {"level": 5}}}, "`results[0].factors.size.level` is 5"),
    ({"factors": SOURCE["factors"] | {"size": {"values": {"a": 0}}}}, "`results[0].factors.size.column` is missing"),
    (
        {"factors": SOURCE["factors"] | {"size": {"column": "size", "values": {"a": "0"}}}},
        "`results[0].factors.size.values.a` is '0'",
    ),
    ({"metrics": []}, "`results[0].metrics` is empty"),
    ({"metrics": [{"metric": "acc", "benchmark": "b"}]}, "`results[0].metrics[0]` needs either `column`"),
    ({"metrics": [{"columns": "{benchmark}"}]}, "`results[0].metrics[0].metric` is missing"),
    ({"metrics": [{"columns": "{bench}", "metric": "a"}]}, "names {bench}; did you mean 'benchmark'?"),
    ({"metrics": [{"columns": "{benchmark}", "benchmark": "b", "metric": "a"}]}, "gives benchmark twice"),
    ({"delimiter": ";;"}, "`results[0].delimiter` is ';;'"),
    ({"path": "../t.csv"}, "'../t.csv' is not a plain relative path"),
    ({"path": "none.csv"}, "there is no table 'none.csv'"),
]


@pytest.mark.parametrize(("changes", "part"), WRONG_ENTRIES, ids=[part[:45] for _, part in WRONG_ENTRIES])
def test_each_mistake_in_a_declaration_is_named(tmp_path, changes, part):
    (told,) = messages(tmp_path, HEADER + "lima,true,1000,1,2\n", **changes)
    assert part in told
    assert "study.yaml" in told


def same_values(folder, **changes):
    found = collected(folder, **changes)
    assert found.problems == []
    return [(row.cell_id, row.n_shot, row.value, row.source_row) for row in found.rows]


def test_tsv_jsonl_and_parquet_say_the_same_as_csv(tmp_path):
    table = HEADER + "lima,true,1000,12.5,\nalpaca,false,1000,0.1,7\n"
    expected = same_values(tmp_path, table=table)
    assert [value for _, _, value, _ in expected] == [12.5, None, 0.1, 7.0]
    tsv = {"format": "tsv", "path": "t.tsv", "name": "t.tsv", "table": table.replace(",", "\t")}
    assert same_values(tmp_path, **tsv) == expected
    semicolons = {"delimiter": ";", "table": table.replace(",", ";")}
    assert same_values(tmp_path, **semicolons) == expected
    columns = {
        "data": ["lima", "alpaca"], "lora": [True, False], "size": [1000, 1000],
        "gsm8k-0shot": [12.5, 0.1], "gsm8k-5shot": [None, 7.0],
    }  # fmt: skip
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    jsonl = {"format": "jsonl", "path": "t.jsonl", "name": "t.jsonl", "table": "\n".join(lines) + "\n"}
    assert same_values(tmp_path, **jsonl) == expected
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    parquet = {"format": "parquet", "path": "t.parquet"}
    assert same_values(tmp_path, **parquet) == expected


LONG = {
    "factors": {"dataset": "data", "size": "size", "method": {"level": "full"}},
    "metrics": [
        {"column": "value", "benchmark": {"column": "task"}, "metric": {"column": "measure"}, "n": "n",
         "n_shot": {"column": "shots"}, "stderr": "error"},
    ],
}  # fmt: skip
LONG_HEADER = "data,size,task,measure,shots,value,error,n\n"


def test_a_table_with_one_value_a_row_names_it_in_the_row(tmp_path):
    table = LONG_HEADER + "lima,1000,gsm8k,acc,5,0.5,0.1,40\nlima,1000,mmlu,f1,,1,,\nalpaca,0,gsm8k,acc,0,,,\n"
    found = collected(tmp_path, table, **LONG)
    assert found.problems == []
    first, second, third = found.rows
    assert (first.benchmark, first.metric, first.n_shot, first.value) == ("gsm8k", "acc", 5, 0.5)
    assert (first.stderr, first.n, first.higher_is_better, first.source_key) == (0.1, 40, False, "value")
    assert (second.benchmark, second.metric, second.n_shot, second.n) == ("mmlu", "f1", None, None)
    assert second.higher_is_better is None
    assert (third.n_shot, third.value, third.source_row) == (0, None, 3)


def test_mistakes_in_a_table_with_one_value_a_row_are_named(tmp_path):
    table = LONG_HEADER + "lima,1000,,acc,five,0.5,0.1,40.5\n"
    assert messages(tmp_path, table, **LONG) == [
        "t.csv, row 1: column 'task': '' cannot be the benchmark",
        "t.csv, row 1: column 'shots': 'five' cannot be the n_shot",
        "t.csv, row 1: column 'n': '40.5' is not a whole number",
    ]
    told = messages(tmp_path, "data,size,task,measure,value,error,n\n", **LONG)
    assert any("has no column 'shots'" in message for message in told)
    (told,) = messages(tmp_path, table, **LONG | {"metrics": [{"column": "value", "benchmark": {"colum": "x"}}]})
    assert "`results[0].metrics[0].benchmark.column` is missing" in told


def test_broken_jsonl_and_parquet_are_named(tmp_path):
    jsonl = {"format": "jsonl", "path": "t.jsonl", "name": "t.jsonl"}
    told = messages(tmp_path, '{"data": "lima"\n[]\n', **jsonl)
    assert any(message.startswith("t.jsonl, row 1: not valid JSON") for message in told)
    assert any("t.jsonl, row 2: is not a JSON object" in message for message in told)
    (told,) = messages(tmp_path, b"PAR1", format="parquet", path="t.parquet", name="t.parquet")
    assert told.startswith("t.parquet: is not Parquet")


def test_line_separators_inside_a_text_do_not_end_a_row_of_jsonl(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"data": "a\u2028b"}\r\n{"data": "c\x85d"}\n', encoding="utf-8")
    table = read_text_table(path, "jsonl", where="t.jsonl")
    assert table.rows == [(1, ["a\u2028b"]), (2, ["c\x85d"])]


def test_thirty_thousand_values_are_read_in_a_moment(tmp_path):
    columns = [f"task{i}-0shot" for i in range(30)]
    header = "data,lora,size," + ",".join(columns) + "\n"
    values = ",".join(f"{i}.5" for i in range(30))
    study = study_of(tmp_path, header + f"lima,true,1000,{values}\nalpaca,false,1000,{values}\n" * 500)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert len(collect_results(study).rows) == 30_000
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0
