"""SAELens' layout, which is ours: ``cfg.json`` with ``sae_weights.safetensors``; SAELens 6 loads the folder directly.

Written: TopK as ``topk``, everything that has thresholds as ``jumprelu``. Inputs of length 1 are SAELens'
``constant_norm_rescale`` (length sqrt(d_in)) with that factor in the weights; one scale for all inputs is folded into
them. What SAELens has no word for stands under ``metadata.release_kit`` and is read back from there. Source: SAELens
6.54 (``saes/sae.py``, ``saes/topk_sae.py``, ``loading/pretrained_sae_loaders.py``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.files import write_atomic
from release_kit.core.records import Fields
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import FormatError
from release_kit.sae.formats.imported import Imported, Parts, check_k, check_widths, make_sae
from release_kit.sae.formats.weights import Weights, open_settings, open_weights

if TYPE_CHECKING:
    import torch

CFG_FILE, WEIGHTS_FILE, SPARSITY_FILE = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
LAYOUT_VERSION = "6.54.12"
"""The version of SAELens whose files these are; older ones than 6 are read by it in another way."""
_BY_LENGTH = "constant_norm_rescale"
_THRESHOLDED = {"jumprelu", "standard"}


def write_saelens(
    sae: Sae, folder: Path, metadata: Mapping[str, Any], *, firing_rate: "torch.Tensor | None" = None
) -> None:
    """Write an autoencoder so that ``SAE.load_from_disk(folder)`` of SAELens gives the same features and output.

    Args:
        sae: the autoencoder.
        folder: made if it is missing; files of these names are replaced.
        metadata: of SAELens: ``model_name``, ``hook_name``, ``context_size``, ``prepend_bos``, ``dataset_path`` …;
            any other key stays too.
        firing_rate: (n_features,) share of tokens on which each feature fires, for ``sparsity.safetensors``.
    """
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    parts = _outside(sae)
    tensors = {"W_enc": parts.w_enc.T, "b_enc": parts.b_enc, "W_dec": parts.w_dec, "b_dec": parts.b_dec}
    if parts.threshold is not None:
        tensors["threshold"] = parts.threshold
    write_atomic(folder / WEIGHTS_FILE, save({name: _plain(value) for name, value in tensors.items()}))
    if firing_rate is not None:
        sparsity = torch.log10(firing_rate.double().clamp(min=1e-10)).float()
        write_atomic(folder / SPARSITY_FILE, save({"sparsity": _plain(sparsity)}))
    write_atomic(folder / CFG_FILE, canonical.document_bytes(_settings(sae, metadata)))


def read_saelens(folder: Path) -> Imported:
    """Read a folder of SAELens 4 to 6: standard, TopK and JumpReLU (BatchTopK and Matryoshka are stored as that).

    Raises:
        FormatError: another architecture or normalisation, tensors missing, of another shape or no finite numbers.
    """
    settings, weights = open_settings(folder / CFG_FILE), open_weights(folder / WEIGHTS_FILE)
    metadata = settings.take("metadata", dict, {})
    w_enc = weights.matrix("W_enc").T
    n_features, d_in = w_enc.shape
    parts = Parts(
        w_enc=w_enc,
        w_dec=weights.matrix("W_dec"),
        b_enc=weights.take("b_enc", (n_features,), default=0.0),
        b_dec=weights.take("b_dec", (d_in,)),
        threshold=weights.take("threshold", (n_features,)) if "threshold" in weights else None,
    )
    check_widths(weights, parts, (settings.take("d_in", int, None), settings.take("d_sae", int, None)))
    if "release_kit" in metadata:
        return _own(settings, metadata, parts)
    return _foreign(settings, metadata, weights, parts)


def _own(settings: Fields, metadata: dict[str, Any], parts: Parts) -> Imported:
    """Return an autoencoder of ours, with the configuration that it was trained under."""
    try:
        config = SaeConfig.from_fields(settings.child("metadata").child("release_kit"))
    except RecordError as error:
        raise FormatError(error.what, where=error.where, next_step=error.next_step) from error
    if config.normalise == "unit-norm":
        parts = _scaled(parts, parts.widths[0] ** 0.5)
    sae = Sae(
        config=config,
        w_enc=parts.w_enc.contiguous(),
        b_enc=parts.b_enc,
        w_dec=parts.w_dec.contiguous(),
        b_dec=parts.b_dec,
        threshold=parts.threshold,
    )
    return Imported(sae=sae, layout="saelens", facts={key: metadata[key] for key in metadata if key != "release_kit"})


def _foreign(settings: Fields, metadata: dict[str, Any], weights: Weights, parts: Parts) -> Imported:
    where = settings.where
    kind = _architecture(settings)
    if kind != "topk" and kind not in _THRESHOLDED:
        raise FormatError(f"architecture {kind} cannot be read; topk, jumprelu and standard can", where=where)
    notes = []
    normalise = settings.raw("normalize_activations") or "none"
    if normalise not in {"none", _BY_LENGTH}:
        raise FormatError(
            f"normalises inputs by {normalise}, which an autoencoder of ours does not",
            where=where,
            next_step="fold the normalisation into the weights with SAELens first",
        )
    if settings.take("rescale_acts_by_decoder_norm", bool, False):
        norms = parts.w_dec.norm(dim=1)
        if not bool((norms > 0).all()):
            raise FormatError("has features whose decoder is zero", where=str(weights.path))
        parts = Parts(
            w_enc=parts.w_enc * norms[:, None],
            b_enc=parts.b_enc * norms,
            w_dec=parts.w_dec / norms[:, None],
            b_dec=parts.b_dec,
            threshold=parts.threshold,
        )
        notes.append("lengths of decoder rows are folded into the encoder, which selects the same features")
    if normalise == _BY_LENGTH:
        parts = _scaled(parts, parts.widths[0] ** 0.5)
        notes.append("inputs of length sqrt(d_in) became inputs of length 1; the factor is in the weights")
    k = check_k(_k(settings), parts.widths[1], where) if kind == "topk" else None
    if kind == "jumprelu" and parts.threshold is None:
        raise FormatError("is missing", where=f"{weights.path}: tensor threshold")
    sae = make_sae(
        parts,
        k=k,
        subtract_decoder_bias=settings.take("apply_b_dec_to_input", bool, True),
        normalise="unit-norm" if normalise == _BY_LENGTH else "none",
    )
    names = ("model_name", "hook_name", "hook_layer", "context_size", "prepend_bos", "dataset_path")
    facts = dict(metadata) or {name: settings.raw(name) for name in names if settings.raw(name) is not None}
    return Imported(sae=sae, layout="saelens", facts=facts, notes=tuple(notes))


def _architecture(settings: Fields) -> str:
    """Return the architecture; before SAELens 6 TopK was an activation function."""
    activation = settings.raw("activation_fn") or settings.raw("activation_fn_str")
    return "topk" if activation == "topk" else settings.take("architecture", str, "standard")


def _k(settings: Fields) -> int:
    old = settings.raw("activation_fn_kwargs") or {}
    return old["k"] if isinstance(old.get("k"), int) else settings.take("k", int)


def _settings(sae: Sae, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``cfg.json``."""
    config = sae.config
    topk = sae.threshold is None
    common = {
        "architecture": "topk" if topk else "jumprelu",
        "d_in": config.d_in,
        "d_sae": config.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.subtract_decoder_bias,
        "normalize_activations": _BY_LENGTH if config.normalise == "unit-norm" else "none",
        "reshape_activations": "none",
    }
    if topk:
        common |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    own = config.to_json()
    if config.normalise == "rms":
        own |= {"normalise": "none", "rms_scale": None}
    said = {"sae_lens_version": LAYOUT_VERSION, "sae_lens_training_version": None, **metadata, "release_kit": own}
    return common | {"metadata": said}


def _outside(sae: Sae) -> Parts:
    """Return the tensors as SAELens applies them to inputs as they come."""
    parts = Parts(w_enc=sae.w_enc, w_dec=sae.w_dec, b_enc=sae.b_enc, b_dec=sae.b_dec, threshold=sae.threshold)
    if sae.config.normalise == "unit-norm":
        return _scaled(parts, sae.config.d_in**-0.5)
    return _scaled(parts, sae.config.rms_scale) if sae.config.normalise == "rms" else parts


def _scaled(parts: Parts, factor: float) -> Parts:
    """Return what does to inputs divided by ``factor`` what ``parts`` does to inputs."""
    return Parts(
        w_enc=parts.w_enc * factor,
        b_enc=parts.b_enc,
        w_dec=parts.w_dec / factor,
        b_dec=parts.b_dec / factor,
        threshold=parts.threshold,
    )


def _plain(value: "torch.Tensor") -> "torch.Tensor":
    return value.detach().float().cpu().contiguous()
