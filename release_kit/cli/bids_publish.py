"""``release-kit bids publish``: a saved version to its siblings."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.bids_identity import require_names, search_of, search_options
from release_kit.cli.output import counted, emit, json_option, progress
from release_kit.core.errors import UsageError


@click.command("publish")
@click.argument("dataset", type=click.Path(file_okay=False, path_type=Path))
@click.option("--ria", type=click.Path(file_okay=False, path_type=Path), help="RIA store, as DataLad makes it.")
@click.option("--alias", default=None, help="Name of the dataset in the RIA store.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Folder with history and contents.")
@click.option("--tree", type=click.Path(file_okay=False, path_type=Path), help="Folder of plain files.")
@click.option("--web", type=click.Path(file_okay=False, path_type=Path), help="Repository for a web server to serve.")
@click.option("--name", default=None, help="Name of the sibling in git, when there are several of one kind.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Files copied at once.")
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="Recipe that DATASET was converted from: it lists the names."
)
@search_options
@json_option
def publish_command(dataset: Path, ria: Path | None, alias: str | None, directory: Path | None, tree: Path | None,
                    web: Path | None, name: str | None, workers: int, recipe: Path | None, words: tuple[str, ...],
                    no_words: bool, vouched: tuple[str, ...], as_json: bool) -> None:  # fmt: skip
    """Bring the saved version of DATASET to one or more siblings; each call continues what is there.

    Whatever would leave is searched first for what may identify a person, earlier versions too (a plain tree takes
    none of them). What was searched at `save --recipe` or an earlier call is not searched again.

    \b
    Example:
      release-kit bids publish dataset/ --ria /store --alias films
      release-kit bids publish dataset/ --tree /public/films --web /srv/www/films --recipe study/recipe.yaml
    """
    from release_kit.bids.versioning.siblings import publish_dataset

    asked = {"ria": ria, "directory": directory, "tree": tree, "web": web}
    places = {kind: place for kind, place in asked.items() if place is not None}
    if not places:
        raise UsageError("no sibling is named", next_step="name one: --ria, --directory, --tree or --web")
    if name is not None and len(places) > 1:
        raise UsageError("--name is the name of one sibling", next_step="publish to one sibling a call")
    search = search_of(recipe, words, no_words, vouched)
    require_names(search, recipe)
    reports = []
    with progress(quiet=as_json) as bar:

        def say(event: Any) -> None:
            if event["event"] == "copied":
                bar.advance()
            elif event["event"] == "waiting":
                bar.say(f"waiting for what a publication that was ended has left at work: {event['who']}")
            else:
                bar.say(f"searching {counted(event['n'], 'file')} for what may identify a person")

        for kind, place in places.items():
            bar.start(f"copying to {kind}", None, "files")
            reports.append(
                publish_dataset(dataset, kind, place, name=name, alias=alias if kind == "ria" else None,
                                workers=workers, search=search, on_event=say)
            )  # fmt: skip
    lines = [
        f"{report.kind:<10} {report.version}, {counted(report.n_contents, 'content')}  →  {report.ref}"
        for report in reports
    ]
    lines += [f"  note: {note}" for report in reports for note in report.notes]
    emit(as_json, {"ok": True, "siblings": [report.to_dict() for report in reports]}, "\n".join(lines))
