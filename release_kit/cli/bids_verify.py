"""``release-kit bids verify``: the proof of a dataset after download, and its healing."""

import os
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

N_SHOWN = 40


@click.command("verify")
@click.argument("target")
@click.option("--complete", is_flag=True, help="Content that is not here is a fault even if it was not asked for.")
@click.option("--heal", is_flag=True, help="Mend what is damaged from the dataset's siblings.")
@click.option("--heal-from", multiple=True, metavar="REF", help="Mend it from this source; may be given again.")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="Public key that must have signed it.")
@click.option("--validate/--no-validate", default=True, show_default=True, help="Run the validator again.")
@click.option("--workers", default=None, type=click.IntRange(1, 256), help="Files read at once; one a core without.")
@click.option(
    "--dir", "scratch", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the download of a reference, removed afterwards; that of the system (TMPDIR) without it.",
)  # fmt: skip
@json_option
def verify_command(target: str, complete: bool, heal: bool, heal_from: tuple[str, ...], key: Path | None,
                   validate: bool, workers: int | None, scratch: Path | None, as_json: bool) -> None:  # fmt: skip
    """Prove the dataset at TARGET: every byte, the manifest, the signature, the validator.

    A folder that holds a dataset is proved where it lies; a sibling or an address is downloaded into an empty place
    first, if there is room. A partial download is proved as what it is. Exit code 1 when anything is not as it should
    be.

    \b
    Example:
      release-kit bids verify films/ --key public.pem
      release-kit bids verify films/ --heal-from https://data.example.org/films
      release-kit bids verify ria+file:///store#~films
    """
    from release_kit.bids.versioning.verify import verify_dataset, verify_reference

    options: dict[str, Any] = {"workers": workers, "heal": heal, "heal_from": heal_from, "validate": validate}
    if key is not None:
        from release_kit.cli.bids_signature import signature_check

        options["check_signature"] = signature_check(key)
    with progress(quiet=as_json) as bar:

        def say(event: Any) -> None:
            if event["event"] == "download":
                bar.say(
                    f"downloading {event['size_bytes'] / 1e6:,.1f} MB to {event['folder']}, to be removed afterwards"
                )
            elif event["event"] == "files":
                bar.start("reading", event["size_bytes"])
            elif event["event"] == "read":
                bar.advance(event["size_bytes"])

        options["on_event"] = say
        if _in_place(target):
            report = verify_dataset(Path(target), complete=complete, **options)
        else:
            report = verify_reference(target, scratch=scratch, **options)
    emit(as_json, report.to_dict(), lambda: _text(report))
    if not report.ok:
        click.get_current_context().exit(1)


def _in_place(target: str) -> bool:
    from release_kit.bids.versioning.sources import resolve

    if "://" in target:
        return False
    reference = resolve(target)
    return reference.kind == "plain" or os.path.exists(os.path.join(reference.base, ".git"))


def _signed(report: Any) -> str:
    if any(one.code == "signature" for one in report.findings):
        return "does not hold" if report.signed else "none"
    return report.signature or ("is there; name the key to check it: --key" if report.signed else "none")


def _text(report: Any) -> str:
    title = f"{report.name or report.folder}" + (f" {report.version}" if report.version else "")
    verdict = "is what it says it is" if report.ok else f"has {counted(len(report.findings), 'fault')}"
    lines = [
        f"{title} {verdict}",
        f"  read      {counted(report.n_verified, 'file')}, {report.size_bytes / 1e6:,.1f} MB",
    ]
    if report.n_absent:
        of = f" (downloaded: {', '.join(report.parts)})" if report.parts else ""
        lines.append(f"  not here  {counted(report.n_absent, 'file')}{of}")
    if report.root:
        lines.append(f"  root      sha256:{report.root}")
    lines.append(f"  signature {_signed(report)}")
    if report.validation is not None:
        counts = report.validation["counts"]
        lines.append("  validator " + ", ".join(f"{n:,} {what}s" for what, n in counts.items()))
    lines += [f"healed     {one.path}  from {one.source}" for one in report.healed[:N_SHOWN]]
    lines += [f"{one.code:<10} {one.path}  {one.what}" for one in report.findings[:N_SHOWN]]
    if len(report.findings) > N_SHOWN:
        lines.append(f"  … and {len(report.findings) - N_SHOWN} more (--json lists all)")
    return "\n".join(lines)
