"""``release-kit encoding report``: maps and the report of a finished analysis, from its folder alone."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("report")
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--no-page", is_flag=True, help="Only the maps and tables, without pictures and report.html.")
@json_option
def report_command(analysis: Path, no_page: bool, as_json: bool) -> None:
    """Write maps and report of the finished analysis ANALYSIS (an encoding.yaml or its folder).

    The maps are a BIDS derivative, the tables go with them under sourcedata/, and its README holds the main results,
    which a card shows; report/report.html is one page with
    verdicts, numbers, pictures and where each number comes from. The dataset and the models are not needed. The same
    analysis gives the same bytes. A file that is not what was recorded when it was made is named, and nothing written.

    \b
    Example:
      release-kit encoding report analysis/
      release-kit bids validate analysis/derivative
      release-kit bids release analysis/derivative --out release/ --version 1.0.0 --no-words     # then build, publish
    """
    from release_kit.encoding.maps.results import DERIVATIVE, write_maps
    from release_kit.encoding.pipeline.intact import is_file_of_run, read_intact
    from release_kit.encoding.pipeline.published import add_tables
    from release_kit.encoding.report.readme import add_results

    folder = analysis.parent if analysis.is_file() else analysis
    same = is_file_of_run(read_intact(folder))
    maps = write_maps(folder)
    tables = add_tables(folder, folder / DERIVATIVE)
    add_results(folder, folder / DERIVATIVE)
    value: dict[str, Any] = {"ok": True, "derivative": str(folder / DERIVATIVE), "maps": len(maps)}
    value["tables"] = len(tables)
    value["encoding_yaml_is_what_was_run"] = same
    lines = (
        [] if same else ["note     encoding.yaml has changed since: this is what was run; encoding run makes the rest"]
    )
    lines += [f"{counted(len(maps), 'map')} and the tables in {folder / DERIVATIVE}"]
    if not no_page:
        from release_kit.encoding.report.report import write_report

        written = write_report(folder)
        value |= {"report": str(written.path), "pictures": len(written.pictures)}
        value["verdicts"] = [
            {"statement": each.statement, "verdict": each.verdict, "value": each.value} for each in written.verdicts
        ]
        lines.append(f"{written.path}: {counted(len(written.verdicts), 'verdict')}, "
                     f"{counted(len(written.pictures), 'picture')}")  # fmt: skip
    emit(as_json, value, "\n".join(lines))
