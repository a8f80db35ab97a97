"""``release-kit audit``."""

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("audit")
@click.argument("targets", nargs=-1, required=True, metavar="REPO|NAMESPACE...")
@click.option("--series", metavar="PATTERN", help="Labels that were promised, with {n} for the number: 'step{n}'.")
@click.option("--expect", metavar="VALUES", help="Values of the series: 0,1,2,4,1000:143000:1000.")
@click.option("--tags", is_flag=True, help="Look at tags too, where they point at commits of their own.")
@click.option("--listing-only", is_flag=True, help="Read no file at all: listings alone.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--endpoint", help="Address of the Hub; HF_ENDPOINT or the public one by default.")
@click.option("--tier", help="Rate limits to keep to: anonymous, free, pro, team, enterprise, none.")
@json_option
def audit_command(
    targets: tuple[str, ...],
    series: str | None,
    expect: str | None,
    tags: bool,
    listing_only: bool,
    strict: bool,
    endpoint: str | None,
    tier: str | None,
    as_json: bool,
) -> None:
    """Examine releases on a Hub, made by anyone, from metadata only: no weights are downloaded.

    Finds equal weights under several labels, missing steps and shards, indexes that disagree with what is there,
    mislabelled steps, cards without licence or base model, numbers without source. Exit code 1 when there is an
    error. All codes: docs/audit.md.

    \b
    Example:
      release-kit audit EleutherAI/pythia-2.8b
      release-kit audit my-lab --json | jq .problems
      release-kit audit my-lab/run --series 'step{n}' --expect 0:143000:1000
    """
    from release_kit.hub.client import HubClient
    from release_kit.hub.reference import parse_reference
    from release_kit.release.audit import AuditOptions, audit_releases
    from release_kit.release.audit.report import report_text

    options = AuditOptions(series=series, expect=expect, tags=tags, read_files=not listing_only)
    named = {parse_reference(target).endpoint for target in targets if "/" in target} - {None}
    if endpoint is None and len(named) == 1:
        endpoint = named.pop()
    with HubClient(endpoint, tier=tier) as client, progress(as_json) as bar:
        report = audit_releases(
            client,
            targets,
            options,
            on_stage=lambda label, total: bar.start(label, total, unit="requests"),
            on_done=bar.advance,
        )
    ok = report.ok and not (strict and report.count("warning"))
    emit(as_json, {**report.to_dict(), "ok": ok}, lambda: report_text(report, targets))
    if not ok:
        raise click.exceptions.Exit(1)
