"""``release-kit bids quality``: a report on the annotations of a recipe or of a dataset."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

SHOWN = 30
"""Findings printed; all of them are in the report."""


@click.command("quality")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write quality.html and quality.json there."
)
@click.option(
    "--embed/--no-embed", default=True, help="Compare meanings with a sentence encoder, where one is installed."
)
@json_option
def quality_command(study: Path, out: Path | None, embed: bool, as_json: bool) -> None:
    """Report on the annotations of STUDY: a recipe, or the folder of a dataset.

    Coverage, gaps, overlaps, order, duplicates, drift against runs and between annotators, agreement beside its chance
    level, texts that are suspiciously equal, translations that are none. The exit code is 1 when times cannot be right.

    \b
    Example:
      release-kit bids quality study/recipe.yaml --out report/
      release-kit bids quality dataset/ --no-embed --json | jq .findings
    """
    from release_kit.bids.annotations.quality import quality_report

    source, table = _read(study)
    with progress() as bar:
        quality = quality_report(source, table, embed=embed, say=bar.say)
    if out is not None:
        _write(quality, out)
    emit(as_json, quality.to_dict(), lambda: _text(quality, out))
    if not quality.ok:
        raise click.exceptions.Exit(1)


def _read(study: Path) -> tuple[Any, Any]:
    if (study / "dataset_description.json").is_file():
        from release_kit.bids.annotations.write import read_dataset_annotations

        return study, read_dataset_annotations(study)
    from release_kit.bids.annotations.collect import collect_annotations
    from release_kit.bids.recipe.read import read_recipe

    recipe = read_recipe(study)
    return recipe, collect_annotations(recipe)


def _write(quality: Any, out: Path) -> None:
    from release_kit.bids.annotations.report_html import render_report
    from release_kit.core.canonical import document_bytes
    from release_kit.core.files import write_atomic

    write_atomic(out / "quality.json", document_bytes(quality.to_dict()))
    write_atomic(out / "quality.html", render_report(quality).encode("utf-8"))


def _text(quality: Any, out: Path | None) -> str:
    hours = sum(stimulus.duration_s or 0.0 for stimulus in quality.stimuli) / 3600
    lines = [
        f"{quality.name}: {counted(len(quality.stimuli), 'stimulus', 'stimuli')} ({hours:.2f} h), "
        f"{counted(len(quality.tracks), 'track')}, {counted(sum(t.n_intervals for t in quality.tracks), 'interval')}",
        "",
        *_tracks(quality),
        *_agreements(quality),
        *_findings(quality),
        *(f"  note: {note}" for note in quality.notes),
    ]
    return "\n".join(lines + ([f"  report: {out / 'quality.html'}"] if out is not None else []))


def _tracks(quality: Any) -> list[str]:
    width = max((len(track.annotation) for track in quality.tracks), default=0)
    stimuli = max((len(track.stimulus) for track in quality.tracks), default=0)
    return [
        f"  {track.stimulus:<{stimuli}}  {track.annotation:<{width}}  {track.coverage:6.1%} covered  "
        f"{track.n_intervals:>6,} intervals  {track.n_gaps:>5,} gaps"
        for track in quality.tracks
    ]


def _agreements(quality: Any) -> list[str]:
    lines = []
    for item in quality.agreements:
        if item.f1 is not None:
            chance = f" (chance {item.f1_null.mean:.2f})" if item.f1_null else ""
            meant = f", meaning {item.cosine:.2f}" if item.cosine is not None else ""
            meant += f" (chance {item.cosine_null.mean:.2f})" if item.cosine_null else ""
            lines.append(f"  {item.stimulus}: {item.left} and {item.right} share tokens {item.f1:.2f}{chance}{meant}")
    return ["", *lines] if lines else []


def _findings(quality: Any) -> list[str]:
    n_errors = sum(finding.severity == "error" for finding in quality.findings)
    n_warnings = len(quality.findings) - n_errors
    lines = ["", f"  {counted(n_errors, 'error')}, {counted(n_warnings, 'warning')}"]
    for finding in quality.findings[:SHOWN]:
        times = f" ({finding.n}×)" if finding.n > 1 else ""  # noqa: RUF001
        lines.append(f"  {finding.severity}: {finding.where}: {finding.what}{times} [{finding.code}]")
    more = len(quality.findings) - SHOWN
    return lines + ([f"  … and {more:,} more"] if more > 0 else [])
