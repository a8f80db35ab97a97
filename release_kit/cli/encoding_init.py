"""``release-kit encoding init``: a first analysis from a dataset."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option


@click.command("init")
@click.argument("dataset", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("encoding.yaml"), show_default=True,
    help="Where the analysis is written; its folder will hold everything that is made.",
)  # fmt: skip
@json_option
def init_command(dataset: Path, out: Path, as_json: bool) -> None:
    """Look at the BIDS dataset DATASET and write a first analysis of it.

    Responses, spaces, masks, subjects, runs, TRs, levels, languages and annotators are what is there; what was found
    stands in comments. What nobody can tell from a dataset says FILL IN; `release-kit encoding check` names what is
    left. An existing file is never overwritten.

    \b
    Example:
      release-kit encoding init dataset/ --out analysis/encoding.yaml
      release-kit encoding check analysis/
    """
    from release_kit.core.errors import StudyError
    from release_kit.core.files import write_atomic
    from release_kit.core.grammar.values import FILL_IN
    from release_kit.encoding.pipeline.draft import draft_analysis

    if out.exists():
        step = "name another place with --out, or move it away"
        raise StudyError("an analysis is there already", where=str(out), next_step=step)
    text = draft_analysis(dataset, out.parent)
    write_atomic(out, text.encode("utf-8"))
    n_open = sum(FILL_IN in line.partition("# ")[0] for line in text.splitlines())
    value = {"ok": True, "analysis": str(out), "n_lines_to_fill_in": n_open}
    emit(as_json, value, f"{out} written; {counted(n_open, 'line')} to fill in: release-kit encoding check {out}")
