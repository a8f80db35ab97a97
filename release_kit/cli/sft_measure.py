"""``release-kit sft measure``: properties of the datasets and changes of the layers, as two tables of the study."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import Progress, counted, emit, json_option, progress

N_SHOWN = 20
"""Problems that people see; ``--json`` has them all."""


@click.command("measure")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--properties", "only_properties", is_flag=True, help="Only the datasets.")
@click.option("--layers", "only_layers", is_flag=True, help="Only the layers.")
@click.option(
    "--ranks",
    type=click.Choice(["none", "sample", "all"]),
    default="sample",
    show_default=True,
    help="Ranks of full models' changes: of no layer, of five, of all.",
)
@click.option(
    "--max-examples", type=click.IntRange(min=1), default=1000, show_default=True, help="Examples of each data file."
)
@json_option
@click.pass_context
def measure_command(
    context: click.Context,
    study: Path,
    only_properties: bool,
    only_layers: bool,
    ranks: str,
    max_examples: int,
    as_json: bool,
) -> None:
    """Measure the datasets of STUDY and how far training moved every layer of its cells.

    Writes tables/dataset_properties.parquet, tables/contamination_hits.parquet and tables/layer_changes.parquet. Only
    what is new or changed is computed; an interrupted run continues. Exit code 1 when something could not be measured:
    it is named and has no rows.

    \b
    Example:
      release-kit sft measure mini/
      release-kit sft measure mini/ --layers --ranks all
      release-kit sft measure mini/ --properties --json | jq .properties.problems
    """
    from release_kit.core.study import read_study
    from release_kit.sft.measure.layers import update_layers
    from release_kit.sft.measure.properties import update_properties

    declared = read_study(study)
    both = only_properties == only_layers
    reports: dict[str, Any] = {}
    with progress(as_json) as bar:
        if both or only_properties:
            reports["properties"] = update_properties(declared, _Shown(bar, "datasets"), max_examples=max_examples)
        if both or only_layers:
            reports["layers"] = update_layers(declared, _Shown(bar, "layers"), ranks=ranks)
    ok = all(report.ok for report in reports.values())
    value = {"ok": ok, **{name: _value(report, declared.folder) for name, report in reports.items()}}
    emit(as_json, value, lambda: "\n".join(line for report in reports.values() for line in _lines(report, declared)))
    if not ok:
        context.exit(1)


class _Shown:
    """Events of one measurement on a progress bar, begun when the first one says how many there are."""

    def __init__(self, bar: Progress, label: str):
        self._bar, self._label, self._begun = bar, label, False

    def __call__(self, event: Any) -> None:
        if not self._begun:
            self._bar.start(self._label, event.n_total, unit="units")
            self._begun = True
        self._bar.advance()
        if event.problem is not None:
            self._bar.say(str(event.problem))


def _value(report: Any, folder: Path) -> dict[str, Any]:
    return {**report.to_dict(), "table": report.path.relative_to(folder).as_posix()}


def _lines(report: Any, study: Any) -> list[str]:
    table = report.path.relative_to(study.folder).as_posix()
    state = "written" if report.changed else "unchanged"
    known = f"{report.n_computed:,} parts measured, {report.n_remembered:,} known before"
    lines = [f"{table}: {counted(report.n_rows, 'row')}, {state} ({known})"]
    shown = [f"  {problem}" for problem in report.problems[:N_SHOWN]]
    more = len(report.problems) - N_SHOWN
    shown += [f"  … and {more} more (--json lists all)"] if more > 0 else []
    return lines + ([f"not measured ({len(report.problems)})", *shown] if shown else [])
