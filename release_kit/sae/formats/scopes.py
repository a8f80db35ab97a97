"""Gemma Scope: ``params.npz`` of the first edition, ``config.json`` with ``params.safetensors`` of the second.

Both are JumpReLU with matrices by input: ``W_enc`` is (d_in, n_features), ``W_dec`` (n_features, d_in). Inputs come as
they are. Source: the loaders of SAELens 6.54 and the files' own names.
"""

import re
from pathlib import Path
from typing import Any

from release_kit.sae.errors import FormatError
from release_kit.sae.formats.imported import Imported, Parts, check_widths, make_sae
from release_kit.sae.formats.weights import Weights, open_settings, open_weights


def read_gemma_scope(folder: Path) -> Imported:
    """Read ``params.npz``; layer, width and mean L0 are taken from the names of its folders.

    An autoencoder of embeddings expects them before the model multiplies them by sqrt(d_in): that factor is folded in.

    Raises:
        FormatError: tensors missing or of another shape, objects instead of numbers.
    """
    weights = open_weights(folder / "params.npz")
    parts = _parts(weights)
    check_widths(weights, parts, (None, None))
    names = "/".join(folder.parts[-3:])
    notes: tuple[str, ...] = ()
    if "embedding" in names:
        root = parts.widths[0] ** 0.5
        parts = Parts(
            w_enc=parts.w_enc / root,
            w_dec=parts.w_dec * root,
            b_enc=parts.b_enc,
            b_dec=parts.b_dec * root,
            threshold=parts.threshold,
        )
        notes = ("the factor sqrt(d_in) between stored and used embeddings is folded into the weights",)
    sae = make_sae(parts, subtract_decoder_bias=False)
    return Imported(sae=sae, layout="gemma-scope", facts=_from_names(names), notes=notes)


def read_gemma_scope_2(folder: Path) -> Imported:
    """Read ``config.json`` and ``params.safetensors`` of the second edition.

    Raises:
        FormatError: a transcoder or another architecture, tensors missing or of another shape.
    """
    settings, weights = open_settings(folder / "config.json"), open_weights(folder / "params.safetensors")
    architecture = settings.take("architecture", str)
    if architecture != "jump_relu" or "affine_skip_connection" in weights:
        raise FormatError(f"architecture {architecture}, expected jump_relu", where=str(folder / "config.json"))
    parts = _parts(weights)
    check_widths(weights, parts, (None, settings.take("width", int, None)))
    facts = {name: settings.raw(name) for name in ("model_name", "hf_hook_point_in", "width", "l0")}
    return Imported(sae=make_sae(parts, subtract_decoder_bias=False), layout="gemma-scope-2", facts=facts)


def _parts(weights: Weights) -> Parts:
    names = {name: name if name in weights else name.lower() for name in ("W_enc", "W_dec")}
    w_enc = weights.matrix(names["W_enc"]).T
    n_features, d_in = w_enc.shape
    return Parts(
        w_enc=w_enc,
        w_dec=weights.matrix(names["W_dec"]),
        b_enc=weights.take("b_enc", (n_features,)),
        b_dec=weights.take("b_dec", (d_in,)),
        threshold=weights.take("threshold", (n_features,)),
    )


def _from_names(names: str) -> dict[str, Any]:
    """Return what ``layer_12/width_16k/average_l0_82`` says."""
    found = {key: re.search(rf"{key}_([0-9a-z]+)", names) for key in ("layer", "width", "average_l0")}
    return {key: match[1] for key, match in found.items() if match}
