"""``release-kit bids save``: a version of a dataset under DataLad."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.bids_identity import search_of, search_options
from release_kit.cli.output import counted, emit, json_option

N_SHOWN = 10


@click.command("save")
@click.argument("dataset", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--version", default=None, help="The version, and its tag; without it what the dataset's recipe declares."
)
@click.option("--author", metavar="'NAME <MAIL>'", default=None, help="Author of the commits; without it git's own.")
@click.option(
    "--recipe", type=click.Path(path_type=Path),
    help="Recipe that DATASET was converted from: tells what conversion wrote from what somebody changed, and names.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Save changes too that conversion did not make.")
@click.option("--date", metavar="YYYY-MM-DD", default=None, help="Day of the version in CHANGES; today without it.")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="Private key to sign the manifest with.")
@search_options
@click.option("--stays-here", is_flag=True, help="Do not search for what may identify a person; `publish` refuses it.")
@json_option
def save_command(dataset: Path, version: str | None, author: str | None, recipe: Path | None, everything: bool,
                 date: str | None, key: Path | None, words: tuple[str, ...], no_words: bool,
                 vouched: tuple[str, ...], stays_here: bool, as_json: bool) -> None:  # fmt: skip
    """Save what lies in DATASET as a version: commits by meaning, CHANGES, a manifest, a tag.

    DATASET becomes a DataLad dataset when it is none. A version never changes: one that exists with another content
    is refused, one with the same content is left as it is. Interrupted, run the same command again. What may identify
    a person is refused before it becomes a part of the history; names are searched for with --recipe or --word.

    \b
    Example:
      release-kit bids save dataset/ --version 1.0.0 --author "Ada Example <ada@example.org>"
      release-kit bids save dataset/ --version 1.1.0 --recipe study/recipe.yaml --key private.pem
    """
    from release_kit.bids.versioning.contents import declared_version
    from release_kit.bids.versioning.provenance import conversion_commands
    from release_kit.bids.versioning.save import save_version
    from release_kit.core.errors import UsageError

    declared = declared_version(dataset)
    version = version or declared
    if version is None:
        raise UsageError("which version is it?", where=str(dataset), next_step="name it: --version 1.0.0")
    if declared not in (None, version):
        step = "change `dataset.version` of the recipe and convert again, or save that version"
        what = f"the recipe inside the dataset says {declared}, the command says {version}"
        raise UsageError(what, where=str(dataset), next_step=step)
    commands = conversion_commands(dataset) if recipe else {}  # else nobody knows what was edited after conversion
    report = save_version(
        dataset, version=version, author=author, command=commands.pop("version", None), commands=commands,
        written=_written(recipe, dataset), everything=everything, date=date,
        sign=_signer(key, dataset) if key else None, search=search_of(recipe, words, no_words, vouched),
        stays_here=stays_here, on_event=None if as_json else _say,
    )  # fmt: skip
    emit(as_json, {"ok": True, **report.to_dict()}, lambda: _text(report))


def _say(event: Mapping[str, Any]) -> None:
    if event["event"] == "commit":
        click.echo(f"{event['meaning']:<12} {counted(event['n'], 'file')}", err=True)
    elif event["event"] == "edited":
        what = f"{counted(len(event['paths']), 'file')} not as converted (such as {event['paths'][0]})"
        click.echo(f"{what}; no command is recorded for datalad rerun of the version", err=True)
    elif event["event"] == "closed":
        what = f"{counted(len(event['paths']), 'file')} could not be looked into (such as {event['paths'][0]})"
        click.echo(f"{what}; publish refuses them until you --vouch for them", err=True)


def _written(recipe: Path | None, dataset: Path) -> Mapping[str, set[str]] | None:
    """Return what conversion wrote, by its own memory beside the recipe."""
    if recipe is None:
        return None
    from release_kit.bids.convert.state import State, state_folder

    folder = recipe if recipe.is_dir() else recipe.parent
    with State(state_folder(folder, dataset), dataset) as state:
        return {path: set(found) for path, found in state.owned.items()}


def _signer(key: Path, dataset: Path) -> Callable[[bytes], bytes]:
    from release_kit.cli.bids_signature import sign_manifest
    from release_kit.cli.sign import _passphrase
    from release_kit.release.sign.keys import read_private_key

    private = read_private_key(key, _passphrase)
    return lambda manifest: sign_manifest(manifest, private, str(dataset))


def _text(report: Any) -> str:
    if not report.written:
        return f"version {report.version} is saved already and nothing differs\n  root  sha256:{report.root}"
    lines = [f"saved {report.version}: {counted(report.n_files, 'file')}, {report.size_bytes / 1e6:,.1f} MB"]
    difference = report.difference
    for what in ("added", "changed", "removed"):
        paths = getattr(difference, what)
        if paths:
            shown = ", ".join(paths[:N_SHOWN]) + (" …" if len(paths) > N_SHOWN else "")
            lines.append(f"  {what:<8} {len(paths):,}: {shown}")
    lines += [f"  renamed  {old} → {new}" for old, new in difference.moved[:N_SHOWN]]
    return "\n".join([*lines, f"  commit   {report.commit[:12]}", f"  root     sha256:{report.root}"])
