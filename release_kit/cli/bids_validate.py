"""``release-kit bids validate``: judge a dataset, ours or anybody's."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("validate")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--content/--no-content", default=None, help="Demand all content, or open no image; else what is here.")
@click.option("--recipe", type=click.Path(path_type=Path), help="Recipe whose words and names must not appear.")
@click.option("--word", "words", multiple=True, help="A word that must appear nowhere; may be given again.")
@click.option("--strict", is_flag=True, help="Fail on warnings too, and on anything that could not be looked at.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write the report as one HTML page.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report as JSON.")
@click.option("--all", "everything", is_flag=True, help="List every place, not the first of each code.")
@click.option("--explain", metavar="CODE", help="Say what one of our codes means, or list `all`, and end.")
@json_option
def validate_command(
    path: Path | None,
    content: bool | None,
    recipe: Path | None,
    words: tuple[str, ...],
    strict: bool,
    page: Path | None,
    report: Path | None,
    everything: bool,
    explain: str | None,
    as_json: bool,
) -> None:
    """Judge the dataset at PATH and each of its derivatives; nothing in it is changed, loaded or sent anywhere.

    Runs the reference validator with all rows of all tables, and checks of our own: stimuli, annotations and events
    against the runs, images under two labels, participants, pickles, and everything that may identify a person. A
    clone without its content is judged by what is there, and the report lists what is not. Exit code 1 on any error.

    \b
    Example:
      release-kit bids validate dataset/ --html report.html
      release-kit bids validate dataset/ --recipe study/recipe.yaml --strict
      release-kit bids validate --explain content-under-two-labels
    """
    if explain:
        click.echo(_explained(explain))
        return
    if path is None:
        raise click.UsageError("Missing argument 'PATH'.")
    judged = _judged(path, content, recipe, words, as_json)
    _write(judged, page, report)
    passed = judged.passed(strict=strict)
    failure = judged.strict_failure() if strict else None
    shown = {**judged.to_dict(), "ok": passed} | ({"strict": failure} if failure else {})
    emit(as_json, shown, lambda: "\n".join(filter(None, (judged.text(everything=everything), failure))))
    if not passed:
        raise click.exceptions.Exit(1)


def _judged(path: Path, content: bool | None, recipe: Path | None, words: tuple[str, ...], quiet: bool) -> Any:
    from release_kit.bids.validate.run import validate_dataset

    privacy, allow = None, ()
    if recipe is not None:
        from release_kit.bids.recipe.pseudonyms import secret_words
        from release_kit.bids.recipe.read import read_recipe

        declared = read_recipe(recipe)
        privacy, allow = declared.privacy, declared.allow
        words = (*words, *secret_words(declared))
    with progress(quiet) as shown:
        return validate_dataset(path, content=content, words=words, privacy=privacy, allow=allow, on_event=shown.say)


def _write(judged: Any, page: Path | None, report: Path | None) -> None:
    from release_kit.core.files import write_atomic

    if page is not None:
        write_atomic(page, judged.html().encode())
    if report is not None:
        write_atomic(report, judged.to_bytes())


def _explained(name: str) -> str:
    from release_kit.bids.validate.codes import CODES, explain

    return "\n\n".join(map(explain, CODES)) if name == "all" else explain(name)
