"""``release-kit publish``: the plan before, the progress during, the report after.

The work itself is ``release/publish.py``.
"""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option, progress
from release_kit.core.errors import UsageError
from release_kit.core.study import LAYOUTS

TITLE_CHARACTERS = 60
"""What the Hub takes for the title of a collection."""

PUBLIC_HUB = "https://huggingface.co"
TIER_NAMES = ("anonymous", "free", "pro", "team", "enterprise", "enterprise-plus", "none")


@click.command("publish")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--to", "namespace", metavar="NAMESPACE", help="Account or organisation; default: that of the study.")
@click.option("--endpoint", metavar="URL", help="The Hub; default HF_ENDPOINT, else the public one.")
@click.option("--layout", type=click.Choice(LAYOUTS), help="How cells lie on the Hub; chosen with a reason if absent.")
@click.option("--dry-run", is_flag=True, help="Print what would be done and how long it takes; send nothing.")
@click.option("--tier", type=click.Choice(TIER_NAMES), help="Account tier whose request budget is kept.")
@click.option("--private", is_flag=True, help="Make the repos private.")
@click.option("--no-collection", is_flag=True, help="Do not put the repos into a collection.")
@click.option("--overwrite", is_flag=True, help="Take over files that somebody else put where the release goes.")
@click.option("--replace", is_flag=True, help="Change the data of a version that is published already.")
@click.option("--despite-errors", is_flag=True, help="Publish without running `release-kit check` first.")
@click.option("--xet", is_flag=True, help="Send large files through Xet (chunks that the Hub has are not sent).")
@click.option("--workers", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests at a time.")
@json_option
def publish_command(
    study: Path,
    namespace: str | None,
    endpoint: str | None,
    layout: str | None,
    dry_run: bool,
    tier: str | None,
    private: bool,
    no_collection: bool,
    overwrite: bool,
    replace: bool,
    despite_errors: bool,
    xet: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Publish the built release of STUDY to a Hub.

    What `release-kit check` calls an error is refused first. Readers see all of the release or nothing: content goes up
    and is compared with the manifest, then everything is tagged, and the index comes last. Run it again after an
    interruption: it continues. Run it twice: it sends nothing.

    \b
    Example:
      release-kit publish study/ --to my-lab --dry-run
      release-kit publish study/ --to my-lab
      release-kit publish study/ --to my-lab --endpoint http://127.0.0.1:8765 --layout folders
    """
    from release_kit.core.study import read_study
    from release_kit.release.publish import PublishOptions, plan_of
    from release_kit.release.tree import open_tree

    declared = read_study(study)
    namespace = namespace or declared.namespace
    if namespace is None:
        raise UsageError("no account to publish to", next_step="add --to NAMESPACE, or `namespace` in study.yaml")
    options = PublishOptions(
        namespace=namespace,
        layout=layout or declared.layout,
        private=private,
        collection=None if no_collection else collection_title(declared.title, declared.name),
        overwrite=overwrite,
        replace=replace,
        xet=xet,
        workers=workers,
    )
    tree = open_tree(declared.folder)
    if dry_run:
        from release_kit.release.layout_cost import plan_to_dict

        plan = plan_of(tree, options)
        value = plan_to_dict(plan)
        emit(as_json, {"ok": True, "plan": value}, lambda: format_plan(value, tier))
    else:
        checked = None if despite_errors else declared
        _publish(tree, options, checked, endpoint, tier, as_json)


def _publish(tree, options, checked, endpoint: str | None, tier: str | None, as_json: bool) -> None:
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.hub.client import HubClient
    from release_kit.release.publish import publish_release

    with progress(as_json) as bar, DigestCache(default_cache_path()) as cache:
        wait = lambda seconds, reason: bar.say(f"waiting {format_seconds(seconds)}: {reason}")  # noqa: E731
        with HubClient(endpoint, tier=tier, on_wait=wait) as client:
            if checked is not None:
                _refuse_errors(checked, cache, bar)
            report = publish_release(tree, client, options, reporter=bar, cache=cache)
    emit(as_json, {"ok": True, **report.to_dict()}, lambda: format_report(report.to_dict()))


def _refuse_errors(study, cache, bar) -> None:
    from release_kit.core.errors import PublishError
    from release_kit.release.check import check_study

    report = check_study(study, cache=cache, on_stage=bar.start, on_bytes=bar.advance)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    if errors:
        shown = "; ".join(f"{problem.code} at {problem.where}" for problem in errors[:3])
        more = f" … and {len(errors) - 3} more" if len(errors) > 3 else ""
        raise PublishError(
            f"check finds {len(errors)} errors: {shown}{more}",
            where=str(study.folder),
            next_step="see them with `release-kit check`; mend them, accept them with `allow` in study.yaml, or add "
            "--despite-errors",
        )


def collection_title(title: str | None, name: str) -> str:
    """Return the title of a study's collection; it ends with the study's name, since two studies may share a title."""
    if title is None or title == name:
        return name
    room = TITLE_CHARACTERS - len(name) - 3
    return f"{title[:room].strip()} ({name})" if room > 0 else name


def format_report(report: dict) -> str:
    """Return what a publication did, for people."""
    if report["n_writes"] <= 1 and not report["n_commits"] and not report["n_tags"]:
        first = f"{report['reference']} is published already; nothing was sent"
    else:
        first = (
            f"published {report['reference']}: {report['n_cells']} cells in {report['n_repos']} repos "
            f"(layout {report['layout']})"
        )
    lines = [
        first,
        f"  {report['n_commits']} commits, {report['n_tags']} tags, {format_bytes(report['n_bytes_sent'])} of large "
        f"files, {report['n_requests']} requests, {report['seconds']:.1f} s",
        *(f"  note: {note}" for note in report["notes"]),
        f"  page:     {report['endpoint']}/{report['reference'].partition('@')[0]}",
        f"  download: release-kit download {report['reference']} FOLDER{_address(report['endpoint'])}",
    ]
    return "\n".join(lines)


def _address(endpoint: str) -> str:
    return "" if endpoint == PUBLIC_HUB else f" --endpoint {endpoint}"


def format_plan(plan: dict, tier: str | None) -> str:
    """Return what a publication would do, for people."""
    shown = ", ".join(plan["repos"][:3]) + (f" … {len(plan['repos']) - 3} more" if len(plan["repos"]) > 3 else "")
    lines = [
        f"plan for {plan['reference']}",
        f"  layout   {plan['layout']} — {plan['reason']}",
        f"  repos    {plan['n_repos']}: {shown}",
        f"  content  {plan['n_cells']} cells, {plan['n_files']} files, {format_bytes(plan['n_bytes'])}",
        f"  requests {plan['n_api_requests']} (at most; what the Hub has already needs fewer)",
        *(f"    {n:>8}  {kind}" for kind, n in plan["requests"].items()),
        "  least time that the request budget of each account tier allows, plus sending the bytes",
    ]
    for name, seconds in plan["least_seconds_by_tier"].items():
        mark = " ←" if name == tier else ""
        lines.append(f"    {name:<16} {format_seconds(seconds)}{mark}")
    return "\n".join([*lines, *(f"  note: {note}" for note in plan["notes"])])


def format_bytes(n: float) -> str:
    """Return a size in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return ""


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
