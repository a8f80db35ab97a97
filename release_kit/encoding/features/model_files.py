"""The files that decide what a model computes, and their digests: weights, configuration, tokenizer, processor.

Owns what is refused before anything is loaded. Loading is ``latents.py``'s and ``media.py``'s.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from release_kit.core.digest_cache import DigestCache, default_cache_path, digest_files
from release_kit.core.errors import ReleaseKitError
from release_kit.encoding.errors import FeatureError

_NEVER_READ = (
    *(".md", ".rst", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".log", ".lock", ".py", ".pyc"),
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite"),
)
"""Endings of what is not read of a folder: descriptions, code, weights of other forms. Everything else counts, for
tokenizers have files of many names (``vocab.txt``, ``spiece.model``, ``bpe.codes``)."""
_NO_ENDING = ("readme", "license", "licence", "notice", "copying", "changelog")


def model_digests(model: Path, name: str) -> dict[str, str]:
    """Return file → sha256 of everything in a model's folder that decides values; of a file, its own.

    Digests are remembered by the file's time stamps (``core/digest_cache.py``), so weights are read once.

    Args:
        model: folder of a transformers model, or a file of word vectors.
        name: of the feature space, for messages.

    Raises:
        FeatureError: there is no such folder or file, or it holds no configuration or no safetensors.
    """
    where = f"features.{name}, model {model}"
    if model.is_file():
        return sha256_of([model], model.parent)
    if not model.is_dir():
        step = "name the folder of the model, or the file of word vectors"
        raise FeatureError("there is no such model", where=where, next_step=step)
    files = sorted(path for path in model.iterdir() if path.is_file() and _decides(path))
    names = {path.name for path in files}
    missing = [] if "config.json" in names else ["config.json"]
    if not any(path.suffix == ".safetensors" for path in files):
        missing.append("*.safetensors")
    if missing:
        pickled = sorted(path.name for path in model.glob("*.bin"))
        step = "name the folder that save_pretrained wrote"
        if pickled and missing == ["*.safetensors"]:
            step = f"convert {pickled[0]} to safetensors: pickled weights can run code and are not read"
        raise FeatureError(f"the folder lacks {' and '.join(missing)}", where=where, next_step=step)
    return sha256_of(files, model)


def _decides(path: Path) -> bool:
    name = path.name.casefold()
    return not (name.startswith((".", *_NO_ENDING)) or path.suffix.casefold() in _NEVER_READ)


def sha256_of(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return path relative to ``root`` → sha256, remembered by time stamps.

    Raises:
        FeatureError: a file cannot be read.
    """
    listed = list(paths)
    with DigestCache(default_cache_path()) as cache:
        found = list(digest_files(listed, cache=cache, tensors=False, git=False))
    digests = {}
    for path, outcome in zip(listed, found, strict=True):
        if isinstance(outcome, ReleaseKitError):
            raise FeatureError(outcome.what, where=outcome.where)
        digests[path.relative_to(root).as_posix()] = outcome.sha256
    return digests


def runtime_versions(names: Iterable[str]) -> Mapping[str, str]:
    """Return the installed versions of the packages that calculate; ``absent`` where one is not installed."""
    import importlib.metadata

    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "absent"

    return {name: version(name) for name in names}
