"""A sparse autoencoder: its tensors, and encoding and decoding with them without an array of all features.

Owns the shapes and types that belong together, the normalisation of inputs, and the codes that come out. Selecting and
summing is ``step/encode.py`` and ``step/decode.py``, which training uses too; files are ``formats/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.sae.config import SaeConfig
from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import torch

TILE_ROWS = 512
"""Tokens whose pre-activations exist at one time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Active features of tokens; padding has index 0 and value 0.

    Attributes:
        indices: (m, width) int64, each row from its largest value to its smallest.
        values: (m, width) float32, none below 0; width is k, or the most that any of these rows has.
        scale: (m,) float32 factor that takes a reconstruction back to the space of x; None where it is 1 for all.
    """

    indices: "torch.Tensor"
    values: "torch.Tensor"
    scale: "torch.Tensor | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sae:
    """One autoencoder; all tensors are float32 and on one device.

    Attributes:
        config: what it is.
        w_enc: (n_features, d_in).
        b_enc: (n_features,).
        w_dec: (n_features, d_in), a row for each feature.
        b_dec: (d_in,).
        threshold: (n_features,) pre-activations that a feature must exceed; None where rows select by number.
    """

    config: SaeConfig
    w_enc: "torch.Tensor"
    b_enc: "torch.Tensor"
    w_dec: "torch.Tensor"
    b_dec: "torch.Tensor"
    threshold: "torch.Tensor | None" = None

    def __post_init__(self) -> None:
        """Refuse tensors that do not fit.

        Raises:
            SaeError: names every tensor of another shape or type, and a threshold too many or too few.
        """
        wrong = [*_misfits(self)]
        if wrong:
            raise SaeError("; ".join(wrong), where="autoencoder")

    def normalised(self, x: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor | None]":
        """Return x as the encoder's arithmetic takes it, and what undoes it.

        Args:
            x: (m, d_in) activations of any float type.

        Returns:
            (m, d_in) float32 x', and (m,) float32 with x = x' times it; None where that is 1. A row of zeros stays.

        Raises:
            SaeError: x has another width.
        """
        return normalised(self.config, x)

    def encode(self, x: "torch.Tensor", *, tile_rows: int = TILE_ROWS) -> Codes:
        """Return the active features of every token, in memory of ``tile_rows`` rows of features.

        Args:
            x: (m, d_in) activations.
            tile_rows: tokens that are worked on at a time: memory, and no more than rounding of the result.

        Raises:
            SaeError: x has another width.
        """
        import torch

        from release_kit.sae.step.encode import encode_above, encode_topk

        given, scale = self.normalised(x)
        given = given - self.b_dec if self.config.subtract_decoder_bias else given
        with torch.no_grad():
            if self.threshold is None:
                chosen = encode_topk(given, self.w_enc, self.b_enc, self.config.k, tile_rows=tile_rows)
                values, order = torch.sort(chosen.values.view(len(x), -1), dim=1, descending=True, stable=True)
                indices = chosen.indices.view(len(x), -1).gather(1, order)
                return Codes(indices=indices.where(values > 0, indices.new_zeros(())), values=values, scale=scale)
            chosen = encode_above(given, self.w_enc, self.b_enc, self.threshold.clamp(min=0), tile_rows=tile_rows)
            indices, values = chosen.padded()
        return Codes(indices=indices, values=values, scale=scale)

    def decode(self, codes: Codes, scale: "torch.Tensor | None" = None) -> "torch.Tensor":
        """Return the reconstruction of the tokens that ``codes`` come from, in the space of x.

        Args:
            codes: of ``encode``, or any with some values changed.
            scale: (m,) factors instead of those in ``codes``.

        Returns:
            (m, d_in) float32: ``(z W_dec + b_dec) * scale``.
        """
        import torch
        from torch.nn.functional import embedding_bag

        factor = codes.scale if scale is None else scale
        with torch.no_grad():
            if codes.indices.shape[1] == 0:
                found = self.b_dec.expand(len(codes.indices), -1).clone()
            else:
                found = embedding_bag(codes.indices, self.w_dec, mode="sum", per_sample_weights=codes.values)
                found += self.b_dec
            return found if factor is None else found.mul_(factor.unsqueeze(1))

    def features(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return (m, n_features) float32 with every feature's value: for tests and small jobs."""
        import torch

        codes = self.encode(x)
        dense = torch.zeros(len(x), self.config.n_features, device=codes.values.device)
        return dense.scatter_add_(1, codes.indices, codes.values)

    def to(self, device: str) -> "Sae":
        """Return it with its tensors on ``device``."""
        threshold = None if self.threshold is None else self.threshold.to(device)
        tensors = {name: getattr(self, name).to(device) for name in ("w_enc", "b_enc", "w_dec", "b_dec")}
        return Sae(config=self.config, threshold=threshold, **tensors)

    def save(self, folder: Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``, which SAELens loads; ``load`` gives this one again."""
        from release_kit.sae.formats.saelens import write_saelens

        write_saelens(self, folder, metadata or {})

    @classmethod
    def load(cls, folder: Path) -> "Sae":
        """Read what ``save`` wrote.

        Raises:
            FormatError: files are missing or damaged.
        """
        from release_kit.sae.formats.saelens import read_saelens

        return read_saelens(folder).sae


def normalised(config: SaeConfig, x: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor | None]":
    """Return x' and the factors that undo it, as ``Sae.normalised`` does.

    Raises:
        SaeError: x is no matrix of width d_in.
    """
    import torch

    if x.ndim != 2 or x.shape[1] != config.d_in:
        raise SaeError(f"activations have shape {tuple(x.shape)}, expected (n_tokens, {config.d_in})")
    x = x.float()
    if config.normalise == "unit-norm":
        scale = torch.linalg.vector_norm(x, dim=1)
        return x / scale.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1), scale
    if config.normalise == "rms":
        return x * config.rms_scale, x.new_full((len(x),), 1 / config.rms_scale)
    return x, None


def _misfits(sae: Sae) -> list[str]:
    import torch

    n, d = sae.config.n_features, sae.config.d_in
    shapes = {"w_enc": (n, d), "b_enc": (n,), "w_dec": (n, d), "b_dec": (d,)}
    if sae.threshold is not None:
        shapes["threshold"] = (n,)
    wrong = []
    for name, shape in shapes.items():
        found = getattr(sae, name)
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            wrong.append(f"`{name}` is {tuple(found.shape)} {found.dtype}, expected {shape} torch.float32")
        elif found.device != sae.w_enc.device:
            wrong.append(f"`{name}` is on {found.device}, `w_enc` on {sae.w_enc.device}")
    if sae.config.has_threshold != (sae.threshold is not None):
        state = "is missing" if sae.threshold is None else "is given"
        wrong.append(f"`threshold` {state}, and {sae.config.architecture} selects by {sae.config.selects}")
    return wrong
