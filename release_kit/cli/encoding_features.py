"""``release-kit encoding features``: the features of an analysis, without any model of the recordings."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("features")
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--feature", "names", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--mode", type=click.Choice(("corrected", "paper")), default=None, help="Whose choices hold.")
@json_option
def features_command(analysis: Path, names: tuple[str, ...], mode: str | None, as_json: bool) -> None:
    """Make the features of the analysis ANALYSIS; those that are there and whole are kept.

    They lie under features/<key>/, a file a stimulus and layer. `run` makes them too; this command is for a machine
    that has the models.

    \b
    Example:
      release-kit encoding features analysis/
      release-kit encoding features analysis/ --feature story-smollm2
    """
    from release_kit.core.errors import UsageError
    from release_kit.core.records import nearest
    from release_kit.encoding.pipeline.choices import choices_of, modes_of
    from release_kit.encoding.pipeline.designs import make_features
    from release_kit.encoding.pipeline.inputs import open_inputs
    from release_kit.encoding.spec.read import read_analysis

    read = read_analysis(analysis)
    if unknown := [name for name in names if name not in read.features]:
        raise UsageError(f"there is no feature {unknown[0]!r}{nearest(unknown[0], list(read.features))}")
    choices = choices_of(read, mode or modes_of(read)[0])
    with progress(quiet=as_json) as bar:

        def say(event: Any) -> None:
            if event["event"] == "feature":
                bar.start(event["name"], None, "stimuli")
            elif event["event"] == "stimulus":
                bar.advance()

        made = make_features(read, open_inputs(read, choices), choices, say, names=names)
    rows = {name: made.first(name) for name in made.files}
    value = {name: {"key": files.key, "layers": list(files.layers), **files.counts()} for name, files in rows.items()}
    emit(
        as_json, {"ok": True, "features": value}, lambda: "\n".join(_line(name, files) for name, files in rows.items())
    )


def _line(name: str, files: Any) -> str:
    counts = files.counts()
    notes = [f"{counts[key]:,} {key.replace('_', ' ')}" for key in sorted(counts) if counts[key]]
    return f"{name}: {files.folder} (layers {', '.join(map(str, files.layers))}; {', '.join(notes)})"
