"""``release-kit build``."""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("build")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(1), help="Hashing threads; one for each core by default.")
@click.option("--no-cache", is_flag=True, help="Read every byte, also of files that nobody touched.")
@json_option
def build_command(study: Path, workers: int | None, no_cache: bool, as_json: bool) -> None:
    """Build the release of STUDY: hash artifacts, write tables, cards and the manifest.

    A second build of an unchanged study reads no artifact and writes nothing. Interrupt it at any time and run it
    again.

    \b
    Example:
      release-kit build study/
      release-kit build study/ --json | jq .root
    """
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.core.study import read_study
    from release_kit.release.build import build_release

    declared = read_study(study)
    with DigestCache(None if no_cache else default_cache_path()) as cache, progress(as_json) as bar:
        report = build_release(declared, cache=cache, workers=workers, on_stage=bar.start, on_bytes=bar.advance)
    manifest = report.manifest
    value = {
        "ok": True,
        "study": manifest.study,
        "version": manifest.version,
        "root": manifest.root,
        "manifest": str(report.manifest_path),
        "n_cells": len(manifest.cells),
        "n_missing": report.n_missing,
        "n_files": report.n_files,
        "n_hashed": report.n_hashed,
        "n_bytes_hashed": report.n_bytes_hashed,
        "written": list(report.written),
        "removed": list(report.removed),
    }
    emit(as_json, value, lambda: _text(report, declared.folder))


def _text(report, folder: Path) -> str:
    from release_kit.release.stale import SIGNATURE_FILE

    manifest = report.manifest
    size = sum(entry.size_bytes for _, entry in manifest.iter_files())
    changed = f"{len(report.written)} written" if report.written else "nothing had changed"
    lines = [
        f"{manifest.study} {manifest.version}: {len(manifest.cells)} cells, {report.n_files} files, {size:,} bytes",
        f"  hashed     {report.n_hashed} files ({report.n_bytes_hashed:,} bytes), the others were remembered",
        f"  release    {changed}" + (f", {len(report.removed)} removed" if report.removed else ""),
        f"  root       sha256:{manifest.root}",
    ]
    if any(name.endswith(SIGNATURE_FILE) for name in report.removed):
        lines.append(f"  signature  no longer held and was removed; sign again: release-kit sign {folder} --key KEY")
    if report.n_missing:
        lines.append(f"  missing    {report.n_missing} declared cells; see: release-kit check {folder}")
    return "\n".join(lines)
