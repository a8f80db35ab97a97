"""``release-kit download``."""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("download")
@click.argument("reference")
@click.argument("dest", type=click.Path(path_type=Path), required=False)
@click.option("--select", multiple=True, metavar="FACTOR=LEVEL[,…]", help="Only cells with these levels; repeatable.")
@click.option("--into-cache", is_flag=True, help="Into the Hugging Face cache (DEST, or the user's own).")
@click.option("--update", is_flag=True, help="DEST holds another version: replace what differs.")
@click.option("--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="Parallel downloads.")
@click.option("--endpoint", help="Address of the Hub; HF_ENDPOINT or the public one by default.")
@click.option("--tier", help="Account tier whose request budget is kept.")
@json_option
def download_command(
    reference: str,
    dest: Path | None,
    select: tuple[str, ...],
    into_cache: bool,
    update: bool,
    workers: int,
    endpoint: str | None,
    tier: str | None,
    as_json: bool,
) -> None:
    """Download the release REFERENCE into the folder DEST, every byte verified before a file gets its name.

    Interrupt it at any time and run it again: it continues. Cells that are selected later are added.

    \b
    Example:
      release-kit download my-lab/study@v1.0.0 copy/
      release-kit download my-lab/study@v1.0.0 copy/ --select dataset=lima,alpaca --select seed=0
      release-kit download my-lab/study@v1.0.0 --into-cache
    """
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.hub.client import HubClient
    from release_kit.hub.reference import parse_reference
    from release_kit.release.download.release import Callbacks, DownloadOptions, download_release

    parsed = parse_reference(reference)
    options = DownloadOptions(select=select, into_cache=into_cache, update=update, workers=workers)
    with progress(as_json) as bar, DigestCache(default_cache_path()) as cache:
        callbacks = Callbacks(on_start=bar.start, on_bytes=bar.advance)
        with HubClient(endpoint or parsed.endpoint, tier=tier, on_wait=_waiter(bar)) as client:
            report = download_release(client, parsed, dest, options, cache=cache, callbacks=callbacks)
    emit(as_json, _value(report), lambda: _text(report))


def _waiter(bar):
    return lambda seconds, reason: bar.say(f"waiting {seconds:.0f} s: {reason}")


def _value(report) -> dict:
    manifest, outcome = report.release.manifest, report.outcome
    return {
        "ok": True,
        "study": manifest.study,
        "version": manifest.version,
        "root": manifest.root,
        "commit": report.release.commit,
        "folder": str(report.folder),
        "cells": list(report.cells),
        "n_cells_of_release": len(manifest.cells),
        "n_files": report.n_files,
        "n_bytes": report.n_bytes,
        "n_present": outcome.n_present,
        "n_fetched": outcome.n_fetched,
        "n_bytes_fetched": outcome.n_bytes_fetched,
        "n_copied": outcome.n_copied,
        "replaced": list(outcome.replaced),
        "removed": list(report.removed),
        "n_requests": report.n_requests,
    }


def _text(report) -> str:
    from release_kit.release.verify.report import human_bytes, shortened

    manifest, outcome = report.release.manifest, report.outcome
    cells = f"{len(report.cells)} of {len(manifest.cells)} cells"
    lines = [
        f"{manifest.study} {manifest.version}: {cells}, {report.n_files} files, {human_bytes(report.n_bytes)}",
        f"  fetched    {outcome.n_fetched} files, {human_bytes(outcome.n_bytes_fetched)}"
        f" ({outcome.n_present} were here, {outcome.n_copied} copied from equal ones)",
        f"  folder     {report.folder}",
        f"  root       sha256:{manifest.root}",
    ]
    if outcome.replaced:
        lines.append(f"  replaced   {len(outcome.replaced)} wrong files, kept aside: {shortened(outcome.replaced)}")
    if report.removed:
        lines.append(f"  removed    {len(report.removed)} files of the former version")
    return "\n".join([*lines, f"  check it   release-kit verify {report.folder}"])
