"""``release-kit sft prepare``: put the base models, datasets and tasks of a study where it names them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option

SAY_EVERY = 100
"""Steps of pre-training between two lines on stderr."""


@click.command("prepare")
@click.argument("study", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Copy the study file there first."
)
@json_option
def prepare_command(study: Path, folder: Path | None, as_json: bool) -> None:
    """Make the base models, datasets and tasks that STUDY names and does not have yet.

    STUDY is a study's folder, or a file like studies/mini.yaml together with --dir. Data come out of packages whose
    digests are pinned, downloaded once; small base models are pre-trained here. A second run makes nothing.

    \b
    Example:
      release-kit sft prepare studies/mini.yaml --dir mini/
      release-kit sft prepare mini/ --json
    """
    from release_kit.sft.prepare.inputs import place_study, prepare_inputs
    from release_kit.sft.prepare.records import BaseRecord

    declared = place_study(study, folder)
    records = prepare_inputs(declared, on_event=None if as_json else _tell)
    bases = [record for record in records if isinstance(record, BaseRecord)]
    data = [record for record in records if not isinstance(record, BaseRecord)]
    value = {
        "ok": True,
        "study": str(declared.folder),
        "data": [record.to_dict() for record in data],
        "bases": [record.to_dict() for record in bases],
    }
    ready = f"{counted(len(data), 'data file')} and {counted(len(bases), 'base model')}"
    emit(as_json, value, f"{declared.name} {declared.version} is ready in {declared.folder}: {ready}")


def _tell(event: Mapping[str, Any]) -> None:
    if event["event"] == "ready":
        click.echo(f"  {event['summary']}", err=True)
    elif event["step"] % SAY_EVERY == 0:
        click.echo(f"  {event['base_model']}: step {event['step']}, loss {event['loss']:.3f}", err=True)
