"""``release-kit sae import``: an autoencoder of any known layout, in the layout that SAELens loads."""

from pathlib import Path

import click

from release_kit.cli.output import emit, json_option


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to; new or empty.")
@json_option
def import_command(source: Path, out: Path, as_json: bool) -> None:
    """Read the autoencoder in SOURCE, a folder or one of its files, and write it to --out in SAELens' layout.

    Known are the layouts of SAELens, sparsify, dictionary_learning, llm-jp-sae, Gemma Scope (both editions) and Llama
    Scope; which one it is, the names of the files say. Nothing in a file is run. What was recognised is printed, and
    what was changed on the way in.

    \b
    Example:
      release-kit sae import layer_12/width_16k/average_l0_82 --out sae/
      release-kit sae import trainer_0/ae.pt --out sae/
    """
    from release_kit.core.errors import UsageError
    from release_kit.sae.formats.read import read_sae
    from release_kit.sae.publish.imported import import_sae

    if not source.exists():
        raise UsageError("does not exist", where=str(source), next_step="name a folder, or one of its files")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("is there already and not empty", where=str(out), next_step="name a new folder")
    value = import_sae(read_sae(source), source, out)
    lines = [
        f"layout     {value['layout']}",
        f"is         {value['architecture']}, {value['n_features']:,} features of width {value['d_in']:,}"
        + (f", k = {value['k']}" if value["k"] else ""),
        f"inputs     {value['normalise']}, decoder's bias {'taken off' if value['subtract_decoder_bias'] else 'kept'}",
        *(f"says       {name}: {said}" for name, said in value["facts"].items()),
        *(f"changed    {note}" for note in value["notes"]),
        f"written    {value['folder']}, weights sha256 {value['weights_sha256']}",
    ]
    emit(as_json, {"ok": True, **value}, "\n".join(lines))
