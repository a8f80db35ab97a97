"""``release-kit sae report``: claims, pictures, one page and the browser of a study, from its tables alone."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("report")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--markdown", type=click.Path(path_type=Path), help="Also put the table of claims into this document.")
@json_option
def report_command(study: Path, markdown: Path | None, as_json: bool) -> None:
    """Write the report of STUDY (a sae.yaml or its folder) from its tables.

    report/index.html is one page that needs nothing from outside: verdicts on the published claims with their figures,
    pictures, nulls, and the file of every number; report/browser/ shows features; tables/claims.parquet and
    report/claims.json hold the verdicts. The same tables give the same bytes. --markdown replaces what stands between
    <!-- claims --> and <!-- /claims --> by the claims and the shares beside their nulls.

    \b
    Example:
      release-kit sae report study/
      release-kit sae report study/ --markdown docs/sae-claims.md
      release-kit sae report study/ --json | jq '.claims[] | {name, by, verdict}'
    """
    from release_kit.sae.report.markdown import put_claims
    from release_kit.sae.report.report import write_report
    from release_kit.sae.report.sections import summary
    from release_kit.sae.spec.read import read_study

    written = write_report(read_study(study))
    if markdown is not None:
        put_claims(markdown, written.claims, written.curves)
    claims = [
        {"name": each.name, "by": each.by, "detail": each.detail, "verdict": each.verdict, "why": each.why,
         "n_seeds": each.n_seeds}
        for each in written.claims
    ]  # fmt: skip
    browser = None if written.browser is None else str(written.browser)
    value = {"ok": True, "report": str(written.path), "browser": browser, "pictures": len(written.pictures),
             "claims": claims}  # fmt: skip
    lines = [f"{each.verdict:<15} {each.name} ({each.detail or 'by ' + each.by})" for each in written.claims]
    lines += [summary(written.claims), f"{written.path}: {counted(len(written.pictures), 'picture')}"]
    lines += [] if browser is None else [browser]
    emit(as_json, value, "\n".join(lines))
