"""``release-kit encoding report``: maps of a finished analysis, from its folder alone."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("report")
@click.argument("analysis", type=click.Path(path_type=Path))
@json_option
def report_command(analysis: Path, as_json: bool) -> None:
    """Write the maps of the finished analysis ANALYSIS (an encoding.yaml or its folder) as a BIDS derivative.

    The dataset and the models are not needed. The same analysis gives the same bytes.

    \b
    Example:
      release-kit encoding report analysis/
      release-kit bids validate analysis/derivative
    """
    from release_kit.encoding.maps.results import DERIVATIVE, write_maps

    folder = analysis if analysis.is_dir() else analysis.parent
    maps = write_maps(folder)
    value = {"ok": True, "derivative": str(folder / DERIVATIVE), "maps": len(maps)}
    emit(as_json, value, f"{counted(len(maps), 'map')} in {folder / DERIVATIVE}")
