"""Cards that others wrote, against tables that others made."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import RecordError, UsageError
from release_kit.release.cards.foreign import ResultsOfOthers, agrees, check_foreign, parse_map

CARD = """---
license: mit
base_model: lab/base
model-index:
- name: {name}
  results:
  - task: {{type: text-generation}}
    dataset: {{name: MMLU (5-shot), type: cais/mmlu, args: {{num_few_shot: 5}}}}
    metrics: [{{type: acc, value: {mmlu}}}]
  - task: {{type: text-generation}}
    dataset: {{name: GSM8K (0-shot), type: openai/gsm8k, args: {{num_few_shot: 0}}}}
    metrics: [{{type: exact_match, value: {gsm}}}]
---
# {name}
"""


def write_cards(folder: Path, **models: tuple[str, str]) -> Path:
    for name, (mmlu, gsm) in models.items():
        card = folder / "models" / name / "README.md"
        card.parent.mkdir(parents=True)
        card.write_text(CARD.format(name=name, mmlu=mmlu, gsm=gsm))
    return folder / "models"


def wide(folder: Path) -> Path:
    table = folder / "scores.csv"
    table.write_text("model,mmlu-5shot,gsm8k_0shot\nalpha,55.2987,12\nbeta,60.1,\ngamma,1,2\n")
    return table


def codes(folder, table, *mapping):
    report = check_foreign(folder, ResultsOfOthers(table, parse_map(mapping)))
    return [(p.code, p.path) for p in report.problems]


def test_numbers_that_agree_to_the_places_shown_are_right(tmp_path):
    folder = write_cards(tmp_path, alpha=("55.3", "12"))
    report = check_foreign(folder, ResultsOfOthers(wide(tmp_path), parse_map([])))
    assert report.problems == () and report.n_numbers == 2


def test_number_that_disagrees_is_named_with_both_values_row_and_column(tmp_path):
    folder = write_cards(tmp_path, alpha=("55.4", "12"))
    (problem,) = check_foreign(folder, ResultsOfOthers(wide(tmp_path), parse_map([]))).problems
    assert (problem.code, problem.shown, problem.now) == ("number-disagrees", "55.4", "55.2987")
    assert problem.row == {"table": "scores.csv", "row": 1, "column": "mmlu-5shot"}
    assert "value: 55.4" in (folder / "alpha/README.md").read_text().split("\n")[problem.line - 1]


def test_share_against_percentage_is_said(tmp_path):
    folder = write_cards(tmp_path, alpha=("0.552987", "12"))
    (problem,) = check_foreign(folder, ResultsOfOthers(wide(tmp_path), parse_map([]))).problems
    assert "percentage" in problem.what


def test_number_without_a_row_a_column_or_a_value_is_named(tmp_path):
    folder = write_cards(tmp_path, beta=("60.1", "7"), delta=("1", "2"))
    table = wide(tmp_path)
    assert codes(folder, table) == [
        ("number-disagrees", "beta/README.md"),
        ("row-unmatched", "delta/README.md"),
    ]
    table.write_text("model,mmlu-5shot\nbeta,60.1\ndelta,1\n")
    assert codes(folder, table) == [
        ("number-without-source", "beta/README.md"),
        ("number-without-source", "delta/README.md"),
    ]


def test_mapping_names_model_template_and_columns(tmp_path):
    folder = write_cards(tmp_path, **{"alpha-s1": ("1", "2")})
    table = tmp_path / "t.csv"
    table.write_text("base,seed,A,B\nalpha,1,1,2\nalpha,2,3,4\n")
    mapping = ["model={base}-s{seed}", "MMLU/5shot/acc=A", "GSM8K=B"]
    assert codes(folder, table, *mapping) == []
    assert codes(folder, table, "model={base}-s{seed}", "MMLU=B", "GSM8K=A") == [
        ("number-disagrees", "alpha-s1/README.md"),
        ("number-disagrees", "alpha-s1/README.md"),
    ]


def test_tidy_table_tells_shots_apart(tmp_path):
    folder = write_cards(tmp_path, alpha=("0.5", "0.2"))
    table = tmp_path / "tidy.csv"
    head = "model,benchmark,metric,n_shot,value\n"
    table.write_text(f"{head}alpha,mmlu,acc,0,0.9\nalpha,mmlu,acc,5,0.5\nalpha,gsm8k,exact_match,0,0.2\n")
    assert codes(folder, table) == []
    table.write_text(f"{head}alpha,mmlu,acc,0,0.5\nalpha,gsm8k,exact_match,0,0.2\n")
    assert codes(folder, table) == [("number-without-source", "alpha/README.md")]


def test_our_own_cards_pass_as_foreign_ones_against_the_published_table(built):
    table = built.release / "results" / "results.parquet"
    mapping = parse_map(["model={base_model}-{dataset}-{method}-s{seed}"])
    report = check_foreign(built.release / "cells", ResultsOfOthers(table, mapping))
    assert report.ok and report.n_numbers == 27
    assert {p.code for p in report.problems} <= {"base-model-missing"}


def test_cards_are_linted_too_and_all_problems_come_at_once(tmp_path):
    folder = write_cards(tmp_path, alpha=("55.4", ".nan"))
    card = folder / "alpha" / "README.md"
    card.write_text(card.read_text().replace("license: mit\n", "") + "[More Information Needed]\n")
    found = {code for code, _ in codes(folder, wide(tmp_path))}
    assert found == {"license-missing", "number-disagrees", "number-nan", "placeholder"}


def test_unreadable_card_does_not_hide_the_others(tmp_path):
    folder = write_cards(tmp_path, alpha=("55.4", "12"), beta=("1", "2"))
    (folder / "beta" / "README.md").write_bytes(b"\xff\x00")
    assert [path for _, path in codes(folder, wide(tmp_path))] == ["alpha/README.md", "beta/README.md"]


def test_wrong_use_is_refused_with_the_nearest_column(tmp_path):
    folder = write_cards(tmp_path, alpha=("1", "2"))
    table = wide(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'mmlu-5shot'"):
        codes(folder, table, "MMLU=mmlu_5shot")
    with pytest.raises(UsageError, match="NAME=COLUMN"):
        codes(folder, table, "MMLU")
    renamed = tmp_path / "other.csv"
    shutil.copy(table, renamed)
    renamed.write_text(renamed.read_text().replace("model,", "checkpoint,"))
    with pytest.raises(UsageError, match="--map model=COLUMN"):
        codes(folder, renamed)
    with pytest.raises(RecordError, match=r"holds no README\.md"):
        check_foreign(_empty(tmp_path), None)


def _empty(folder: Path) -> Path:
    empty = folder / "empty"
    empty.mkdir()
    return empty


@given(st.floats(-1000, 1000), st.integers(0, 6))
def test_value_agrees_with_its_own_rounding_and_not_with_a_neighbour(value, decimals):
    assert agrees(f"{value:.{decimals}f}", repr(value))
    assert not agrees(f"{value + 2 * 10**-decimals:.{decimals}f}", repr(value))


def test_trailing_zeros_say_how_exact_a_card_is():
    assert agrees("55.3", "55.26") and not agrees("55.30", "55.26")
    assert agrees("1e-05", "0.00001") and not agrees("1e-05", "0.00003")
    assert not agrees("nan", "nan") and not agrees("1", "") and not agrees("1:30", "90")
