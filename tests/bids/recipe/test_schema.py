"""The shipped JSON Schema says what the grammar says, to an independent validator."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from release_kit.bids.recipe.check_spans import check_spans
from release_kit.bids.recipe.codes import CODES
from release_kit.bids.recipe.grammar import RECIPE
from release_kit.bids.recipe.problems import RecipeError
from release_kit.bids.recipe.read import parse_recipe
from release_kit.bids.recipe.schema import SCHEMA_FILE, recipe_schema, schema_bytes
from release_kit.core.grammar.kinds import Key, Many, Named, Record
from release_kit.core.resources import resource_root

jsonschema = pytest.importorskip("jsonschema")

DOCS = Path(__file__).parents[3] / "docs" / "formats" / "recipe.md"


@pytest.fixture
def recipe(study: Path) -> dict:
    return yaml.safe_load((study / "recipe.yaml").read_text(encoding="utf-8"))


def test_the_shipped_schema_is_current():
    assert resource_root("bids").joinpath(SCHEMA_FILE).read_bytes() == schema_bytes(), (
        "write it again: docs/bids-recipe.md"
    )


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


def test_a_good_recipe_is_valid(recipe: dict):
    jsonschema.Draft202012Validator(recipe_schema()).validate(recipe)
    recipe["subjects"] = {"from": "private/pseudonyms.tsv"}
    jsonschema.Draft202012Validator(recipe_schema()).validate(recipe)


SPOILED = [
    ("schema_version", 2),
    ("dataset.authors", []),
    ("dataset.nmae", "x"),
    ("dataset.doi", "x"),
    ("subjects", {}),
    ("subjects.01.source", 1),
    ("subjects.01.age", [1]),
    ("tasks.fi-lm", {"name": "x"}),
    ("stimuli.film.duration_s", 0),
    ("stimuli.film.language", "English language"),
    ("recordings.kind", "nifty"),
    ("recordings.tr_s", "1"),
    ("recordings.dummy_scans", 1.5),
    ("runs", []),
    ("runs.0.run", -1),
    ("runs.0.shows.stimulus", None),
    ("runs.0.missing", {"01": 3}),
    ("anatomy.0.deface", "yes"),
    ("annotations.0.reader", "srtt"),
    ("annotations.0.clock", "film"),
    ("allow", [{"code": "file-missing", "reason": "x"}]),
    ("privacy", {"words": "x"}),
    ("sidecars", {"bold": 3}),
    ("more", 1),
]


@pytest.mark.parametrize(("key", "value"), SPOILED, ids=[key for key, _ in SPOILED])
def test_what_the_schema_refuses_reading_refuses_too(recipe: dict, study: Path, key: str, value: object):
    spoiled = copy.deepcopy(recipe)
    place = spoiled
    *path, last = key.split(".")
    for part in path:
        place = place[int(part)] if part.isdigit() and isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    assert not jsonschema.Draft202012Validator(recipe_schema()).is_valid(spoiled)
    with pytest.raises(RecipeError):
        parse_recipe(json.dumps(spoiled), folder=study)


def keys_of(record: Record, inside: str = "") -> list[tuple[str, Key]]:
    found = []
    for name, key in record.keys.items():
        found.append((f"{inside}{name}", key))
        kind = key.kind
        kind = kind.record if isinstance(kind, Many) else kind.value if isinstance(kind, Named) else kind
        if isinstance(kind, Record):
            found += keys_of(kind, f"{name}.")
    return found


def test_every_key_stands_on_the_page_of_the_format():
    page = DOCS.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    lacking = [
        name
        for name, key in keys_of(RECIPE)
        if not any(f"| `{name}` |" in row and f"| {key.doc} |" in row for row in rows)
    ]
    assert not lacking, lacking


def test_every_code_stands_on_the_page_of_the_format():
    page = DOCS.read_text(encoding="utf-8")
    assert not [name for name, code in CODES.items() if f"| `{name}` | {code.severity}" not in page]
    assert all(code.meaning in page for code in CODES.values())


def test_the_example_of_the_page_is_a_recipe(tmp_path: Path):
    text = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    recipe, unfilled = parse_recipe(text, folder=tmp_path)
    assert not unfilled
    assert [run.shows.start_s for run in recipe.runs] == [0, 700]
    assert not list(check_spans(recipe))
    jsonschema.Draft202012Validator(recipe_schema()).validate(yaml.safe_load(text))
