"""``release-kit bids check``: a recipe against its recordings, before anything is written."""

from itertools import groupby
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

N_SHOWN = 10
"""Problems of one code that are spelled out for people; ``--all`` and ``--json`` have every one."""


@click.command("check")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--sources", type=click.Path(file_okay=False, path_type=Path), envvar="RELEASE_KIT_SOURCES", show_envvar=True,
    help="Folder of recordings and annotations, if not where the recipe says.",
)  # fmt: skip
@click.option(
    "--pseudonyms", type=click.Path(dir_okay=False, path_type=Path), envvar="RELEASE_KIT_PSEUDONYMS", show_envvar=True,
    help="TSV of participant_id and source: names in the lab, for a recipe that does not know them.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Threads that read headers.")
@click.option("--all", "show_all", is_flag=True, help=f"Print every problem, not only the first {N_SHOWN} of a kind.")
@json_option
def check_command(
    recipe: Path, sources: Path | None, pseudonyms: Path | None, workers: int | None, show_all: bool, as_json: bool,
) -> None:  # fmt: skip
    """Hold RECIPE against its recordings and annotation files, and report everything that is wrong at once.

    RECIPE is a recipe.yaml, or the folder it lies in. Nothing is written. Exit code 1 when there are errors; warnings
    alone are 0. A draft that is not filled in is checked as far as it goes.

    \b
    Example:
      release-kit bids check study/recipe.yaml
      release-kit bids check study/recipe.yaml --sources /data/raw --json | jq .codes
    """
    from release_kit.bids.convert.private import with_private
    from release_kit.bids.recipe.check import check_recipe
    from release_kit.bids.recipe.read import read_draft

    read, unfilled = read_draft(recipe, sources=sources)
    read = with_private(read, pseudonyms=pseudonyms)
    with progress(quiet=as_json) as bar:
        bar.start("recordings", None, "recordings")
        report = check_recipe(read, workers=workers, known=unfilled, on_event=lambda *_: bar.advance())
    emit(as_json, report.to_dict(), lambda: _text(report, show_all))
    if not report.ok:
        raise click.exceptions.Exit(1)


def _text(report: Any, show_all: bool) -> str:
    recipe = report.recipe
    lines = [
        f"{recipe.dataset.name} {recipe.dataset.version}: {counted(len(recipe.subjects), 'subject')}, "
        f"{counted(report.n_runs(), 'run')} of {_duration(report.seconds())}, "
        f"{counted(len(recipe.stimuli), 'stimulus', 'stimuli')}, "
        f"{counted(len(recipe.annotations), 'annotation source')}"
    ]
    for code, group in groupby(report.problems, key=lambda problem: problem.code):
        problems = list(group)
        lines.append(f"\n{problems[0].severity} {code}")
        shown = problems if show_all else problems[:N_SHOWN]
        lines += [f"  {problem.sentence()}" for problem in shown]
        if len(shown) < len(problems):
            lines.append(f"  … and {len(problems) - len(shown):,} more (--all shows them)")
    for problem, reason in report.accepted:
        lines.append(f"\naccepted {problem.code}\n  {problem.where}: {problem.what} — {reason}")
    verdict = "ready to convert" if report.ok else "not ready to convert"
    counts = f"{counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}"
    return "\n".join([*lines, f"\n{verdict}: {counts}"])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min {rest:02d} s" if hours else f"{minutes} min {rest:02d} s"
