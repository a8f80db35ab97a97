"""``release-kit bids init``: a first recipe from a folder."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=None,
    help="Where the recipe is written; FOLDER/recipe.yaml without.",
)  # fmt: skip
@json_option
def init_command(folder: Path, out: Path | None, as_json: bool) -> None:
    """Look at the recordings and annotations in FOLDER and write a first recipe.

    Subjects, tasks, runs, TR and lengths are guessed from names and headers, and every guess says so in a comment. What
    nobody can guess says FILL IN; `release-kit bids check` names what is left. An existing recipe is never overwritten.

    \b
    Example:
      release-kit bids init recordings/ --out study/recipe.yaml
      release-kit bids check study/recipe.yaml
    """
    from release_kit.bids.recipe.draft import draft_recipe
    from release_kit.core.errors import StudyError
    from release_kit.core.files import write_atomic
    from release_kit.core.grammar.values import FILL_IN

    path = out or folder / "recipe.yaml"
    if path.exists():
        step = "name another place with --out, or move it away"
        raise StudyError("a recipe is there already", where=str(path), next_step=step)
    text = draft_recipe(folder, recipe_folder=path.parent)
    write_atomic(path, text.encode("utf-8"))
    n_open = sum(FILL_IN in line.partition("#")[0] for line in text.splitlines())
    value = {"ok": True, "recipe": str(path), "n_lines_to_fill_in": n_open}
    emit(as_json, value, f"{path} written; {counted(n_open, 'line')} to fill in: release-kit bids check {path}")
