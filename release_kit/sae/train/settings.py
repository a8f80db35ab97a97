"""From the words of a study to what one autoencoder is and how its steps are taken."""

from dataclasses import replace
from typing import TYPE_CHECKING

from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.train.one import Schedule

if TYPE_CHECKING:
    from release_kit.sae.pipeline.read import FinishedSae


def sae_config(study: SaeStudy, d_in: int, mean_square: float | None = None) -> SaeConfig:
    """Return what the autoencoders of a model with this width are.

    Args:
        study: the study.
        d_in: width of the activations.
        mean_square: of the activations of a layer, over tokens and coordinates; ``rms`` scales it to 1.

    Raises:
        SaeError: settings contradict each other, or this width.
    """
    use = study.sae
    is_jumprelu = use.architecture == "jumprelu"
    scale = None
    if use.normalise == "rms":
        scale = 1.0 if mean_square is None else mean_square**-0.5
    return SaeConfig(
        architecture=use.architecture, d_in=d_in, n_features=use.width(d_in), k=None if is_jumprelu else use.k,
        normalise=use.normalise, rms_scale=scale, subtract_decoder_bias=use.subtract_decoder_bias,
        encoder_start=1.0 if is_jumprelu else use.encoder_start, groups=use.groups,
        l0_coefficient=use.l0_coefficient if is_jumprelu else 0.0, bandwidth=use.bandwidth, aux_k=use.aux_k,
        aux_coefficient=use.aux_coefficient, dead_after_tokens=use.dead_after_tokens,
    )  # fmt: skip


def step_settings(study: SaeStudy) -> StepSettings:
    """Return how steps are taken.

    Raises:
        SaeError: a value is out of range.
    """
    use = study.training
    return StepSettings(
        lr=use.learning_rate, warmup_steps=use.warmup_steps, clip_norm=use.clip or None, loss=use.loss,
        precision=use.precision,
    )  # fmt: skip


def schedule(study: SaeStudy) -> Schedule:
    """Return how many steps an autoencoder takes, and how often a state is written."""
    return Schedule(n_steps=study.training.n_steps, checkpoint_every=study.training.checkpoint_every)


def warm_sae(before: "FinishedSae", config: SaeConfig) -> Sae:
    """Return the autoencoder of the step before as one to begin with.

    Its files apply to inputs as they come: with ``rms`` the factor that is in them is taken out, and the new layer's
    factor stands in ``config``.

    Raises:
        SaeError: it has other settings.
    """
    sae = before.load()
    scale = before.record["config"]["rms_scale"]
    tensors = {name: getattr(sae, name) for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")}
    if scale is not None:
        tensors |= {"w_enc": sae.w_enc / scale, "w_dec": sae.w_dec * scale, "b_dec": sae.b_dec * scale}
        known = replace(sae.config, normalise="rms", rms_scale=config.rms_scale)
    else:
        known = sae.config
    if known != config:
        step = "train the step before again: --redo-stale"
        raise SaeError("is none to begin with: it has other settings", where=str(before.folder), next_step=step)
    return Sae(config=config, **tensors)
