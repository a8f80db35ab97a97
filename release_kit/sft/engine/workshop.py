"""What one worker keeps from unit to unit: the loaded base model, its digests, and tokenised data.

Owns only the keeping. A base is let go when a unit of another base comes; digests are taken again when a file of the
base has changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import IntegrityError
from release_kit.core.files import iter_files
from release_kit.core.study import Study
from release_kit.sft.spec.identity import BaseIdentity, base_identity
from release_kit.sft.spec.runs import RunPlan, base_folder
from release_kit.sft.spec.settings import TrainingSettings

N_TOKENISED = 4
"""Tokenised datasets that are kept: neighbours in the order of work often share one."""


class Workshop:
    """The warm state of one worker.

    Args:
        study: the study that it works on.
        device: ``cpu``, ``cuda``, ``cuda:1`` …
    """

    def __init__(self, study: Study, device: str = "cpu"):
        self.study, self.device = study, device
        self._warm: tuple[str, Any] | None = None
        self._identities: dict[str, tuple[Any, BaseIdentity]] = {}
        self._tokenised: dict[tuple, Any] = {}

    def identity(self, base_model: str) -> BaseIdentity:
        """Return the digests of a base model, checked against what the study declares.

        Raises:
            ArtifactError: the folder is missing or has no weights.
            IntegrityError: the weights are not those that ``weights_sha256`` of the study names.
        """
        folder = base_folder(self.study, base_model)
        state = folder_state(folder)
        if base_model not in self._identities or self._identities[base_model][0] != state:
            self._identities[base_model] = (state, base_identity(folder, base_model))
        identity = self._identities[base_model][1]
        declared = self._declared(base_model).get("weights_sha256")
        if declared and declared != identity.weights_sha256:
            what = f"expected weights with sha256 {declared[:16]}…, got {identity.weights_sha256[:16]}…"
            step = f"put the real {base_model} there, or correct `weights_sha256` in study.yaml"
            raise IntegrityError(what, where=str(folder.relative_to(self.study.folder)), next_step=step)
        return identity

    def warm(self, base_model: str) -> Any:
        """Return the loaded base model; the one before it is let go first, so that two never share the memory."""
        key = self._key(base_model)
        if self._warm is None or self._warm[0] != key:
            from release_kit.sft.train.warm import WarmBase

            self._warm = None
            self._tokenised.clear()
            name = self._declared(base_model).get("hub_id") or base_model
            self._warm = (key, WarmBase(base_folder(self.study, base_model), self.device, name=str(name)))
        return self._warm[1]

    def examples(self, plan: RunPlan, selected: Any, settings: TrainingSettings) -> list:
        """Return the tokens of a run's examples (``Selected``) after the audit has passed them; kept for the next run.

        Raises:
            DataError: the audit refuses the data.
        """
        from release_kit.sft.data.study_audit import TOKENISED_BY

        key = (self._key(plan.base_model), selected.sha256, *(getattr(settings, name) for name in TOKENISED_BY))
        if key not in self._tokenised:
            from release_kit.sft.data.audit import audit

            warm = self.warm(plan.base_model)
            limits = {"context_length": warm.max_positions, "vocab_size": warm.model.config.vocab_size}
            report = audit(selected.rows, warm.tokenizer, settings, places=selected.places, **limits)
            report.refuse(plan.describe())
            while len(self._tokenised) >= N_TOKENISED:
                self._tokenised.pop(next(iter(self._tokenised)))
            self._tokenised[key] = list(report.tokens)
        return self._tokenised[key]

    def provenance_of(self, base_model: str) -> dict[str, Any]:
        """Return ``{name, digest, files_sha256, source}`` of a base for a cell's provenance."""
        known = self._declared(base_model)
        made = base_folder(self.study, base_model) / "base.json"
        source = canonical.read_json(made) if made.is_file() else known.get("source")
        name = str(known.get("hub_id") or base_model)
        identity = self.identity(base_model)
        return {
            "name": name,
            "digest": identity.weights_sha256,
            "files_sha256": canonical.digest(dict(identity.files)),
            "source": source,
        }

    def _key(self, base_model: str) -> str:
        """Return what a loaded base is known by: every file counts, a tokenizer without new weights too."""
        return f"{base_model}:{canonical.digest(dict(self.identity(base_model).files))}"

    def _declared(self, base_model: str) -> Mapping[str, Any]:
        factor = self.study.factor_with_role("base_model")
        return factor.properties.get(base_model, {}) if factor else {}


def folder_state(folder: Path) -> Mapping[str, tuple] | None:
    """Return what tells whether any file of a folder was written to since; None when there is no folder."""
    if not folder.is_dir():
        return None
    return {path: (state.st_ino, state.st_size, state.st_mtime_ns) for path, state in iter_files(folder)}
