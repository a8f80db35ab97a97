"""``release-kit encoding report``: maps of a finished analysis, from its folder alone."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("report")
@click.argument("analysis", type=click.Path(path_type=Path))
@json_option
def report_command(analysis: Path, as_json: bool) -> None:
    """Write the maps of the finished analysis ANALYSIS (an encoding.yaml or its folder) as a BIDS derivative.

    The tables go with them, under sourcedata/. The dataset and the models are not needed. The same analysis gives the same bytes.

    \b
    Example:
      release-kit encoding report analysis/
      release-kit bids validate analysis/derivative
      release-kit bids release analysis/derivative --out release/ --version 1.0.0 --no-words     # then build, publish
    """
    from release_kit.encoding.maps.results import DERIVATIVE, write_maps
    from release_kit.encoding.pipeline.published import add_tables

    folder = analysis if analysis.is_dir() else analysis.parent
    maps = write_maps(folder)
    tables = add_tables(folder, folder / DERIVATIVE)
    value = {"ok": True, "derivative": str(folder / DERIVATIVE), "maps": len(maps), "tables": len(tables)}
    emit(as_json, value, f"{counted(len(maps), 'map')} and the tables in {folder / DERIVATIVE}")
