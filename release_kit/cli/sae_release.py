"""``release-kit sae release``: finished autoencoders as a study that build, check, publish and verify work on."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option

N_SHOWN = 8


@click.command("release")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--no-build", is_flag=True, help="Only write published/; build it yourself.")
@json_option
def release_command(study: Path, no_build: bool, as_json: bool) -> None:
    """Make a release of the finished autoencoders of STUDY, in STUDY/published.

    Every autoencoder is held against its digests first, and the tables against what was measured. What people have to
    say (version, authors, license, namespace, citation ...) stands in release.yaml beside sae.yaml. Autoencoders that
    are planned and not made are named, here and on the card.

    \b
    Example:
      release-kit sae release study/
      release-kit check study/published
      release-kit publish study/published --to my-lab
    """
    from release_kit.sae.pipeline.published import publish_cells
    from release_kit.sae.spec.read import read_study

    made = publish_cells(read_study(study))
    value = {
        "ok": True, "folder": str(made.folder), "n_saes": made.n_saes, "built": not no_build,
        "missing": [key.name for key in made.missing], "unmeasured": [key.name for key in made.unmeasured],
    }  # fmt: skip
    if not no_build:
        value |= _built(made.folder)
    emit(as_json, value, lambda: _text(made, value))


def _built(folder: Path) -> dict[str, Any]:
    from release_kit.core.digest_cache import DigestCache, default_cache_path
    from release_kit.core.study import read_study
    from release_kit.release.build import build_release

    with DigestCache(default_cache_path()) as cache:
        report = build_release(read_study(folder), cache=cache)
    return {"n_files": report.n_files, "root": report.manifest.root, "n_written": len(report.written)}


def _text(made: Any, value: dict[str, Any]) -> str:
    lines = [f"{counted(made.n_saes, 'autoencoder')} in {made.folder}"]
    if value["built"]:
        lines.append(f"release: {counted(value['n_files'], 'file')}, {value['n_written']:,} written, {value['root']}")
    for keys, said in ((made.missing, "planned and not made"), (made.unmeasured, "made and not measured")):
        if keys:
            shown = "; ".join(key.title for key in keys[:N_SHOWN])
            more = f"; … and {len(keys) - N_SHOWN} more" if len(keys) > N_SHOWN else ""
            lines.append(f"{counted(len(keys), 'autoencoder')} {said}: {shown}{more}")
    lines.append(f"next: release-kit check {made.folder}")
    return "\n".join(lines)
