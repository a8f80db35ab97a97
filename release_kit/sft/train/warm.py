"""A base model that stays in memory: loaded once, trained from many times, its weights put back bit for bit.

Owns loading, float32 master weights, LoRA adapters on and off, the device. What is trained on is ``data/``.
"""

import hashlib
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, MissingExtraError
from release_kit.sft.runtime import compute_type, prepare_runtime, set_seed
from release_kit.sft.spec.settings import LORA, TrainingSettings
from release_kit.sft.train.pristine import Pristine

CPU = "cpu"


class WarmBase:
    """One base model and its tokenizer, ready to train from, as often as wanted.

    Args:
        folder: checkpoint folder that ``from_pretrained`` reads.
        device: ``cpu``, ``cuda`` or ``cuda:<n>``.
        name: what adapters name as their base; default: the Hub id in ``base.json``, else the folder's name.
        threads: threads of this process; results depend on it to the last bit.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ArtifactError: the folder holds no model that transformers reads, or the device is not there.
    """

    def __init__(self, folder: Path, device: str = CPU, *, name: str | None = None, threads: int = 1):
        torch = prepare_runtime(threads=threads)
        self.folder, self.name = folder, name or published_name(folder)
        self.device = _device(torch, device)
        self.model, self.tokenizer = _load(folder, torch)
        self.model.to(self.device)
        self.tokenizer_files = _saved_files(self.tokenizer)
        self._pristine = Pristine(folder, self._stored())
        self._fingerprint = _sampled(self._stored())
        self._adapted: Any = None
        self._dirty = False
        self._mode: str | None = None

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model was built for; None when its configuration does not say."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def mode(self) -> str:
        """How packed examples are kept apart in this architecture (``loss.find_mode``), found once."""
        if self._mode is None:
            from release_kit.sft.train.loss import find_mode

            self.restore()
            self._mode = find_mode(self.model, self.device)
        return self._mode

    def fingerprint(self) -> str:
        """Return a digest over a sample of every weight: tells one base from another, cheap enough for every run."""
        return self._fingerprint

    def fresh(self, method: str, settings: TrainingSettings, seed: int) -> Any:
        """Return the model as the base has it, ready to train; a model returned earlier is not to be used any more.

        Args:
            method: ``full`` (every weight trains) or ``lora`` (a new adapter trains).
            settings: of the run.
            seed: draws the adapter's first weights.

        Raises:
            ArtifactError: a trained weight is not float32, or a target of the adapter is no module of this model.
        """
        _ = self.mode  # found on the bare base: finding it later would take the adapter off again
        self.restore()
        self._dirty = method != LORA
        model = self._with_adapter(settings, seed) if method == LORA else self.model
        if method != LORA:
            model.requires_grad_(True)
        require_master_weights(model)
        _set_checkpointing(self.model, settings.gradient_checkpointing)
        model.train()
        return model

    def restore(self) -> Any:
        """Put the base back as it was loaded, without adapter, and return it."""
        if self._adapted is not None:
            self.model = self._adapted.unload()
            self._adapted = None
            if hasattr(self.model, "peft_config"):
                del self.model.peft_config
        if self._dirty:
            self._pristine.put_back(self._stored())
            self._dirty = False
        for parameter in self.model.parameters():
            parameter.grad = None
        self.model.eval()
        return self.model

    def _stored(self) -> dict[str, Any]:
        """Return parameters and buffers by name; tied ones once."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    def _with_adapter(self, settings: TrainingSettings, seed: int) -> Any:
        try:
            import peft
        except ModuleNotFoundError as error:
            raise MissingExtraError("peft", "sft") from error
        lora = settings.lora
        targets = lora.targets if "," not in lora.targets else [part.strip() for part in lora.targets.split(",")]
        if isinstance(targets, str) and targets != "all-linear":
            targets = [targets]
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets
        )
        set_seed(seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it left behind
                self._adapted = peft.get_peft_model(self.model, config)
        except ValueError as error:
            step = f"name linear modules of {type(self.model).__name__} in settings.training.lora.targets"
            raise ArtifactError(f"cannot take this adapter ({error})", where=self.name, next_step=step) from error
        self._adapted.peft_config["default"].base_model_name_or_path = self.name
        return self._adapted


def require_master_weights(model: Any) -> None:
    """Refuse to train anything but float32 weights.

    In bfloat16 an update smaller than half a unit in the last place vanishes: after thirty steps 2 % of the weights
    had moved where 16 % should have, and nothing in the log looked wrong.

    Raises:
        ArtifactError: a trained parameter has another type; every kind is named.
    """
    import torch

    wrong: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            wrong.setdefault(str(parameter.dtype).removeprefix("torch."), []).append(name)
    if wrong:
        found = "; ".join(f"{len(names)} in {kind}, first {names[0]}" for kind, names in sorted(wrong.items()))
        step = "load the base with dtype=float32; bfloat16 belongs to `compute`, which leaves the weights alone"
        raise ArtifactError(f"trained weights must be float32, but: {found}", where="model", next_step=step)


def compute_for(wanted: str, device: Any) -> str:
    """Return ``float32`` or ``bfloat16`` for ``settings.compute`` on a device; ``auto`` asks the hardware."""
    if wanted != "auto" or device.type == CPU:
        return compute_type(wanted)
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def published_name(folder: Path) -> str:
    """Return the name under which other people find a base model: its Hub id, else its folder's name, never a path."""
    record = folder / "base.json"
    known: Mapping[str, Any] = canonical.read_json(record) if record.is_file() else {}
    return str(known.get("hub_id") or folder.resolve().name)


def _load(folder: Path, torch: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        step = "run `release-kit sft prepare` on the study, or put a safetensors checkpoint there"
        raise ArtifactError(
            f"is not a model that transformers reads ({error})", where=str(folder), next_step=step
        ) from error
    return model, tokenizer


def _device(torch: Any, wanted: str) -> Any:
    import os

    device = torch.device(wanted)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            step = "use --device cpu, or install a torch that knows this machine's GPU"
            raise ArtifactError("torch sees no GPU here", where=f"--device {wanted}", next_step=step)
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # without it cuBLAS may change its sums from run to run
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def _set_checkpointing(model: Any, wanted: bool) -> None:
    """Recompute activations in the backward pass, or keep them; transformers renamed both methods."""
    for prefix in ("activation", "gradient"):
        if hasattr(model, f"{prefix}_checkpointing_enable"):
            if wanted:
                options = {f"{prefix}_checkpointing_kwargs": {"use_reentrant": False}}
                getattr(model, f"{prefix}_checkpointing_enable")(**options)
            elif model.is_gradient_checkpointing if prefix == "gradient" else model.is_activation_checkpointing:
                getattr(model, f"{prefix}_checkpointing_disable")()
            return


def _sampled(stored: Mapping[str, Any]) -> str:
    """Return the sha256 over the name, shape and some sixty-four values of every tensor."""
    digest = hashlib.sha256()
    for name, value in sorted(stored.items()):
        flat = value.detach().reshape(-1)
        digest.update(f"{name}\0{tuple(value.shape)}\0".encode())
        digest.update(flat[:: max(1, flat.numel() // 64)].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _saved_files(tokenizer: Any) -> dict[str, bytes]:
    """Return the files that the tokenizer saves, so that a thousand artifacts serialise it once."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        return {path.name: path.read_bytes() for path in sorted(Path(scratch).iterdir()) if path.is_file()}
