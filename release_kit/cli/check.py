"""``release-kit check``."""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option, progress
from release_kit.core.errors import UsageError


@click.command("check")
@click.argument("study", type=click.Path(path_type=Path), required=False)
@click.option("--strict", is_flag=True, help="Refuse warnings too.")
@click.option("--all", "everything", is_flag=True, help="List every place of every problem.")
@click.option("--sarif", type=click.Path(path_type=Path), metavar="FILE", help="Also write a SARIF 2.1.0 report.")
@click.option("--explain", metavar="CODE", help="Say what a code means ('all' lists them) and stop.")
@click.option("--workers", type=click.IntRange(1), help="Hashing threads; one for each core by default.")
@click.option("--no-cache", is_flag=True, help="Read every byte, also of files that nobody touched.")
@json_option
@click.pass_context
def check_command(
    context: click.Context,
    study: Path | None,
    strict: bool,
    everything: bool,
    sarif: Path | None,
    explain: str | None,
    workers: int | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Report everything that is wrong with STUDY and its release, at once.

    Each problem has a code, a place and a next step. Exit code 1 when there is an error; `allow` entries in study.yaml
    turn accepted problems into notes that keep their reason. Works before and after a build.

    \b
    Example:
      release-kit check study/
      release-kit check study/ --strict --sarif check.sarif
      release-kit check --explain payload-is-base
    """
    if explain is not None:
        _explain(explain, as_json)
        return
    if study is None:
        raise UsageError("no STUDY is given", next_step="release-kit check STUDY")
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.core.files import write_atomic
    from release_kit.core.study import read_study
    from release_kit.release.check import check_study
    from release_kit.release.check.sarif import sarif_bytes
    from release_kit.release.check.text import report_text

    declared = read_study(study)
    with DigestCache(None if no_cache else default_cache_path()) as cache, progress(as_json) as bar:
        report = check_study(declared, cache=cache, workers=workers, on_stage=bar.start, on_bytes=bar.advance)
    if sarif is not None:
        write_atomic(sarif, sarif_bytes(report))
    emit(as_json, report.to_dict(strict=strict), lambda: report_text(report, everything=everything, strict=strict))
    context.exit(0 if report.is_good(strict=strict) else 1)


def _explain(name: str, as_json: bool) -> None:
    from release_kit.release.check import CODES, explain

    codes = list(CODES.values()) if name == "all" else [CODES[name]] if name in CODES else []
    text = explain(name) if name != "all" else "\n".join(f"{c.name:26} {c.severity:8} {c.summary}" for c in codes)
    fields = ("name", "family", "severity", "summary", "why", "next_step")
    value = {"ok": True, "codes": [{field: getattr(code, field) for field in fields} for code in codes]}
    emit(as_json, value, text)
