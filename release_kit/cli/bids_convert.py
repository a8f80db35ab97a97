"""``release-kit bids convert``: recipe and recordings → dataset."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

N_SHOWN = 20


@click.command("convert")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--sources", type=click.Path(file_okay=False, path_type=Path), envvar="RELEASE_KIT_SOURCES", show_envvar=True,
    help="Folder of recordings and annotations, if not where the recipe says.",
)  # fmt: skip
@click.option(
    "--pseudonyms", type=click.Path(dir_okay=False, path_type=Path), envvar="RELEASE_KIT_PSEUDONYMS", show_envvar=True,
    help="TSV of participant_id and source: names in the lab, for a recipe that does not know them.",
)  # fmt: skip
@click.option(
    "--shift-key", type=click.Path(dir_okay=False, path_type=Path), envvar="RELEASE_KIT_SHIFT_KEY", show_envvar=True,
    help="File with the secret of the date shift, for a recipe that does not name it.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Processes for images; one a core without.")
@click.option(
    "--only", type=click.Choice(["annotations"]), default=None,
    help="Only what follows from annotations; recordings are not needed.",
)  # fmt: skip
@click.option(
    "--take-over", is_flag=True,
    help="Replace committed files of a clone too, although conversion here does not remember them; git keeps them.",
)  # fmt: skip
@json_option
def convert_command(
    recipe: Path, dataset: Path, sources: Path | None, pseudonyms: Path | None, shift_key: Path | None,
    workers: int | None, only: str | None, take_over: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make DATASET what RECIPE describes. What is right already is not touched, so run it again as often as you like.

    RECIPE is a recipe.yaml, or the folder it lies in. Interrupted or killed, the next call continues and ends with the
    same bytes. A file in DATASET that conversion did not write is never overwritten: it is refused by name.

    \b
    Example:
      release-kit bids convert study/recipe.yaml dataset/
      release-kit bids convert study/recipe.yaml dataset/ --workers 8 --json
      release-kit bids convert code/release_kit/recipe.yaml . --only annotations
    """
    from release_kit.bids.convert.private import with_private
    from release_kit.bids.convert.run import convert
    from release_kit.bids.recipe.read import read_recipe

    read = with_private(read_recipe(recipe, sources=sources), pseudonyms=pseudonyms, shift_key=shift_key)
    with progress(quiet=as_json) as bar:
        tell = _teller(bar, as_json)
        report = convert(read, dataset, workers=workers, only=only, take_over=take_over, on_event=tell)
    emit(as_json, {"ok": True, "dataset": str(dataset), **report.to_dict()}, lambda: _text(report, dataset))


def _teller(bar: Any, quiet: bool) -> Callable[[Mapping[str, Any]], None]:
    """Return what takes the events: a bar in a terminal, a line for each image elsewhere."""
    lines = not quiet and not sys.stderr.isatty()

    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "header":
            if event["n"] == 1:
                bar.start("headers", event["total"], "files")
            bar.advance()
        elif event["event"] == "checked":
            for warning in event["warnings"] if not quiet else ():
                click.echo(f"warning: {warning}", err=True)
        elif event["event"] == "images":
            bar.start("images", event["total"], "images")
        elif event["event"] == "image":
            bar.advance()
            if lines:
                click.echo(f"{event['n']:,}/{event['total']:,}  {event['path']}", err=True)
        elif event["event"] == "leaks":
            bar.start("looking for what identifies", None, "files")

    return tell


def _text(report: Any, dataset: Path) -> str:
    lines = [
        f"{dataset}: {counted(len(report.written), 'file')} written, {len(report.unchanged):,} unchanged, "
        f"{len(report.removed):,} removed in {report.seconds:.1f} s"
    ]
    lines += [f"look at  {problem}" for problem in report.problems[:N_SHOWN]]
    if len(report.problems) > N_SHOWN:
        lines.append(f"  … and {len(report.problems) - N_SHOWN} more (--json lists all)")
    if report.pictures:
        lines.append(f"review the defaced images: {report.pictures}")
    return "\n".join(lines)
