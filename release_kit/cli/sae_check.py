"""``release-kit sae check``: everything that is in the way of a study of autoencoders."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option
from release_kit.cli.sft_options import device_option


@click.command("check")
@click.argument("study", type=click.Path(path_type=Path))
@device_option
@json_option
def check_command(study: Path, device: str, as_json: bool) -> None:
    """Say everything that is wrong with STUDY (a sae.yaml or its folder) at once; nothing is computed or written.

    The file, the sentences of both languages, every model and checkpoint, layers and widths, settings that contradict
    each other, disk and cache, and what lies there already: damaged, or made from something else. Exit code 1 when
    anything is wrong.

    \b
    Example:
      release-kit sae check study/
      release-kit sae check study/sae.yaml --device cuda --json
    """
    from release_kit.sae.grid.check import check_study
    from release_kit.sae.spec.read import read_study

    problems = check_study(read_study(study), device=device)
    errors = [one for one in problems if one.severity == "error"]
    value = {"ok": not errors, "problems": [one.to_dict() for one in problems]}
    lines = [f"{one.severity:<8} {one.sentence()}" for one in problems]
    lines.append(f"{counted(len(errors), 'error')}" + ("" if errors else ": it can be run"))
    emit(as_json, value, "\n".join(lines))
    if errors:
        click.get_current_context().exit(1)
