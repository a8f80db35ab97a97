"""Run by an interpreter that has SAELens (or sparsify): loads autoencoders of a download as anybody would.

Arguments: library, folder of the download, file of activations (safetensors, ``x``), file to write to.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def with_saelens(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and output."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(str(folder), device="cpu")
    features = sae.encode(x)
    features = features.to_dense() if features.is_sparse else features
    return features, sae.decode(features)


def with_sparsify(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and output."""
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(str(folder), device="cpu")
    found = coder.encode(x)
    features = torch.zeros(len(x), coder.num_latents)
    features.scatter_(1, found.top_indices, found.top_acts)
    return features, coder.decode(found.top_acts, found.top_indices)


def main() -> None:
    """Write features, outputs and the figures that follow from them."""
    library, root, inputs, out = sys.argv[1:]
    tensors, figures = {}, {}
    x_of = load_file(inputs)
    read = {"sae_lens": with_saelens, "sparsify": with_sparsify}[library]
    for folder in sorted(path.parent for path in Path(root).rglob("cfg.json")):
        x = x_of[str(json.loads((folder / "cfg.json").read_text())["d_in"])]
        with torch.no_grad():
            features, restored = read(folder, x)
        error, spread = (x - restored).double().pow(2).sum(), (x - x.mean(0)).double().pow(2).sum()
        figures[folder.name] = {"fvu": float(error / spread), "l0": float((features > 0).double().sum(1).mean())}
        tensors[f"{folder.name}/features"], tensors[f"{folder.name}/restored"] = features.contiguous(), restored
    save_file(tensors, out, metadata={"figures": json.dumps(figures)})


main()
