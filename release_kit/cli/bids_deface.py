"""``release-kit bids deface``: an anatomical image without its face, and a picture to judge it by."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option, progress


@click.command("deface")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--picture", type=click.Path(path_type=Path), help="PNG for review: the head before and after.")
@click.option("--replace", is_flag=True, help="Write over OUT and the picture when they exist.")
@json_option
def deface_command(source: Path, out: Path, picture: Path | None, replace: bool, as_json: bool) -> None:
    """Write the head SOURCE to OUT (.nii.gz) without its face; the brain keeps every byte.

    An image that cannot be registered to the template is refused: then nobody knows where its face is. The picture
    shows the face, so keep it out of the dataset. `bids convert` does the same for every anatomy with `deface: true`.

    \b
    Example:
      release-kit bids deface raw/t1.nii.gz shared/t1.nii.gz --picture review/t1.png
    """
    from release_kit.bids.sidecars.deface import deface
    from release_kit.core.errors import UsageError

    if not out.name.endswith(".nii.gz"):
        raise UsageError(f"{out.name!r} does not end in .nii.gz", next_step="name a .nii.gz file")
    for path in (out, picture):
        if path is not None and path.exists() and not replace:
            raise UsageError("exists already", where=str(path), next_step="name another file, or add --replace")
    if not source.is_file():
        raise UsageError("there is no such file", where=str(source), next_step="name a NIfTI file of a head")
    if out.resolve() == source.resolve():
        raise UsageError("SOURCE and OUT are the same file", next_step="keep the original: name another OUT")
    with progress(quiet=as_json) as bar:
        bar.say(f"registering {source.name} to the template")
        facts = deface(source, out, picture)
    value = {"ok": True, "source": str(source), "out": str(out), "picture": picture and str(picture), **facts.to_dict()}
    emit(as_json, value, lambda: _text(facts, out, picture))


def _text(facts: Any, out: Path, picture: Path | None) -> str:
    from release_kit.bids.sidecars.deface import MIN_AGREEMENT

    look = f"look at {picture} before it is shared" if picture else "add --picture to see what was removed"
    return "\n".join(
        [
            f"wrote {out}",
            f"  removed    {facts.n_removed:,} of {facts.n_voxels:,} voxels; every voxel of the face is zero",
            f"  brain      {facts.brain_kept:.2%} of the template's brain lies outside of what was removed",
            f"  agreement  {facts.agreement:.2f} between image and template ({MIN_AGREEMENT:.2f} is needed)",
            f"  {look}",
        ]
    )
