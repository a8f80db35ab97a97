"""``release-kit publish``: the plan before, the progress during, the report after.

The work itself is ``release/publish/run.py``.
"""

import shlex
from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option, progress
from release_kit.core.errors import PublishError, UsageError
from release_kit.core.study import LAYOUTS, STUDY_FILE
from release_kit.core.wording import printable

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
@click.pass_context
def publish_command(
    context: click.Context,
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
    from release_kit.release.publish.run import PublishOptions, plan_of
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
        context.exit(_show_plan(declared, tree, plan_of(tree, options), tier, not despite_errors, as_json))
    _publish(declared, tree, options, endpoint, tier, not despite_errors, as_json)


def _show_plan(study, tree, plan, tier: str | None, checked: bool, as_json: bool) -> int:
    """Print what publishing would do, and whether it would be refused; returns the exit code."""
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.release.publish.cost import plan_to_dict
    from release_kit.release.publish.searched import unsearched

    value = plan_to_dict(plan)
    value["notes"] += place_notes(study, plan.namespace, plan.layout)
    refusal = unsearched(tree)
    if checked and refusal is None:
        with progress(as_json) as bar, DigestCache(default_cache_path()) as cache:
            refusal = _refusal(study, cache, bar)
    refused = {} if refusal is None else {"refused": refusal.to_dict()}
    text = format_plan(value, tier) + ("" if refusal is None else f"\n  refused: {refusal}")
    emit(as_json, {"ok": refusal is None, "plan": value, **refused}, text)
    return 0 if refusal is None else 1


def _publish(study, tree, options, endpoint: str | None, tier: str | None, checked: bool, as_json: bool) -> None:
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.hub.client import HubClient
    from release_kit.release.publish.run import publish_release

    with progress(as_json) as bar, DigestCache(default_cache_path()) as cache:
        wait = lambda seconds, reason: bar.say(f"waiting {format_seconds(seconds)}: {reason}")  # noqa: E731
        with HubClient(endpoint, tier=tier, on_wait=wait) as client:
            if checked and (refusal := _refusal(study, cache, bar)) is not None:
                raise refusal
            report = publish_release(tree, client, options, reporter=bar, cache=cache)
    value = report.to_dict()
    value["notes"] += place_notes(study, report.plan.namespace, report.plan.layout)
    emit(as_json, {"ok": True, **value}, lambda: format_report(value))


def _refusal(study, cache, bar) -> PublishError | None:
    """Return why `release-kit check` refuses the study, or None."""
    from release_kit.release.check import check_study

    report = check_study(study, cache=cache, on_stage=bar.start, on_bytes=bar.advance)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    if not errors:
        return None
    shown = "; ".join(f"{problem.code} at {printable(problem.where)}" for problem in errors[:3])
    more = f" … and {len(errors) - 3} more" if len(errors) > 3 else ""
    folder = shlex.quote(str(study.folder))
    step = (
        f"see them with `release-kit check {folder}`; mend them, accept them with `allow` in study.yaml, or add "
        "--despite-errors"
    )
    if all(problem.code == "release-stale" for problem in errors):
        step = f"run: release-kit build {folder}"
    return PublishError(
        f"check finds {counted(len(errors), 'error')}: {shown}{more}", where=str(study.folder), next_step=step
    )


def place_notes(study, namespace: str, layout: str) -> list[str]:
    """Return what the cards say wrongly, or not at all, about where they lie, when they are published there.

    Cards are built from `namespace` and `layout` of study.yaml; the command line may say otherwise.
    """
    pairs = [("namespace", study.namespace, namespace), ("layout", study.layout, layout)]
    if all(named == used for _, named, used in pairs):
        return []
    wrong = [f"`{key}: {named}`" for key, named, used in pairs if named not in (None, used)]
    what = f"follow {' and '.join(wrong)} of study.yaml" if wrong else "do not say where the cells lie"
    wanted = " and ".join(f"`{key}: {used}`" for key, named, used in pairs if named != used)
    return [f"the cards {what}: set {wanted} in {_declared_in(study)}, build and publish again"]


def _declared_in(study) -> str:
    """Return which file people change to change what the study says: study.yaml, or what it is made from."""
    with open(study.folder / STUDY_FILE, encoding="utf-8") as stream:
        made = stream.readline().startswith("# made from sae.yaml")
    return "release.yaml beside sae.yaml, run `release-kit sae release`" if made else STUDY_FILE


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
            f"published {report['reference']}: {counted(report['n_cells'], 'cell')} in "
            f"{counted(report['n_repos'], 'repo')} (layout {report['layout']})"
        )
    lines = [
        first,
        f"  {counted(report['n_commits'], 'commit')}, {counted(report['n_tags'], 'tag')}, "
        f"{format_bytes(report['n_bytes_sent'])} of large files, {counted(report['n_requests'], 'request')}, "
        f"{report['seconds']:.1f} s",
        *(f"  note: {note}" for note in report["notes"]),
        f"  page:     {report['page']}",
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
        f"  content  {counted(plan['n_cells'], 'cell')}, {counted(plan['n_files'], 'file')}, "
        f"{format_bytes(plan['n_bytes'])}",
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
