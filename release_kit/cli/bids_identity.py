"""Options of ``release-kit bids`` with which somebody says what may identify a person and must appear nowhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from release_kit.core.errors import UsageError


def search_options(command: Callable) -> Callable:
    """Add ``--word``, ``--no-words`` and ``--vouch``; ``--recipe`` is the command's own."""
    for option in (
        click.option("--vouch", "vouched", multiple=True, metavar="PATH",
                     help="You have looked into this file, which no program can; a pattern such as '*.mat' too."),
        click.option("--no-words", is_flag=True, help="Say that there is no name that must appear nowhere."),
        click.option("--word", "words", multiple=True, help="A name that must appear nowhere; may be given again."),
    ):  # fmt: skip
        command = option(command)
    return command


def search_of(recipe: Path | None, words: tuple[str, ...], no_words: bool, vouched: tuple[str, ...]) -> Any:
    """Return what is searched for, and by whose word; a recipe that lists no names says nothing about names.

    Raises:
        UsageError: the options contradict each other.
        ReleaseKitError: the recipe cannot be read.
    """
    from release_kit.bids.versioning.identity import Search

    privacy = None
    if recipe is not None:
        from release_kit.bids.recipe.pseudonyms import secret_words
        from release_kit.bids.recipe.read import read_recipe

        declared = read_recipe(recipe)
        privacy, words = declared.privacy, (*secret_words(declared), *words)
    if no_words and words:
        raise UsageError("--no-words says that there are no names, and there are some",
                         next_step="leave it out, or --recipe and --word")  # fmt: skip
    return Search(words=words if words or no_words else None, privacy=privacy, vouched=vouched)


def require_names(search: Any, recipe: Path | None) -> None:
    """Refuse a recipe that was named for its list of names and has none.

    Raises:
        UsageError: it lists none; the recipe inside a dataset never does.
    """
    if recipe is not None and search.words is None:
        step = "name the recipe beside the recordings, or words: --word; or say that there are none: --no-words"
        what = "lists no names of people in the lab (the recipe inside a dataset never does)"
        raise UsageError(what, where=str(recipe), next_step=step)
