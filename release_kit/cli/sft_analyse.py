"""``release-kit sft analyse``: gains, verdicts, figures and the report."""

from collections import Counter
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("analyse")
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Write analysis/ there and leave STUDY as it is.",
)  # fmt: skip
@json_option
def analyse_command(study: Path, out: Path | None, as_json: bool) -> None:
    """Say what the results of STUDY show, and how sure that is.

    Collects the results, holds every claim against them and writes analysis/: report.html (one page, offline),
    figures as SVG and PNG, verdicts.json and tidy tables. Base rows in doubt are named and left out, never averaged
    over. Layer changes and properties of data come in when `sft measure` has measured them. When nothing has changed,
    nothing is computed or written.

    \b
    Example:
      release-kit sft analyse mini/
      release-kit sft analyse massive-sft/ --out elsewhere/ --json | jq .verdicts
    """
    from release_kit.core.study import read_study
    from release_kit.sft.analysis.report_run import run_analysis

    declared = read_study(study)
    done = run_analysis(declared, out=out, on_step=lambda name: click.echo(f"  {name} …", err=True))
    folder = out or declared.folder
    emit(as_json, _value(declared, done, folder), lambda: _text(done, folder))


def _value(study: Any, done: Any, folder: Path) -> dict[str, Any]:
    summary = done.summary.to_dict()
    return {
        "ok": True,
        "study": study.name,
        "version": study.version,
        "report": str(folder / done.summary.report.path),
        "verdicts": summary["claims"],
        "doubtful": summary["doubtful"],
        "results_sha256": done.summary.results_sha256,
        "n_files": len(done.files),
        "changed": list(done.changed),
        "reused": done.reused,
    }


def _text(done: Any, folder: Path) -> str:
    summary = done.summary
    lines = []
    if summary.doubtful:
        lines += [
            "scores of base models in doubt, left out of every gain over them",
            *(f"  {row.where}: {row.reason}" for row in summary.doubtful),
            "",
        ]
    width = max((len(claim.verdict) for claim in summary.claims), default=0)
    lines += [f"  {claim.verdict:<{width}}  {claim.claim}{_number(claim)}" for claim in summary.claims]
    counts = Counter(claim.verdict for claim in summary.claims)
    total = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    state = "nothing has changed" if not done.changed else f"{counted(len(done.changed), 'file')} written"
    lines += ["", f"{counted(len(summary.claims), 'claim')}: {total}", f"{folder / summary.report.path}: {state}"]
    return "\n".join(lines)


def _number(claim: Any) -> str:
    if claim.estimate is None:
        return ""
    interval = "" if claim.low is None or claim.high is None else f" [{claim.low:.3f}, {claim.high:.3f}]"
    return f"  {claim.estimate:.3f}{interval}, n={claim.n:,}"
