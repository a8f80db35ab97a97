"""Reads ``recipe.yaml`` into a ``Recipe``; everything that is wrong is said at once, with its line.

The grammar is ``grammar.py``'s, the paths of sources ``paths.py``'s (their functions are found here too). Nothing
outside the recipe, its table of pseudonyms and the vocabulary of levels is opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.build import build_recipe
from release_kit.bids.recipe.grammar import RECIPE
from release_kit.bids.recipe.model import SCHEMA_VERSION, Level, Recipe
from release_kit.bids.recipe.paths import AnnotationFile as AnnotationFile
from release_kit.bids.recipe.paths import anatomy_source as anatomy_source
from release_kit.bids.recipe.paths import annotation_files as annotation_files
from release_kit.bids.recipe.paths import run_source as run_source
from release_kit.bids.recipe.paths import source_path as source_path
from release_kit.bids.recipe.problems import Problem, RecipeError
from release_kit.bids.recipe.pseudonyms import read_pseudonyms
from release_kit.bids.recipe.references import check_references
from release_kit.core.errors import StudyError
from release_kit.core.grammar.values import Findings, read_record
from release_kit.core.grammar.yaml_text import is_broken, places_of, refuse_swelling

RECIPE_FILE = "recipe.yaml"


def read_recipe(path: Path, *, sources: Path | None = None) -> Recipe:
    """Return the recipe in ``path`` (the file, or the folder of a ``recipe.yaml``).

    Args:
        path: the YAML file.
        sources: folder that file patterns are relative to, instead of the recipe's ``sources`` or its own folder.

    Raises:
        StudyError: there is no such file.
        RecipeError: it is not valid, or a draft that is not filled in; holds every problem with its line.
    """
    recipe, unfilled = read_draft(path, sources=sources)
    if unfilled:
        raise RecipeError(unfilled, where=str(path))
    return recipe


def read_draft(path: Path, *, sources: Path | None = None) -> tuple[Recipe, tuple[Problem, ...]]:
    """Return a recipe whose free texts may still say FILL IN, and a problem for each of them.

    Raises:
        StudyError: there is no such file.
        RecipeError: anything else is wrong with it; then what is not filled in stands there too.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        step = "name a recipe.yaml; `release-kit bids init FOLDER` writes a first one"
        raise StudyError(f"no recipe can be read here ({reason})", where=str(file), next_step=step) from error
    return parse_recipe(text, folder=file.parent, where=str(file), sources=sources)


def parse_recipe(
    text: str, *, folder: Path, where: str = RECIPE_FILE, sources: Path | None = None
) -> tuple[Recipe, tuple[Problem, ...]]:
    """Parse the text of a recipe; see ``read_draft``.

    Raises:
        RecordError: it is no YAML, or a key stands twice.
        RecipeError: it does not follow the grammar or contradicts itself.
    """
    from release_kit.core.strict_yaml import parse_yaml

    refuse_swelling(text, where)
    loaded = parse_yaml(text, where)
    found = Findings()
    vocabulary = vocabulary_levels()
    if isinstance(loaded, dict):
        loaded = {**loaded, "subjects": read_pseudonyms(loaded.get("subjects"), folder, found)}
        if loaded.get("schema_version") not in (None, SCHEMA_VERSION):
            step = f"this release_kit reads {SCHEMA_VERSION}; update release_kit"
            found.refuse("schema_version", f"is {loaded['schema_version']!r}", step)
    values = read_record(RECIPE, loaded, "", found)
    if isinstance(values, dict):
        check_references(values, vocabulary, found)
    place = places_of(text, where) if found.problems or found.unfilled else (lambda key: where)
    if found.problems:
        raise RecipeError(found.to_problems(place, unfilled=True), where=where)
    unfilled = found.to_problems(place, unfilled=True)
    if is_broken(values):
        raise RecipeError(unfilled, where=where)
    recipe = build_recipe(values, folder=folder, sources=sources, vocabulary=vocabulary)
    return recipe, tuple(unfilled)


def vocabulary_levels() -> dict[str, Level]:
    """Return the levels that ship with release_kit (``bids/levels.yaml``)."""
    from release_kit.core.resources import resource_root
    from release_kit.core.strict_yaml import parse_yaml

    file = resource_root("bids").joinpath("levels.yaml")
    if not file.is_file():
        return {}
    loaded = parse_yaml(file.read_text(encoding="utf-8"), "bids/levels.yaml")
    entries: Mapping[str, Mapping[str, Any]] = loaded.get("levels", loaded)
    return {
        name: Level(name=name, description=" ".join(entry["description"].split()), granularity=entry.get("granularity"))
        for name, entry in entries.items()
        if isinstance(entry, dict)
    }
