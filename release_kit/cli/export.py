"""``release-kit export``: a release in the formats of others."""

from collections.abc import Callable
from pathlib import Path

import click

from release_kit.cli.output import emit, json_option

path_argument = click.argument("path", type=click.Path(path_type=Path))
date_option = click.option("--date", help="Date of publication, YYYY-MM-DD; SOURCE_DATE_EPOCH or today by default.")
copy_option = click.option("--copy", is_flag=True, help="Copy files; without it they are hard links where possible.")


def output_option(text: str) -> Callable:
    """Return the option ``-o`` with its help text."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help=text)


@click.group("export")
def export_group() -> None:
    """Export the release in PATH (a built study or a download) in the format of another tool.

    Digests come from the manifest: nothing is hashed again. Verify first when the files may have changed.

    \b
    Example:
      release-kit export sha256sums copy/ -o SHA256SUMS && (cd copy && sha256sum -c ../SHA256SUMS)
      release-kit export bagit copy/ -o bag/
      release-kit export croissant copy/ -o croissant.json
      release-kit export ro-crate copy/ -o crate/
    """


@export_group.command("sha256sums")
@path_argument
@output_option("The list; '-' prints it.")
@json_option
def sha256sums_command(path: Path, output: Path, as_json: bool) -> None:
    """Write the list that `sha256sum -c` reads in the folder PATH.

    \b
    Example:
      release-kit export sha256sums copy/ -o SHA256SUMS
      cd copy && sha256sum -c SHA256SUMS
    """
    from release_kit.core.files import write_atomic
    from release_kit.release.export.contents import read_contents
    from release_kit.release.export.sha256sums import sha256sums

    contents = read_contents(path)
    data = sha256sums(contents)
    if str(output) == "-":
        click.echo(data.decode(), nl=False)
        return
    write_atomic(output, data)
    _report(as_json, contents, output, f"check with: cd {path} && sha256sum -c {output.absolute()}")


@export_group.command("bagit")
@path_argument
@output_option("New folder of the bag.")
@date_option
@copy_option
@json_option
def bagit_command(path: Path, output: Path, date: str | None, copy: bool, as_json: bool) -> None:
    """Write a BagIt bag (RFC 8493) whose payload is the release.

    \b
    Example:
      release-kit export bagit copy/ -o bag/ && bagit.py --validate bag/
    """
    from release_kit.release.export.bag import write_bag
    from release_kit.release.export.contents import publication_date, read_contents

    contents = read_contents(path)
    report = write_bag(contents, output, date=publication_date(date), link=not copy)
    _report(as_json, contents, output, _linked(report), n_linked=report.n_linked)


@export_group.command("croissant")
@path_argument
@output_option("The JSON-LD file.")
@date_option
@click.option("--base-url", help="Address that the tables' names are appended to; relative paths by default.")
@json_option
def croissant_command(path: Path, output: Path, date: str | None, base_url: str | None, as_json: bool) -> None:
    """Describe the results tables as a Croissant dataset.

    \b
    Example:
      release-kit export croissant study/ -o study/release/croissant.json
      release-kit export croissant copy/ -o c.json --base-url https://huggingface.co/datasets/lab/x/resolve/v1.0.0
    """
    from release_kit.core.files import write_atomic
    from release_kit.release.export.contents import publication_date, read_contents
    from release_kit.release.export.croissant import croissant_bytes

    contents = read_contents(path)
    write_atomic(output, croissant_bytes(contents, output, date=publication_date(date), base_url=base_url))
    _report(as_json, contents, output, "load with: mlcroissant.Dataset(jsonld=…)")


@export_group.command("ro-crate")
@path_argument
@output_option("New folder of the crate.")
@date_option
@copy_option
@json_option
def ro_crate_command(path: Path, output: Path, date: str | None, copy: bool, as_json: bool) -> None:
    """Write an RO-Crate 1.1: the release and its description, every file with its sha256.

    \b
    Example:
      release-kit export ro-crate copy/ -o crate/ --date 2026-01-31
    """
    from release_kit.release.export.contents import publication_date, read_contents
    from release_kit.release.export.ro_crate import write_crate

    contents = read_contents(path)
    report = write_crate(contents, output, date=publication_date(date), link=not copy)
    _report(as_json, contents, output, _linked(report), n_linked=report.n_linked)


def _linked(report) -> str:
    if report.n_linked == report.n_files:
        return "hard links to the release: do not edit files in there"
    return f"{report.n_linked} hard links, {report.n_files - report.n_linked} copies"


def _report(as_json: bool, contents, output: Path, note: str, **more) -> None:
    manifest = contents.manifest
    value = {
        "ok": True,
        "output": str(output),
        "study": manifest.study,
        "version": manifest.version,
        "root": manifest.root,
        "n_files": len(contents.files),
        "left_out": list(contents.left_out),
        **more,
    }
    lines = [f"{manifest.study} {manifest.version}: {len(contents.files)} files → {output}", f"  {note}"]
    if contents.left_out:
        lines.append(f"  left out   {len(contents.left_out)} cells that were not downloaded")
    emit(as_json, value, "\n".join(lines))
