"""Statistics and the writing of numbers, against independent references."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from release_kit.core.errors import RecordError
from release_kit.core.results import Result
from release_kit.core.study import parse_study
from release_kit.release.cards.inputs import CardCell
from release_kit.release.cards.markdown import code, escaped
from release_kit.release.cards.numbers import Grid, fixed, signed
from release_kit.release.cards.yaml_text import number, yaml_lines

finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.text() | st.integers() | finite | st.booleans(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(st.text(), inner, min_size=1, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1), plain, min_size=1, max_size=5))
@example({"A\n": "A\n", "b": ["on", "C\n"]})
def test_yaml_reads_back_as_the_same_value(value):
    text = "\n".join(yaml_lines(value))
    assert yaml.safe_load(text) == value


@given(finite)
def test_number_in_yaml_is_the_same_float_to_every_reader(value):
    assert yaml.safe_load(number(value)) == value and float(number(value)) == value
    assert isinstance(yaml.safe_load(number(value)), float)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_card_never_holds_a_number_that_is_none(value):
    with pytest.raises(RecordError):
        number(value)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_fixed_and_signed_are_the_rounded_number(value, decimals):
    assert float(fixed(value, decimals)) == float(f"{value:.{decimals}f}")
    assert fixed(value, decimals).strip("-0.") or not fixed(value, decimals).startswith("-")
    assert signed(value, decimals).lstrip("+") == fixed(value, decimals)
    assert signed(value, decimals)[0] in "+-" or float(signed(value, decimals)) == 0


@given(st.text())
def test_escaped_text_has_one_line_and_no_open_markup(text):
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark").enable("table").render(f"| a |\n| - |\n| {escaped(text)} |\n")
    assert shown.count("<td>") <= 1 and "<script" not in shown and "<!--" not in escaped(text)
    assert "\n" not in escaped(text) and "\n" not in code(text)


def make_grid(values: list[float], base: float | None = 0.5, **rule) -> Grid:
    study = parse_study(
        yaml.safe_dump(
            {
                "schema_version": 1,
                "name": "s",
                "version": 1,
                "factors": {"base_model": ["m"], "run": [*range(len(values)), -1]},
                "baseline": {"run": -1},
                "benchmarks": {"b": {"acc": rule}},
            }
        ),
        folder=None,
    )
    runs = [*range(len(values)), -1] if base is not None else range(len(values))
    levels = [{"base_model": "m", "run": run} for run in runs]
    cells = [
        CardCell(cell_id=str(ls["run"]), name=f"c{ls['run']}", levels=ls, kind="weights", cell=None, files=())
        for ls in levels
    ]
    rows = [Result(cell_id=str(i), benchmark="b", metric="acc", value=v) for i, v in enumerate(values)]
    if base is not None:
        rows.append(Result(cell_id="-1", benchmark="b", metric="acc", value=base))
    return Grid(study, cells, rows)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1))
def test_median_and_quantiles_are_those_of_all_cells_but_the_baseline(values, base):
    population = make_grid(values, base).populations[("b", -1, "acc")]
    assert population.median == statistics.median(values)
    for share in (0.25, 0.75):
        assert population.quantile(share) == pytest.approx(float(np.quantile(values, share)))
    assert population.count_text == str(len(values))


def test_difference_is_worked_out_before_rounding():
    (entry,) = make_grid([0.50004], base=0.49996).compare("0")
    assert (entry.value_text, entry.base_text, entry.difference_text) == ("0.5000", "0.5000", "+0.0001")


@pytest.mark.parametrize(
    ("values", "rule", "shown"),
    [
        ([0.5], {}, "0.5000"),
        ([55.5], {}, "55.50"),
        ([0.5], {"range": [0, 100]}, "0.50"),
        ([0.5], {"range": [0, 1]}, "0.5000"),
    ],
)
def test_shares_get_four_decimals_and_everything_else_two(values, rule, shown):
    assert make_grid(values, base=None, **rule).compare("0")[0].value_text == shown


def test_two_base_models_that_compete_are_no_base_model():
    grid = make_grid([0.1, 0.2])
    study = replace(grid.study, baseline={"run": (-1, 1)})
    cells = [*grid.others, grid.base_of("0")]
    assert Grid(study, cells, []).base_of("0") is None


def test_two_rows_for_one_key_are_both_shown_and_neither_is_compared_with():
    grid = make_grid([0.1, 0.2])
    rows = [Result(cell_id="-1", benchmark="b", metric="acc", value=v) for v in (0.3, 0.4)]
    rows += [Result(cell_id="0", benchmark="b", metric="acc", value=0.1)]
    again = Grid(grid.study, [*grid.others, grid.base_of("0")], rows)
    assert [e.value_text for e in again.compare("-1")] == ["0.3000", "0.4000"]
    assert again.compare("0")[0].base is None
