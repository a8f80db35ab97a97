"""The grid: union of include blocks less exclusions, each cell once, in a fixed order, lazily."""

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.core import grid
from release_kit.core.canonical import canonical_bytes
from release_kit.core.errors import UsageError
from release_kit.core.study import Study, parse_study

LEVELS = st.lists(
    st.integers(0, 3) | st.booleans() | st.sampled_from(["a", "b", "a-b", "x/y"]), min_size=1, max_size=4, unique_by=str
)


@st.composite
def studies(draw) -> Study:
    """Return a study of up to three factors with some include and exclude blocks."""
    factors = draw(st.dictionaries(st.sampled_from(["one", "two", "three"]), LEVELS, min_size=1, max_size=3))

    def partials():
        block = {}
        for name, levels in factors.items():
            if draw(st.booleans()):
                block[name] = draw(st.lists(st.sampled_from(levels), min_size=1, max_size=3, unique_by=str))
        return block

    document = {"schema_version": 1, "name": "s", "version": "1", "factors": factors}
    document["include"] = [partials() for _ in range(draw(st.integers(0, 3)))]
    document["exclude"] = [partials() for _ in range(draw(st.integers(0, 2)))]
    return parse_study(yaml.safe_dump(document, sort_keys=False), folder=Path("."))


def key(levels):
    return tuple((name, type(level), level) for name, level in levels.items())


def by_definition(study: Study) -> list[dict]:
    """Return the grid computed the slow, obvious way."""
    names = [factor.name for factor in study.factors]
    product = [
        dict(zip(names, combination, strict=True))
        for combination in itertools.product(*(factor.levels for factor in study.factors))
    ]
    included = [cell for cell in product if any(grid.matches(cell, block) for block in study.include or ({},))]
    return [cell for cell in included if not any(grid.matches(cell, block) for block in study.exclude)]


@given(studies())
@settings(max_examples=100)
def test_grid_is_the_union_of_blocks_less_exclusions_each_cell_once(study):
    cells = [key(levels) for levels in grid.iter_levels(study)]
    assert len(cells) == len(set(cells))
    assert set(cells) == {key(levels) for levels in by_definition(study)}


@given(studies())
def test_declared_means_yielded(study):
    yielded = {key(levels) for levels in grid.iter_levels(study)}
    names = [factor.name for factor in study.factors]
    for combination in itertools.product(*(factor.levels for factor in study.factors)):
        levels = dict(zip(names, combination, strict=True))
        assert grid.is_declared(study, levels) == (key(levels) in yielded)
    assert not grid.is_declared(study, {})
    assert not grid.is_declared(study, dict.fromkeys(names, "no such level"))


@given(studies())
def test_order_is_block_by_block_and_the_last_factor_runs_fastest(study):
    if study.include or study.exclude:
        return
    names = [factor.name for factor in study.factors]
    product = itertools.product(*(factor.levels for factor in study.factors))
    assert [key(levels) for levels in grid.iter_levels(study)] == [
        key(dict(zip(names, combination, strict=True))) for combination in product
    ]


@given(studies())
def test_identities_differ_between_cells_and_follow_from_the_configuration(study):
    cells = list(grid.iter_levels(study))
    identities = [grid.cell_id(study, levels) for levels in cells]
    assert len(set(identities)) == len(cells)
    for identity, levels in zip(identities, cells, strict=True):
        assert identity == grid.cell_id_of(grid.cell_config(study, dict(reversed(levels.items()))))
        assert len(identity) == 12
        assert b'"settings"' in canonical_bytes(grid.cell_config(study, levels))


def big_study() -> Study:
    axes = {name: [f"{name}{i}" for i in range(100)] for name in "abc"}
    return parse_study(
        yaml.safe_dump({"schema_version": 1, "name": "s", "version": 1, "factors": axes}), folder=Path(".")
    )


def test_a_million_cells_cost_nothing_until_someone_walks_them():
    walk = grid.iter_levels(big_study())
    assert next(walk) == {"a": "a0", "b": "b0", "c": "c0"}
    assert next(walk) == {"a": "a0", "b": "b0", "c": "c1"}


def test_identity_changes_with_settings_and_with_the_study():
    def identity(**changes):
        document = {"schema_version": 1, "name": "s", "version": 1, "factors": {"a": [1]}, **changes}
        study = parse_study(yaml.safe_dump(document), folder=Path("."))
        return grid.cell_id(study, {"a": 1})

    assert identity() == identity(title="other", version=2)
    assert len({identity(), identity(name="t"), identity(settings={"lr": 0.1}), identity(settings={"lr": 0.2})}) == 4


def test_one_true_and_the_text_one_are_different_levels():
    assert not grid.has_level([1], True)
    assert not grid.has_level([1], 1.0)
    assert not grid.has_level(["1"], 1)
    assert grid.has_level([True, 1], 1)


def test_selection_is_read_as_levels_are_written():
    factors = {"dataset": ["lima", "alpaca"], "lora": [True, False], "lr": [0.5, 1]}
    selection = grid.parse_selection(["dataset=lima", "dataset=alpaca", "lora=true", "lr=0.5,1"], factors)
    assert selection == {"dataset": ("lima", "alpaca"), "lora": (True,), "lr": (0.5, 1)}
    assert grid.matches({"dataset": "lima", "lora": True, "lr": 1}, selection)
    assert not grid.matches({"dataset": "lima", "lora": False, "lr": 1}, selection)


@pytest.mark.parametrize(
    ("term", "part"),
    [
        ("dataset", "not a selection"),
        ("dataset=", "not a selection"),
        ("datset=lima", "did you mean 'dataset'?"),
        ("dataset=limo", "did you mean 'lima'?"),
    ],
)
def test_wrong_selection_names_the_nearest(term, part):
    with pytest.raises(UsageError, match=part.replace("?", r"\?")):
        grid.parse_selection([term], {"dataset": ["lima", "alpaca"]})


def test_cells_are_described_as_they_are_selected():
    assert grid.describe({"dataset": "lima", "lora": True, "seed": 0}) == "dataset=lima lora=true seed=0"
