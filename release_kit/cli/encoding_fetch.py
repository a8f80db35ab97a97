"""``release-kit encoding fetch``: responses, mask and annotations of one subject from a published dataset."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

N_SHOWN = 20


@click.command("fetch")
@click.argument("source")
@click.argument("dest", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subject", required=True, metavar="LABEL", help="Whose responses, without sub-.")
@click.option("--level", "levels", multiple=True, required=True, help="Level of annotation; may be given again.")
@click.option("--language", default=None, help="Language of the annotations; without it all.")
@click.option("--task", "tasks", multiple=True, metavar="LABEL", help="Only this film; may be given again.")
@click.option("--derivative", default=None, metavar="NAME", help="Of a BIDS dataset: the folder of the responses.")
@click.option("--space", default=None, help="Of a BIDS dataset: the space of the responses.")
@click.option("--desc", default=None, help="Of a BIDS dataset: the desc of the responses.")
@click.option("--mask", default=None, metavar="PATH", help="Of a BIDS dataset: the mask, with {subject} and {hemi}.")
@click.option("--surface", is_flag=True, help="Of a BIDS dataset: the responses are surfaces (.func.gii).")
@click.option("--version", default=None, help="Tag or commit; without it the newest.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Files fetched at once.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and how much it is; fetch nothing.")
@json_option
def fetch(source: str, dest: Path, subject: str, levels: tuple[str, ...], language: str | None, tasks: tuple[str, ...],
          version: str | None, workers: int, dry_run: bool, as_json: bool, **responses: Any) -> None:  # fmt: skip
    """Get from the DataLad dataset at SOURCE what the analysis of one subject needs, into DEST.

    Only its responses and mask and the annotations of the levels: of the published study 23.8 GB of 282.5 GB. Every
    file is held against its key. A second call continues, or adds a subject or a level. Exit code 1 when something
    could not be had.

    \b
    Example:
      release-kit encoding fetch https://github.com/OpenNeuroDatasets/ds005531 drama/ --subject S01 --level story \\
          --dry-run
      release-kit encoding fetch ria+file:///store#~films films/ --subject 01 --level story --derivative responses
    """
    from release_kit.encoding.data.fetch import fetch as fetch_subject

    with progress(quiet=as_json) as bar:

        def say(event: Any) -> None:
            if event["event"] == "wanted":
                bar.start("fetching", event["n"], "files")
            else:
                bar.advance()

        report = fetch_subject(
            source, dest, subject, levels, language=language, tasks=tasks, responses=_spec(**responses),
            version=version, workers=workers, dry_run=dry_run, on_event=say,
        )  # fmt: skip
    emit(as_json, report.to_dict(), lambda: _text(report))
    if not report.ok:
        click.get_current_context().exit(1)


def _spec(derivative: str | None, space: str | None, desc: str | None, mask: str | None, surface: bool) -> Any:
    """Return which recordings are meant, or None where nothing was said: then the layout is told by the names."""
    from release_kit.encoding.data.layout import ResponsesSpec

    if not any((derivative, space, desc, mask, surface)):
        return None
    kind = "surface" if surface else "volume"
    return ResponsesSpec(derivative=derivative, space=space, desc=desc, mask=mask, kind=kind)


def _text(report: Any) -> str:
    whole = f"{counted(len(report.files), 'file')} of {report.n_files:,}, {_size(report.size_bytes)} of "
    lines = [f"{report.folder}: {whole}{_size(report.total_bytes)} (layout {report.layout})"]
    if report.dry_run:
        folders: dict[str, list[Any]] = {}
        for file in report.files:
            folders.setdefault(file.path.rpartition("/")[0] or ".", []).append(file)
        for folder, files in sorted(folders.items()):
            size = sum(file.size_bytes or 0 for file in files)
            lines.append(f"  {_size(size):>10}  {counted(len(files), 'file'):>10}  {folder}")
        here = report.size_bytes - report.missing_bytes
        lines.append(f"to fetch {_size(report.missing_bytes)}; {_size(here)} are here; nothing was fetched")
    else:
        lines.append(f"{report.n_fetched:,} fetched now, {report.n_verified:,} held against their keys")
    lines += [f"failed   {text}" for text in report.failed[:N_SHOWN]]
    if len(report.failed) > N_SHOWN:
        lines.append(f"  … and {len(report.failed) - N_SHOWN} more (--json lists all)")
    return "\n".join(lines)


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,} B"
