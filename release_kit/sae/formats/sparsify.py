"""Writing sparsify's layout: ``cfg.json`` with ``sae.safetensors``, as its ``SparseCoder.load_from_disk`` reads it.

Only TopK has a place there. sparsify has no word for normalised inputs: a scale for all of them goes into the weights,
inputs of length 1 have to be made by who uses it, which ``cfg.json`` says under ``release_kit``.
"""

from pathlib import Path

from release_kit.core import canonical
from release_kit.core.files import write_atomic
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import FormatError

CFG_FILE, WEIGHTS_FILE = "cfg.json", "sae.safetensors"


def write_sparsify(sae: Sae, folder: Path) -> None:
    """Write an autoencoder so that sparsify 1.3 gives the same features and output.

    Args:
        sae: TopK, with the decoder's bias taken off inputs.
        folder: made if it is missing.

    Raises:
        FormatError: an autoencoder with thresholds, or one that encodes inputs as they come.
    """
    from safetensors.torch import save

    config = sae.config
    if sae.threshold is not None or not config.subtract_decoder_bias:
        why = "thresholds" if sae.threshold is not None else "inputs of which the decoder's bias is not taken off"
        raise FormatError(f"sparsify's layout has no place for {why}", where=str(folder))
    scale = config.rms_scale if config.normalise == "rms" else 1.0
    tensors = {
        "encoder.weight": sae.w_enc * scale,
        "encoder.bias": sae.b_enc,
        "W_dec": sae.w_dec / scale,
        "b_dec": sae.b_dec / scale,
    }
    settings = {
        "activation": "topk",
        "d_in": config.d_in,
        "expansion_factor": max(1, config.n_features // config.d_in),
        "k": config.k,
        "multi_topk": False,
        "normalize_decoder": config.unit_norm_decoder,
        "num_latents": config.n_features,
        "release_kit": {"inputs": "x / |x|" if config.normalise == "unit-norm" else "x"},
        "skip_connection": False,
        "transcode": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}
    write_atomic(folder / WEIGHTS_FILE, save(plain))
    write_atomic(folder / CFG_FILE, canonical.document_bytes(settings))
