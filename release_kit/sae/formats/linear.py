"""The layouts that keep PyTorch's linear modules: sparsify, dictionary_learning, llm-jp-sae, Llama Scope.

``encoder.weight`` is (n_features, d_in), ``decoder.weight`` (d_in, n_features). Sources: sparsify 1.3.3
(``sparse_coder.py``), dictionary_learning 0.1.0 (``dictionary.py``, ``trainers/``), llm-jp-sae ebc03ef (``model.py``),
and for Llama Scope the loader of SAELens 6.54.
"""

from pathlib import Path

from release_kit.core.records import Fields
from release_kit.sae.errors import FormatError
from release_kit.sae.formats.imported import Imported, Parts, check_k, check_widths, make_sae
from release_kit.sae.formats.weights import Weights, open_settings, open_weights


def read_sparsify(folder: Path) -> Imported:
    """Read ``cfg.json`` and ``sae.safetensors``: TopK over ReLU, the decoder's bias taken off first.

    Raises:
        FormatError: another activation or a transcoder, tensors missing or of another shape.
    """
    settings, weights = open_settings(folder / "cfg.json"), open_weights(folder / "sae.safetensors")
    activation = settings.take("activation", str, "topk")
    unlike = [name for name in ("transcode", "skip_connection", "signed") if settings.take(name, bool, False)]
    if activation != "topk" or unlike:
        what = ", ".join(unlike) or f"activation {activation}"
        raise FormatError(f"{what} is nothing that an autoencoder of ours does", where=str(folder / "cfg.json"))
    w_enc = weights.matrix("encoder.weight")
    n_features, d_in = w_enc.shape
    parts = Parts(
        w_enc=w_enc,
        w_dec=weights.matrix("W_dec"),
        b_enc=weights.take("encoder.bias", (n_features,)),
        b_dec=weights.take("b_dec", (d_in,)),
    )
    said = settings.take("num_latents", int, 0) or d_in * settings.take("expansion_factor", int, 0) or None
    check_widths(weights, parts, (settings.take("d_in", int), said))
    k = check_k(settings.take("k", int), n_features, str(folder / "cfg.json"))
    return Imported(sae=make_sae(parts, k=k, subtract_decoder_bias=True), layout="sparsify", facts=_layer(folder))


def read_dictionary_learning(folder: Path) -> Imported:
    """Read ``config.json`` and ``ae.pt``: AutoEncoder, TopK, BatchTopK, Matryoshka and JumpReLU of that library.

    BatchTopK and Matryoshka are used with their threshold, as that library uses them after training.

    Raises:
        FormatError: another class (gated), a file that needs code to be read, tensors missing or of another shape.
    """
    settings, weights = open_settings(folder / "config.json"), open_weights(folder / "ae.pt")
    trainer = settings.child("trainer")
    kind = trainer.take("dict_class", str)
    facts = {name: trainer.raw(name) for name in ("lm_name", "layer", "submodule_name", "seed", "steps")}
    parts = _dictionary_parts(weights)
    check_widths(weights, parts, (trainer.take("activation_dim", int, None), trainer.take("dict_size", int, None)))
    if kind == "AutoEncoderTopK":
        k = check_k(int(weights.number("k")), parts.widths[1], str(weights.path))
        sae = make_sae(parts, k=k, subtract_decoder_bias=True)
    elif kind in {"BatchTopKSAE", "MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder", "AutoEncoder"}:
        # Only JumpReLU encodes the input as it comes; its own setting says so where a file has it.
        subtract = kind != "JumpReluAutoEncoder" or bool(trainer.take("apply_b_dec_to_input", bool, False))
        sae = make_sae(_with_threshold(parts, weights, kind), subtract_decoder_bias=subtract)
    else:
        raise FormatError(f"{kind} is none of the classes that can be read", where=f"{folder / 'config.json'}: trainer")
    return Imported(sae=sae, layout="dictionary_learning", facts={"dict_class": kind, **facts})


def read_llm_jp(folder: Path) -> Imported:
    """Read ``config.json`` and ``model.safetensors`` of llm-jp-sae: TopK on inputs of length 1.

    Raises:
        FormatError: tensors missing or of another shape.
    """
    settings, weights = open_settings(folder / "config.json"), open_weights(folder / "model.safetensors")
    parts = _linear_parts(weights)
    check_widths(weights, parts, (settings.take("d_in", int), settings.take("num_latents", int)))
    k = check_k(settings.take("k", int), parts.widths[1], str(folder / "config.json"))
    sae = make_sae(parts, k=k, subtract_decoder_bias=True, normalise="unit-norm")
    return Imported(sae=sae, layout="llm-jp-sae", facts={"model_type": settings.raw("model_type")})


def read_llama_scope(folder: Path) -> Imported:
    """Read ``hyperparams.json`` and ``checkpoints/final.safetensors``: one threshold, one scale for all inputs.

    The scale is sqrt(d_in) over the data set's mean length; the threshold is multiplied by it as SAELens does.

    Raises:
        FormatError: tensors missing or of another shape, a mean length that is none.
    """
    settings = open_settings(folder / "hyperparams.json")
    weights = open_weights(folder / "checkpoints" / "final.safetensors")
    parts = _linear_parts(weights)
    check_widths(weights, parts, (settings.take("d_model", int), settings.take("d_sae", int)))
    length = _positive(settings.child("dataset_average_activation_norm"), "in")
    scale = parts.widths[0] ** 0.5 / length
    threshold = float(settings.take("jump_relu_threshold", (int, float))) * scale
    parts = Parts(
        w_enc=parts.w_enc,
        w_dec=parts.w_dec,
        b_enc=parts.b_enc,
        b_dec=parts.b_dec,
        threshold=parts.b_enc.new_full(parts.b_enc.shape, threshold),
    )
    sae = make_sae(parts, subtract_decoder_bias=False, normalise="rms", rms_scale=scale)
    return Imported(sae=sae, layout="llama-scope", facts={"hook_name": settings.raw("hook_point_in")})


def _linear_parts(weights: Weights) -> Parts:
    w_enc = weights.matrix("encoder.weight")
    n_features, d_in = w_enc.shape
    bias = next((name for name in ("b_dec", "decoder.bias", "bias") if name in weights), "b_dec")
    return Parts(
        w_enc=w_enc,
        w_dec=weights.matrix("decoder.weight").T,
        b_enc=weights.take("encoder.bias", (n_features,)),
        b_dec=weights.take(bias, (d_in,)),
    )


def _dictionary_parts(weights: Weights) -> Parts:
    if "W_enc" not in weights:
        return _linear_parts(weights)
    w_enc = weights.matrix("W_enc").T
    n_features, d_in = w_enc.shape
    return Parts(
        w_enc=w_enc,
        w_dec=weights.matrix("W_dec"),
        b_enc=weights.take("b_enc", (n_features,)),
        b_dec=weights.take("b_dec", (d_in,)),
    )


def _with_threshold(parts: Parts, weights: Weights, kind: str) -> Parts:
    """Return the parts with a threshold for each feature: one of each, one for all, or zero for plain ReLU."""
    n_features = parts.widths[1]
    if kind == "JumpReluAutoEncoder":
        threshold = weights.take("threshold", (n_features,))
    else:
        value = 0.0 if kind == "AutoEncoder" else max(weights.number("threshold"), 0.0)
        threshold = parts.b_enc.new_full((n_features,), value)
    return Parts(w_enc=parts.w_enc, w_dec=parts.w_dec, b_enc=parts.b_enc, b_dec=parts.b_dec, threshold=threshold)


def _layer(folder: Path) -> dict[str, str]:
    return {"hookpoint": folder.name} if folder.name.startswith("layers") else {}


def _positive(fields: Fields, name: str) -> float:
    value = float(fields.take(name, (int, float)))
    if not 0 < value < float("inf"):
        raise FormatError(f"is {value}, expected a length above 0", where=f"{fields.where}: {name}")
    return value
