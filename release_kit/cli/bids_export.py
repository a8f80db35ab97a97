"""``release-kit bids export``: annotations as files for annotators and their tools."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option

FORMATS = ("csv", "tsv", "parquet", "srt", "vtt", "textgrid", "elan")


@click.command("export")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "fmt", type=click.Choice(FORMATS), required=True, help="Format of the files.")
@click.option("--level", "levels", multiple=True, help="Only this level; may be given several times.")
@click.option("--stimulus", "stimuli", multiple=True, help="Only this stimulus; may be given several times.")
@click.option("--annotation", "annotations", multiple=True, help="Only this annotation (annot-<id>); may be repeated.")
@click.option("--overwrite", is_flag=True, help="Replace files that hold something else.")
@json_option
def export_command(
    source: Path,
    out: Path,
    fmt: str,
    levels: tuple[str, ...],
    stimuli: tuple[str, ...],
    annotations: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the annotations of SOURCE to OUT in another format, without loss.

    SOURCE is the folder of a dataset, a recipe, or an earlier export (which is how edited TextGrids become a table).
    Tables are one file; subtitles are one file for each stimulus and annotation, TextGrids and ELAN documents one for
    each stimulus. Beside these lies a small JSON file with what the format cannot hold.

    \b
    Example:
      release-kit bids export dataset/ praat/ --format textgrid --level story
      release-kit bids export praat/ annotations.csv --format csv
    """
    from release_kit.bids.annotations.write import write_annotations

    read, absent = _read(source)
    table = _chosen(read, level=levels, stim_id=stimuli, annot_id=annotations)
    files = write_annotations(table, fmt, out, overwrite=overwrite)
    value = {"ok": True, "format": fmt, "n_annotations": table.num_rows, "files": [str(path) for path in files]}
    said = f"{out}: {counted(table.num_rows, 'annotation')} in {counted(len(files), 'file')}"
    if absent:
        left = f"{counted(len(absent), 'annotation file')} of the dataset, whose content is not on this machine"
        said += f"\n  without {left}: {', '.join(absent)}"
    emit(as_json, {**value, "absent": absent}, said)


def _read(source: Path) -> tuple[Any, list[str]]:
    """Return the table of a source, and the names of annotation files whose content is not here."""
    if (source / "dataset_description.json").is_file():
        from release_kit.bids.annotations.write import absent_annotations, read_dataset_annotations

        return read_dataset_annotations(source), absent_annotations(source)
    if source.suffix in (".yaml", ".yml"):
        from release_kit.bids.annotations.collect import collect_annotations
        from release_kit.bids.recipe.read import read_recipe

        return collect_annotations(read_recipe(source)), []
    from release_kit.bids.annotations.write import read_exports

    return read_exports(source), []


def _chosen(table: Any, **wanted: tuple[str, ...]) -> Any:
    """Return the rows that are asked for; a name that no row has is refused with the nearest one."""
    import pyarrow as pa

    from release_kit.core.errors import UsageError
    from release_kit.core.records import nearest

    wrong = []
    for column, names in wanted.items():
        known = sorted(table[column].unique().to_pylist())
        wrong += [
            f"no annotation has the {column} {name!r}{nearest(name, known)}" for name in names if name not in known
        ]
    if wrong:
        raise UsageError("; ".join(wrong))
    rows = [
        i for i, row in enumerate(table.to_pylist()) if all(row[c] in names for c, names in wanted.items() if names)
    ]
    return table.take(pa.array(rows, pa.int64()))
