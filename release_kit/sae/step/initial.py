"""Where training starts: random decoder rows of length 1, the encoder along them, the decoder's bias the data's middle.

Owns the choice of first tensors from a seed and a sample. With ``encoder_start`` 1 the recipe is that of llm-jp-sae and
of Gao et al. 2024; what a shorter encoder is good for stands in ``docs/sae-training-step.md``.
"""

from typing import TYPE_CHECKING

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae, normalised

if TYPE_CHECKING:
    import torch

FIRST_ACTIVE = 64
"""Features of a token that JumpReLU's first thresholds let through on the sample."""
_PURPOSE = 71
"""Keeps these random numbers apart from others of the same seed."""


def initial_sae(config: SaeConfig, seed: int, sample: "torch.Tensor | None" = None) -> Sae:
    """Return an untrained autoencoder; the same arguments give the same bytes.

    Args:
        config: what it is.
        seed: of the decoder rows.
        sample: (m, d_in) activations, some thousands, not normalised: ``b_dec`` becomes their geometric median and
            JumpReLU's thresholds let ``FIRST_ACTIVE`` features of a token through, or an eighth of all. Without it
            ``b_dec`` is 0 and these thresholds are 0.01.
    """
    import numpy as np
    import torch

    rng = np.random.default_rng([seed, _PURPOSE])
    rows = torch.from_numpy(rng.standard_normal((config.n_features, config.d_in), dtype=np.float32))
    w_dec = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    w_enc = w_dec * config.encoder_start
    b_dec, threshold = torch.zeros(config.d_in), None
    x = None if sample is None else normalised(config, sample.cpu())[0]
    if x is not None:
        b_dec = geometric_median(x)
    if config.has_threshold:
        first = _first_threshold(config, x, w_enc, b_dec) if config.architecture == "jumprelu" else 0.0
        threshold = torch.full((config.n_features,), first)
    sae = Sae(
        config=config,
        w_enc=w_enc,
        b_enc=torch.zeros(config.n_features),
        w_dec=w_dec,
        b_dec=b_dec,
        threshold=threshold,
    )
    return sae if sample is None else sae.to(str(sample.device))


def geometric_median(x: "torch.Tensor", n_iterations: int = 100) -> "torch.Tensor":
    """Return the (d,) point whose distances to the rows of (m, d) have the least sum, by Weiszfeld's method."""
    import torch

    found = x.mean(dim=0)
    for _ in range(n_iterations):
        weight = 1 / torch.linalg.vector_norm(x - found, dim=1).clamp(min=1e-12)
        moved = (weight @ x) / weight.sum()
        close = torch.linalg.vector_norm(moved - found) <= 1e-7 * torch.linalg.vector_norm(moved)
        found = moved
        if close:
            break
    return found


def _first_threshold(
    config: SaeConfig, x: "torch.Tensor | None", w_enc: "torch.Tensor", b_dec: "torch.Tensor"
) -> float:
    import torch

    if x is None:
        return 0.01
    given = x[:: max(1, len(x) // 256)]
    given = given - b_dec if config.subtract_decoder_bias else given
    scores = (given @ w_enc.T).view(-1)
    n = len(given) * max(1, min(FIRST_ACTIVE, config.n_features // 8))
    return max(1e-6, float(torch.topk(scores, n, sorted=False).values.min()))
