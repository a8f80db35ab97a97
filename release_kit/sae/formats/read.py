"""Reading an autoencoder from whatever layout a folder follows: the names of its files decide."""

from collections.abc import Callable, Mapping
from pathlib import Path

from release_kit.sae.errors import FormatError
from release_kit.sae.formats import linear, saelens, scopes
from release_kit.sae.formats.imported import Imported

LAYOUTS: Mapping[tuple[str, ...], Callable[[Path], Imported]] = {
    (saelens.CFG_FILE, saelens.WEIGHTS_FILE): saelens.read_saelens,
    ("cfg.json", "sae.safetensors"): linear.read_sparsify,
    ("config.json", "ae.pt"): linear.read_dictionary_learning,
    ("config.json", "params.safetensors"): scopes.read_gemma_scope_2,
    ("config.json", "model.safetensors"): linear.read_llm_jp,
    ("params.npz",): scopes.read_gemma_scope,
    ("hyperparams.json", "checkpoints/final.safetensors"): linear.read_llama_scope,
}
"""Files of a layout → who reads it."""


def read_sae(folder: Path) -> Imported:
    """Return the autoencoder in a folder; the layout is found by the names of its files.

    Args:
        folder: of one autoencoder; one of its files may be given instead.

    Raises:
        FormatError: no known layout, or files that do not hold what the layout says; the file and tensor are named.
    """
    folder = folder.parent if folder.is_file() else folder
    for names, reader in LAYOUTS.items():
        if all((folder / name).is_file() for name in names):
            return reader(folder)
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    known = "; ".join(" + ".join(names) for names in LAYOUTS)
    raise FormatError(
        f"is no autoencoder of a known layout: it holds {', '.join(found[:8]) or 'nothing'}",
        where=str(folder),
        next_step=f"one of these is expected: {known}",
    )
