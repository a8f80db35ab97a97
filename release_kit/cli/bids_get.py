"""``release-kit bids get``: a dataset, or one subject or level of it."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

N_SHOWN = 20


@click.command("get")
@click.argument("ref")
@click.argument("dest", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subject", "subjects", multiple=True, metavar="LABEL", help="Only this subject; may be given again.")
@click.option("--level", "levels", multiple=True, help="Only this level of annotation; may be given again.")
@click.option("--version", default=None, help="The version to get; without it the newest.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Files fetched at once.")
@json_option
def get_command(ref: str, dest: Path, subjects: tuple[str, ...], levels: tuple[str, ...], version: str | None,
                workers: int, as_json: bool) -> None:  # fmt: skip
    """Fetch the dataset at REF into DEST; a second call continues, or adds another subject or level.

    REF is a folder (a clone, a directory or a plain tree), http(s)://…, or ria+file:///STORE#~NAME. Exit code 1 when
    something could not be had, or was refused because its bytes are not those of the version.

    \b
    Example:
      release-kit bids get ria+file:///store#~films films/ --subject 01
      release-kit bids get https://data.example.org/films films/ --level story
    """
    from release_kit.bids.versioning.get import get_dataset

    with progress(quiet=as_json) as bar:

        def say(event: Any) -> None:
            if event["event"] == "wanted":
                bar.start("fetching", event["n"], "files")
            else:
                bar.advance()

        report = get_dataset(
            ref, dest, subjects=subjects, levels=levels, version=version, workers=workers, on_event=say
        )
    emit(as_json, report.to_dict(), lambda: _text(report))
    if not report.ok:
        click.get_current_context().exit(1)


def _text(report: Any) -> str:
    some = "" if report.n_wanted == report.n_files else f" of {report.n_files:,}"
    lines = [
        f"{report.folder}: version {report.version or '(no version)'}, {counted(report.n_wanted, 'content')}{some}, "
        f"{report.size_bytes / 1e6:,.1f} MB; {report.n_fetched:,} fetched now"
        + (f", {len(report.failed):,} not here" if report.failed else "")
    ]
    lines += [f"failed   {text}" for text in report.failed[:N_SHOWN]]
    if len(report.failed) > N_SHOWN:
        lines.append(f"  … and {len(report.failed) - N_SHOWN} more (--json lists all)")
    return "\n".join(lines)
