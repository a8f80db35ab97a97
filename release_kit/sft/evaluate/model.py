"""The model that is evaluated: what it is made of, its digest, and its weights in memory.

A worker scores hundreds of checkpoints of one architecture, so the module is built once and only its weights change
from cell to cell, read from the files that are published. The digest is computed from those files, whatever the
caller believes they are: no score can be filed under weights that did not give it.
"""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError

CONFIG_FILE, WEIGHTS_FILE, ADAPTER_CONFIG = "config.json", "model.safetensors", "adapter_config.json"
GENERATION_FILE = "generation_config.json"
_WEIGHTS = ("*.safetensors", "*.bin")
KEEP_WARM_BYTES = 2 << 30
"""A larger module is let go after its evaluation: the memory belongs to the next training."""
_NOT_ARCHITECTURE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "base_model_name_or_path")
"""Keys of a configuration that change no value of the model when it computes in float32."""


@dataclass(frozen=True, kw_only=True)
class EvalModel:
    """What to evaluate."""

    base: Any
    """Folder of a whole checkpoint, an object with such a ``folder``, or one with ``model`` and ``tokenizer`` in
    memory (whose weights must be those that ``weights_digest`` names)."""
    adapter: Path | None = None
    """Folder of a PEFT adapter to put on it."""
    weights_digest: str | None = None
    """Needed for a model in memory; of folders the files decide."""


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model ready to score."""

    module: Any
    tokenizer: Any
    weights_sha256: str
    """Digest of weights and architecture: equal for equal models, wherever they lie."""
    tokenizer_sha256: str


@contextlib.contextmanager
def open_model(model: EvalModel, *, device: str = "cpu") -> Iterator[OpenModel]:
    """Yield the model in float32 and evaluation mode; memory stays warm for the next one of its kind.

    Raises:
        ArtifactError: files are missing, or are not a model and tokenizer that transformers can read.
    """
    folder = model.base if isinstance(model.base, (str, Path)) else getattr(model.base, "folder", None)
    if folder is None:
        yield _in_memory(model)
        return
    try:
        with _from_files(model, Path(folder), device) as opened:
            yield opened
    finally:
        _WARM.let_go_of_large()


@contextlib.contextmanager
def _from_files(model: EvalModel, folder: Path, device: str) -> Iterator[OpenModel]:
    module, tokenizer, tokenizer_sha256 = _WARM.load(folder, device)
    if model.adapter is None:
        yield OpenModel(
            module=module, tokenizer=tokenizer, weights_sha256=weights_digest(folder),
            tokenizer_sha256=tokenizer_sha256,
        )  # fmt: skip
        return
    with _WARM.with_adapter(module, Path(model.adapter)) as adapted:
        yield OpenModel(
            module=adapted, tokenizer=tokenizer, weights_sha256=weights_digest(folder, Path(model.adapter)),
            tokenizer_sha256=tokenizer_sha256,
        )  # fmt: skip


def weights_digest(folder: Path, adapter: Path | None = None) -> str:
    """Return the digest of what is computed: weights and configuration of a checkpoint and its adapter.

    Raises:
        ArtifactError: a folder has no weights or no configuration.
    """
    parts = {"base": _folder_digests(folder, CONFIG_FILE)}
    if adapter is not None:
        parts["adapter"] = _folder_digests(adapter, ADAPTER_CONFIG)
    return canonical.digest(parts)


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the digest of a tokenizer: vocabulary, rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = {key: str(value) for key, value in sorted(tokenizer.special_tokens_map.items())}
    parts = [rules, special, str(getattr(tokenizer, "chat_template", None)), type(tokenizer).__name__]
    flags = [str(getattr(tokenizer, name, None)) for name in ("add_bos_token", "add_eos_token", "model_max_length")]
    return canonical.digest([*parts, flags])


def _in_memory(model: EvalModel) -> OpenModel:
    if model.weights_digest is None or model.adapter is not None:
        what = "a model in memory is evaluated whole, under the digest of its weights"
        raise ArtifactError(what, next_step="give weights_digest and no adapter")
    module, tokenizer = model.base.model, model.base.tokenizer
    module.eval()
    return OpenModel(
        module=module, tokenizer=tokenizer, weights_sha256=model.weights_digest,
        tokenizer_sha256=tokenizer_digest(tokenizer),
    )  # fmt: skip


class _Warm:
    """One module of the last architecture and the tokenizers seen, kept between cells."""

    def __init__(self) -> None:
        self._key: tuple[str, str, str] | None = None
        self._module: Any = None
        self._holds: str | None = None
        self._tokenizers: dict[str, tuple[Any, str]] = {}

    def load(self, folder: Path, device: str) -> tuple[Any, Any, str]:
        """Return (module with the weights of ``folder``, tokenizer, its digest)."""
        digests = _folder_digests(folder, CONFIG_FILE)
        generation = folder / GENERATION_FILE
        key = (digests[CONFIG_FILE], file_sha256(generation) if generation.is_file() else "", device)
        holds = canonical.digest(digests)
        if key == self._key and holds != self._holds:
            self._holds = None
            self._holds = holds if _load_in_place(self._module, folder) else None
        if key != self._key or self._holds != holds:
            self._key = self._holds = self._module = None
            self._module = _load(folder, device)
            self._key, self._holds = key, holds
        return self._module, *self._tokenizer(folder)

    @contextlib.contextmanager
    def with_adapter(self, module: Any, adapter: Path) -> Iterator[Any]:
        """Yield the module with the adapter on it and take it off again."""
        from peft import PeftModel

        held, self._holds = self._holds, None
        try:
            with warnings.catch_warnings():
                # peft asks for a property that transformers has renamed.
                warnings.simplefilter("ignore", FutureWarning)
                adapted = PeftModel.from_pretrained(module, str(adapter)).eval()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            self._key = self._module = None
            raise _unreadable(adapter, error) from error
        yield adapted
        self._module = adapted.unload()
        self._holds = held

    def let_go_of_large(self) -> None:
        """Keep nothing between cells that the next training could miss."""
        if self._module is not None:
            size = sum(tensor.numel() * tensor.element_size() for tensor in self._module.parameters())
            if size > KEEP_WARM_BYTES:
                self._key = self._holds = self._module = None

    def _tokenizer(self, folder: Path) -> tuple[Any, str]:
        from transformers import AutoTokenizer

        files = sorted(path for path in folder.iterdir() if _is_tokenizer_file(path.name))
        key = canonical.digest([(path.name, file_sha256(path)) for path in files])
        if key not in self._tokenizers:
            try:
                tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            except (OSError, ValueError) as error:
                raise _unreadable(folder, error) from error
            self._tokenizers[key] = (tokenizer, tokenizer_digest(tokenizer))
        return self._tokenizers[key]


_WARM = _Warm()


def forget_warm_models() -> None:
    """Let go of the module and tokenizers kept in memory."""
    _WARM.__init__()


def _load(folder: Path, device: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        module = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unreadable(folder, error) from error
    return module.to(device).eval()


def _load_in_place(module: Any, folder: Path) -> bool:
    """Put the weights of ``folder`` into ``module``; False when its files do not hold exactly those tensors."""
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return False
    targets = dict(module.state_dict(keep_vars=True))
    try:
        with safe_open(str(path), framework="pt") as stored, torch.no_grad():
            names = set(stored.keys())
            # A tied tensor stands in the file under one of its names.
            pointers = {targets[name].data_ptr() for name in names if name in targets}
            if not names <= set(targets) or any(tensor.data_ptr() not in pointers for tensor in targets.values()):
                return False
            for name in sorted(names):
                tensor = stored.get_tensor(name)
                if tensor.shape != targets[name].shape:
                    return False
                targets[name].copy_(tensor)
    except (OSError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    return True


def _folder_digests(folder: Path, config_file: str) -> Mapping[str, str]:
    """Return {file of weights: sha256} and the digest of the configuration without what does not matter."""
    weights = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    if not weights:
        raise ArtifactError("there are no weights", where=str(folder), next_step="train or download the model first")
    try:
        config = json.loads((folder / config_file).read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(folder / config_file, error) from error
    for key in _NOT_ARCHITECTURE:
        config.pop(key, None)
    return {path.name: file_sha256(path) for path in weights} | {config_file: canonical.digest(config)}


_SHA256: dict[tuple, str] = {}
_CLOCK_GRANULARITY_NS = 50_000_000
"""A file written a moment ago could change again without a new timestamp."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file; one that did not change since is not read again."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key in _SHA256:
        return _SHA256[key]
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - status.st_mtime_ns > _CLOCK_GRANULARITY_NS:
        _SHA256[key] = digest
    return digest


def _is_tokenizer_file(name: str) -> bool:
    return name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "added_tokens", "chat_template"))


def _unreadable(place: Path, error: Exception) -> ArtifactError:
    text = " ".join(str(error).split())[:300]
    return ArtifactError(f"cannot be loaded as a model ({text})", where=str(place), next_step="restore the folder")
