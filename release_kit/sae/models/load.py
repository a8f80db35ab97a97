"""Causal language models of transformers, opened at a revision, with the digest of everything that decides a value.

The one place of this room (with ``prepare/language_models.py``) that knows transformers. What is read inside a model is
``hooks.py``'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.core import canonical
from release_kit.core.digest_cache import DigestCache, default_cache_path, digest_files
from release_kit.core.errors import MissingExtraError, ReleaseKitError
from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
_DECIDING = ("*.safetensors", "*.json", "*.model", "*.tiktoken", "vocab.txt", "merges.txt")
"""Files that decide ids and values; chat templates, README and logs do not."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
                    "vocab.txt", "special_tokens_map.json", "added_tokens.json")  # fmt: skip
_SAYS_NOTHING = frozenset({"generation_config.json", "checkpoint.json", "trainer_state.json", "training_args.json"})


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A causal language model in memory, ready to be asked.

    Attributes:
        model: of transformers, in evaluation mode, without gradients.
        tokenizer: of transformers.
        n_layers: blocks; layers are 0 (what enters the first block) to ``n_layers``.
        d_model: width of the residual stream.
        digest: sha256 over weights, configuration and tokenizer files.
        source: folder or Hub id that it was opened from.
        revision: of the source, or None.
    """

    model: Any
    tokenizer: Any
    n_layers: int
    d_model: int
    digest: str
    source: str
    revision: str | None

    @property
    def device(self) -> "torch.device":
        """Where the weights lie."""
        return self.model.device

    def label(self) -> str:
        """Return how messages name it: ``models/small/step-10`` or ``EleutherAI/pythia-70m@step512``."""
        return f"{self.source}@{self.revision}" if self.revision else self.source


def open_model(
    source: str | Path, revision: str | None = None, *, device: str = "cpu", dtype: str = "float32"
) -> LanguageModel:
    """Return the causal language model of a folder or of the Hub, at a revision.

    Args:
        source: folder that ``save_pretrained`` wrote, or a Hub id.
        revision: branch, tag or commit of the Hub; of a local series the name of the checkpoint's folder in ``source``.
        device: of torch.
        dtype: ``float32``, ``bfloat16`` or ``float16``; activations are float32 for arithmetic in any case.

    Raises:
        SaeError: there is no such model or checkpoint, files are missing or do not fit each other, the model is none
            that this room can look into, or the device is not there.
        MissingExtraError: torch or transformers is not installed.
    """
    if dtype not in DTYPES:
        raise SaeError(f"the type {dtype!r} is not one of {DTYPES}", where=str(source))
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "sft") from error
    folder, at = _resolve(source, revision)
    where = f"{source}@{revision}" if revision else str(source)
    digest = canonical.digest(model_files(folder, where))
    tokenizer = _read(lambda: transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False), where)
    model, facts = _read(
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, trust_remote_code=False
        ),
        where,
    )
    _refuse_gaps(facts, where)
    _refuse_foreign_tokenizer(model, tokenizer, where)
    text = model.config.get_text_config()
    return LanguageModel(
        model=_placed(model, device, where), tokenizer=tokenizer, n_layers=text.num_hidden_layers,
        d_model=text.hidden_size, digest=digest, source=str(source), revision=at,
    )  # fmt: skip


def model_digest(source: str | Path, revision: str | None = None) -> str:
    """Return ``open_model(source, revision).digest`` without loading the model.

    Raises:
        SaeError: as ``open_model``, for what shows in the files.
    """
    folder, _ = _resolve(source, revision)
    return canonical.digest(model_files(folder, f"{source}@{revision}" if revision else str(source)))


def model_shape(source: str | Path, revision: str | None = None) -> tuple[int, int]:
    """Return (number of blocks, width of the residual stream) of a model without loading it.

    Raises:
        SaeError: as ``open_model``, for what shows in its configuration.
    """
    import transformers

    folder, _ = _resolve(source, revision)
    where = f"{source}@{revision}" if revision else str(source)
    config = _read(lambda: transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False), where)
    text = config.get_text_config()
    return text.num_hidden_layers, text.hidden_size


def model_files(folder: Path, where: str) -> dict[str, str]:
    """Return file → sha256 of everything in a model's folder that decides what it computes.

    Raises:
        SaeError: configuration, tokenizer or weights are missing; pickled weights are not read.
    """
    files = sorted({path for pattern in _DECIDING for path in folder.glob(pattern) if path.is_file()})
    files = [path for path in files if path.name not in _SAYS_NOTHING]
    names = {path.name for path in files}
    missing = [] if "config.json" in names else ["config.json"]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"} and not any(
        name.endswith(".tiktoken") for name in names
    ):
        missing.append("tokenizer.json")
    if "model.safetensors.index.json" in names:
        shards = canonical.read_json(folder / "model.safetensors.index.json").get("weight_map", {})
        missing += sorted(set(shards.values()) - names)
    if missing:
        step = "name a folder that save_pretrained wrote for model and tokenizer"
        if "*.safetensors" in missing and (pickled := sorted(folder.glob("*.bin"))):
            step = f"convert {pickled[0].name} to safetensors: pickled weights can run code and are not read"
        raise SaeError(f"the model lacks {', '.join(missing)}", where=where, next_step=step)
    return _digests(files)


def _digests(files: Iterable[Path]) -> dict[str, str]:
    listed = list(files)
    with DigestCache(default_cache_path()) as cache:
        found = list(digest_files(listed, cache=cache, tensors=False, git=False))
    for outcome in found:
        if isinstance(outcome, ReleaseKitError):
            raise SaeError(outcome.what, where=outcome.where, next_step=outcome.next_step)
    return {path.name: outcome.sha256 for path, outcome in zip(listed, found, strict=True)}


def _resolve(source: str | Path, revision: str | None) -> tuple[Path, str | None]:
    """Return the folder on this machine and the revision; of a Hub id its snapshot's, fetched if need be."""
    folder = Path(source)
    if folder.is_dir():
        if revision is None:
            return folder, None
        if (folder / revision).is_dir():
            return folder / revision, revision
        there = [path.name for path in folder.iterdir() if (path / "config.json").is_file()]
        shown = ", ".join(sorted(there, key=lambda name: (len(name), name))[:20]) or "none"
        what = f"has no checkpoint {revision!r}; there are {shown}"
        step = "make or copy this checkpoint, or take it out of the series"
        raise SaeError(what, where=str(folder), next_step=step)
    if str(source).count("/") != 1 or str(source).startswith((".", "/")):
        raise SaeError("there is no such folder", where=str(source), next_step="name a model's folder or its Hub id")
    where = f"{source}@{revision}" if revision else str(source)
    return _read(lambda: _fetched(str(source), revision), where), revision


def _fetched(hub_id: str, revision: str | None) -> Path:
    """Return the folder of a Hub model's snapshot that holds what decides its values, by transformers' own cache."""
    from transformers.utils import cached_file

    def file(name: str, needed: bool = False) -> str | None:
        return cached_file(
            hub_id, name, revision=revision, _raise_exceptions_for_missing_entries=needed,
        )  # fmt: skip

    config = file("config.json", needed=True)
    for name in _TOKENIZER_FILES:
        file(name)
    if file("model.safetensors") is None:
        index = file("model.safetensors.index.json")
        weights = canonical.read_json(Path(index)).get("weight_map", {}) if index else {}
        for name in sorted(set(weights.values())):
            file(name, needed=True)
    return Path(str(config)).parent


def _read(read: Any, where: str) -> Any:
    """Return what ``read`` loads, quietly; whatever transformers says about files becomes one sentence."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        return read()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError,
            SafetensorError) as error:  # fmt: skip
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        step = "check the folder or the name, and that it is a causal language model with its tokenizer"
        raise SaeError(f"transformers cannot read it ({line})", where=where, next_step=step) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _refuse_gaps(facts: dict[str, Any], where: str) -> None:
    """Refuse weights that transformers would draw at random."""
    absent = [*map(str, facts.get("missing_keys", ())), *(str(key) for key in facts.get("mismatched_keys", ()))]
    if absent:
        what = f"weights are missing, or of another shape: {', '.join(sorted(absent)[:3])}"
        step = "its config.json is another model's, or the download is incomplete"
        raise SaeError(what, where=where, next_step=step)


def _refuse_foreign_tokenizer(model: Any, tokenizer: Any, where: str) -> None:
    n_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_embeddings:
        what = f"the tokenizer has {len(tokenizer):,} tokens, the model {n_embeddings:,} embeddings"
        raise SaeError(what, where=where, next_step="put the model's own tokenizer beside its weights")


def _placed(model: Any, device: str, where: str) -> Any:
    try:
        return model.eval().requires_grad_(False).to(device)
    except (RuntimeError, AssertionError) as error:
        what = f"the device {device!r} cannot be used ({str(error).splitlines()[0][:200]})"
        raise SaeError(what, where=where, next_step="take cpu") from error
