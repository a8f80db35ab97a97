"""``release-kit verify``."""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("verify")
@click.argument("target", required=False)
@click.option("--manifest", type=click.Path(path_type=Path), help="The release's manifest, for a folder without one.")
@click.option("--cell", help="The one cell that TARGET holds (name or id).")
@click.option("--select", multiple=True, metavar="FACTOR=LEVEL[,…]", help="Only cells with these levels; repeatable.")
@click.option("--tensors", is_flag=True, help="Compare every tensor, and name those that differ.")
@click.option("--trust-cache", is_flag=True, help="Do not read files again that nobody touched since.")
@click.option("--remote", is_flag=False, flag_value="", metavar="[REF]", help="Compare what a Hub lists; no content.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Read N random tensors, of TARGET or of a Hub.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which random tensors.")
@click.option("--repair", is_flag=True, help="Fetch what is bad; the old files are kept aside.")
@click.option("--from", "origin", metavar="REF", help="Where to repair from; recorded in downloads.")
@click.option("--key", type=click.Path(path_type=Path), help="Public key: the manifest must be signed with it.")
@click.option("--root", "expected_root", metavar="DIGEST", help="The root digest that the release must have.")
@click.option("--workers", type=click.IntRange(1), help="Threads; one for each core by default.")
@click.option("--endpoint", help="Address of the Hub; HF_ENDPOINT or the public one by default.")
@json_option
@click.pass_context
def verify_command(context: click.Context, target: str | None, **options) -> None:
    """Prove that the files of TARGET are what the release's manifest says; TARGET is a folder or a reference.

    Missing, extra, changed, renamed and swapped files are all reported, exit code 1. Without --remote nothing is
    asked of any network.

    \b
    Example:
      release-kit verify copy/
      release-kit verify copy/ --tensors
      release-kit verify copy/ --repair
      release-kit verify --remote my-lab/study@v1.0.0
      release-kit verify snapshot/ --manifest manifest.json --cell lima-s0
    """
    from release_kit.cli.verify_modes import run_verify

    as_json = options.pop("as_json")
    with progress(as_json) as bar:
        value, text = run_verify(target, bar=bar, **options)
    emit(as_json, value, text)
    context.exit(0 if value["ok"] else 1)
