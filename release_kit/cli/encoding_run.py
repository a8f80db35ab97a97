"""``release-kit encoding run``: an analysis from its file to its tables."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import Progress, counted, emit, json_option, progress


@click.command("run")
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--mode", type=click.Choice(("corrected", "paper", "both")), default=None, help="In place of the file's.")
@click.option("--keep-cleaned", is_flag=True, help="Leave the cleaned responses for a next run; they are large.")
@click.option("--remove-unused", is_flag=True, help="Remove fits and tests that the file does not ask for any more.")
@json_option
def run_command(analysis: Path, mode: str | None, keep_cleaned: bool, remove_unused: bool, as_json: bool) -> None:
    """Run the analysis ANALYSIS (an encoding.yaml or its folder), or continue it.

    Features, models of every layer and subject, layers chosen on cross-validation, tests, what bands explain alone,
    comparisons, tables. What is complete is kept; a change makes only what depends on it again. Everything that is
    wrong is said before anything is computed. Exit code 1 when it cannot be run.

    \b
    Example:
      release-kit encoding run analysis/
      release-kit encoding run analysis/encoding.yaml --mode both --json
    """
    from release_kit.encoding.pipeline.run import remove_folders, run_analysis
    from release_kit.encoding.spec.read import read_analysis

    with progress(quiet=as_json) as bar:
        report = run_analysis(
            read_analysis(analysis), mode=mode, keep_cleaned=keep_cleaned, on_event=lambda event: _show(bar, event)
        )
    if remove_unused:
        remove_folders(report.unused)
    emit(as_json, {**report.to_dict(), "lines": report.lines()}, lambda: "\n".join(_lines(report, remove_unused)))


def _show(bar: Progress, event: Any) -> None:
    kind = event["event"]
    if kind == "step":
        bar.start(event["what"], event.get("n"), "models")
    elif kind in ("fitted", "kept", "tested", "partitioned"):
        bar.advance()
    elif kind in ("voxels", "note"):
        bar.say(event["text"])


def _lines(report: Any, removed: bool) -> list[str]:
    lines = report.lines()
    lines += [f"note     {text}" for text in report.notes]
    lines.append(
        f"{counted(report.n_fitted, 'model')} fitted, {report.n_kept:,} kept; tables in {report.tables[0].parent}"
    )
    if report.unused:
        done = "removed" if removed else "not asked for any more; --remove-unused removes them"
        lines.append(f"{counted(len(report.unused), 'folder')} {done}")
    return lines
