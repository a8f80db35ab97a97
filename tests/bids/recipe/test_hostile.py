"""Whatever stands in a recipe, reading it ends in a recipe or in a sentence, soon."""

import copy
import json
from pathlib import Path
from typing import Any

import bids_factory
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.bids.recipe.problems import RecipeError
from release_kit.bids.recipe.read import parse_recipe
from release_kit.bids.recipe.schema import recipe_schema
from release_kit.core.errors import RecordError, ReleaseKitError

jsonschema = pytest.importorskip("jsonschema")
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())
GOOD = yaml.safe_load(bids_factory.RECIPE)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, item in inner for place in places(item, (*path, key))]


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=6) | st.just("FILL IN"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60)
@given(place=st.sampled_from(places(GOOD)), value=anything)
def test_any_value_at_any_key_is_read_or_refused_and_the_schema_refuses_no_more(place: tuple, value: Any):
    spoiled = copy.deepcopy(GOOD)
    inner: Any = spoiled
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    text = yaml.dump(spoiled, Dumper=yaml.CSafeDumper, allow_unicode=True)
    try:
        _, unfilled = parse_recipe(text, folder=Path())
    except ReleaseKitError as error:
        assert str(error)
        return
    if unfilled or value is None or "FILL IN" in text:
        return
    VALIDATOR.validate(spoiled)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str):
    with pytest.raises((RecordError, RecipeError)):
        parse_recipe(text, folder=Path())


def test_a_small_text_that_is_endless_once_followed_is_refused_soon():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(RecordError, match="aliases stand for more than"):
        parse_recipe("\n".join(levels), folder=Path())
    with pytest.raises(RecordError):
        parse_recipe("a: &a [*a]", folder=Path())
    with pytest.raises(ReleaseKitError):
        parse_recipe("[" * 600, folder=Path())


def test_aliases_of_good_size_are_followed():
    text = json.dumps(GOOD)
    aliased = yaml.safe_dump({**GOOD, "sidecars": {"bold": GOOD["dataset"], "T1w": GOOD["dataset"]}})
    assert "*id" in aliased
    assert parse_recipe(aliased, folder=Path())[0].sidecars["T1w"]["name"] == "Two films"
    assert parse_recipe(text, folder=Path())[0].dataset.name == "Two films"


@pytest.mark.parametrize("pattern", ["{source:>99999999999}", "{source!r}", "{run:999999999d}", "{run:02d!r}", "{0}"])
def test_formats_that_could_ask_for_gigabytes_are_refused(pattern: str):
    spoiled = copy.deepcopy(GOOD)
    spoiled["recordings"]["pattern"] = pattern
    with pytest.raises(RecipeError, match=r"is no pattern|nothing known"):
        parse_recipe(json.dumps(spoiled), folder=Path())
