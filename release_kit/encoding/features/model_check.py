"""Whether a model can be opened, found without reading its weights: configuration, weight files' headers, tokenizer.

What only the weights can tell (names that the configuration does not know, values that are no numbers) is found when
they are loaded.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from release_kit.core.canonical import read_json
from release_kit.core.errors import ReleaseKitError
from release_kit.core.safetensors import read_header
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.latents import OWN_CODE_ONLY, load
from release_kit.encoding.features.spec import TEXT_MODELS

INDEX_FILE = "model.safetensors.index.json"
_AGAIN = "get the file again"


def model_problems(model: Path, kind: str, where: str) -> list[FeatureError]:
    """Return everything that keeps the model of a folder from being opened, as far as its weights need not be read.

    Args:
        model: folder of a transformers model.
        kind: of feature: which tokenizer or processor is needed.
        where: the feature and its model, for the sentences.
    """
    found = list(_of_weights(model, where))
    try:
        _load(_config, model, where)
    except ReleaseKitError as error:
        return [*found, _as_feature_error(error, where)]
    try:
        reader = _load(_READERS[kind], model, where)
        # Without its words a tokenizer may load, and know none.
        if kind in TEXT_MODELS and not reader("a", add_special_tokens=False)["input_ids"]:
            found.append(FeatureError("its tokenizer makes no token of a letter", where=where, next_step=_AGAIN))
    except ReleaseKitError as error:
        found.append(_as_feature_error(error, where))
    return found


def _of_weights(model: Path, where: str) -> Iterator[FeatureError]:
    """Yield what is wrong with the files of weights: their headers against their lengths, and those that lack."""
    files = sorted(model.glob("*.safetensors"))
    if not files:
        step = "name the folder that save_pretrained wrote; pickled weights can run code and are not read"
        yield FeatureError("there are no weights (*.safetensors)", where=where, next_step=step)
    for path in files:
        try:
            read_header(path)
        except ReleaseKitError as error:
            yield FeatureError(f"{path.name} {error.what}", where=where, next_step=_AGAIN)
    if not (model / INDEX_FILE).is_file():
        return
    try:
        listed = sorted(set(read_json(model / INDEX_FILE)["weight_map"].values()))
    except (ReleaseKitError, KeyError, TypeError, AttributeError):
        yield FeatureError(f"{INDEX_FILE} is no list of weight files", where=where, next_step=_AGAIN)
        return
    for name in listed:
        if not (model / name).is_file():
            yield FeatureError(f"{name} is not here, but {INDEX_FILE} lists it", where=where, next_step=_AGAIN)


def _load(read: Callable[[Path], Any], model: Path, where: str) -> Any:
    return load(lambda: read(model), where)


def _as_feature_error(error: ReleaseKitError, where: str) -> FeatureError:
    return error if isinstance(error, FeatureError) else FeatureError(error.what, where=where)


def _config(model: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, **OWN_CODE_ONLY)


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, **OWN_CODE_ONLY)


def _image_processor(model: Path) -> Any:
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(model, **OWN_CODE_ONLY)


def _processor(model: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(model, **OWN_CODE_ONLY)


def _extractor(model: Path) -> Any:
    from transformers import AutoFeatureExtractor

    return AutoFeatureExtractor.from_pretrained(model, **OWN_CODE_ONLY)


_READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(TEXT_MODELS, _tokenizer),
    "vision": _image_processor,
    "vision-language": _processor,
    "audio": _extractor,
}
