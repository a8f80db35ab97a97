"""What an autoencoder's bytes depend on, as a record and its digest.

Versions of libraries and the kind of device are written beside it (``versions``), not in it: other ones give numbers
that differ by rounding, and a finished autoencoder is not made again for that.
"""

import importlib.metadata
from dataclasses import asdict
from typing import Any

from release_kit import __version__
from release_kit.core import canonical
from release_kit.sae.models.hooks import HOOK_VERSION
from release_kit.sae.pipeline.models import step_digest
from release_kit.sae.pipeline.paths import SaeKey
from release_kit.sae.pipeline.plan import previous_step
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.spec.model import SaeStudy

RECIPE_VERSION = 1
"""Raised when the same settings give another autoencoder than before."""
_CHANGES_NOTHING = ("checkpoint_every",)


class Identities:
    """Identities of the autoencoders of one study; digests of models and texts are taken once.

    Args:
        study: whose models lie on disk already.
    """

    def __init__(self, study: SaeStudy):
        self._study = study
        self._models: dict[tuple[str, int], str] = {}
        self._known: dict[SaeKey, dict[str, Any]] = {}

    def of(self, key: SaeKey) -> dict[str, Any]:
        """Return everything that decides the bytes of an autoencoder, as JSON.

        Raises:
            SaeError: its model is not there, or the texts cannot be read.
        """
        if key not in self._known:
            self._known[key] = self._make(key)
        return self._known[key]

    def digest(self, key: SaeKey) -> str:
        """Return the sha256 (64 hex digits) of ``of(key)``."""
        return canonical.digest(self.of(key))

    def _make(self, key: SaeKey) -> dict[str, Any]:
        study = self._study
        training = {name: value for name, value in asdict(study.training).items() if name not in _CHANGES_NOTHING}
        before = previous_step(study, key.size, key.step)
        warm = None if before is None else SaeKey(size=key.size, step=before, layer=key.layer, seed=key.seed)
        cache = {"kind": study.cache.kind, "dtype": study.cache.dtype if study.cache.kind == "disk" else None}
        return {
            "recipe": RECIPE_VERSION,
            "hook": HOOK_VERSION,
            "layer": key.layer,
            "seed": key.seed,
            "model": self._model(key.size, key.step),
            "text": study_texts(study).train_digest,
            "sae": {**asdict(study.sae), "groups": list(study.sae.groups)},
            "training": training,
            "cache": cache,
            "warm_from": None if warm is None else self.digest(warm),
        }

    def _model(self, size: str, step: int) -> str:
        if (size, step) not in self._models:
            self._models[size, step] = step_digest(self._study, size, step)
        return self._models[size, step]


def versions(device: str) -> dict[str, str]:
    """Return what calculates, beside the identity: release_kit, libraries, kind of device."""
    libraries = {name: importlib.metadata.version(name) for name in ("numpy", "torch", "transformers")}
    return {"release_kit": __version__, **libraries, "device": device.partition(":")[0]}


def changes(there: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return in words how one identity differs from another: ``training.tokens 1000 → 2000; model``."""
    flat = [dict(_flat(one, "")) for one in (there, asked)]
    said = []
    for name in sorted(flat[0].keys() | flat[1].keys()):
        before, after = (one.get(name) for one in flat)
        if before != after:
            is_digest = any(isinstance(one, str) and len(one) == 64 for one in (before, after))
            said.append(name if is_digest else f"{name} {before!r} → {after!r}")
    return "; ".join(said)


def _flat(value: dict[str, Any], head: str) -> list[tuple[str, Any]]:
    found = []
    for name, one in value.items():
        found += _flat(one, f"{head}{name}.") if isinstance(one, dict) else [(f"{head}{name}", one)]
    return found
