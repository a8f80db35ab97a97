"""``release-kit encoding check``: what an analysis will do, and everything that keeps it from being done."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("check")
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--mode", type=click.Choice(("corrected", "paper", "both")), default=None, help="In place of the file's.")
@click.option("--values", is_flag=True, help="Read every value of every recording, not only the first volumes.")
@json_option
def check_command(analysis: Path, mode: str | None, values: bool, as_json: bool) -> None:
    """Say what the analysis ANALYSIS (an encoding.yaml or its folder) will do; nothing is computed or written.

    Samples of every run, what trains and what is held out, features, number of models, memory, disk and time, and
    everything that is wrong with file, recordings, annotations and models. Exit code 1 when anything is.

    Of recordings headers and the first volumes are read; of models everything but their weights.

    \b
    Example:
      release-kit encoding check analysis/
      release-kit encoding check analysis/encoding.yaml --mode paper --json
      release-kit encoding check analysis/ --values
    """
    from dataclasses import replace

    from release_kit.encoding.pipeline.check import check_analysis
    from release_kit.encoding.spec.read import read_analysis

    read = read_analysis(analysis)
    found = check_analysis(replace(read, mode=mode or read.mode), values=values)
    emit(as_json, found.to_dict(), lambda: "\n".join(_lines(found, values)))
    if not found.ok:
        click.get_current_context().exit(1)


def _lines(found: Any, values: bool) -> list[str]:
    from release_kit.encoding.pipeline.check import sentence

    lines = []
    for (mode, *runs), subjects in _groups(found.runs).items():
        n_train, n_held_out = sum(row[2] for row in runs), sum(row[3] for row in runs)
        titles = dict.fromkeys(title for _, title, *_ in runs)
        lines.append(
            f"{', '.join(f'sub-{subject}' for subject in subjects)} ({mode}): {n_train:,} training and "
            f"{n_held_out:,} held-out samples, {counted(len(runs), 'run')} of {counted(len(titles), 'title')}"
        )
        lines += [
            f"  {name:<32} {train:>6,} train {held_out:>6,} held out of {n_volumes:,}"
            for name, _, train, held_out, n_volumes in runs
        ]
    for feature in found.features:
        layers = "layers told by the model" if feature.layers is None else counted(feature.layers, "layer")
        width = "" if feature.width is None else f" of {counted(feature.width, 'column')}"
        missing = f", {feature.n_missing:,} without an annotation" if feature.n_missing else ""
        lines.append(f"{feature.name}: {layers}{width}, {counted(feature.n_bins, 'second')} of "
                     f"{counted(feature.n_stimuli, 'stimulus', 'stimuli')}{missing}")  # fmt: skip
    if found.runs:
        lines.append(sentence(found))
    if found.looked_at:
        more = "" if values else "; --values reads every one"
        lines.append(f"values   {found.looked_at} were read{more}")
    lines += [f"note     {text}" for text in found.notes]
    lines += [f"error    {problem.sentence()}" for problem in found.problems]
    lines.append(f"{counted(len(found.problems), 'error')}" + ("" if found.problems else ": it can be run"))
    return lines


def _groups(rows: Any) -> dict[tuple, list[str]]:
    """Return mode and runs → the subjects with exactly these samples."""
    of_subject: dict[tuple[str, str], list[tuple]] = {}
    for row in rows:
        run = tuple(row[name] for name in ("run", "title", "n_train", "n_held_out", "n_volumes"))
        of_subject.setdefault((row["mode"], row["subject"]), []).append(run)
    found: dict[tuple, list[str]] = {}
    for (mode, subject), runs in of_subject.items():
        found.setdefault((mode, *runs), []).append(subject)
    return found
