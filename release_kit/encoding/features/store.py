"""The store of features: one folder for each key, one folder a stimulus in it, one ``.npy`` a layer.

The key is the digest of everything that decides values: weights, tokenizer, texts, media, settings, this room's code
and the libraries that calculate. So a change never meets old files. What was finished before an interruption stays: a
stimulus counts as done when its ``stimulus.json``, written last, and the digests in it hold. ``features.json`` is
written when all are. A stimulus that did not change is taken over from another key.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit.core.canonical import digest, document_bytes, read_json
from release_kit.core.errors import RecordError
from release_kit.core.files import TEMPORARY_PREFIX, exclusive, open_atomic, safe_relative_path, write_atomic
from release_kit.core.records import nearest
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.assemble import layer_file, write_stimulus
from release_kit.encoding.features.encoders import TrainBins, open_encoder, private_identity
from release_kit.encoding.features.items import Encoder
from release_kit.encoding.features.model_files import model_digests, runtime_versions, sha256_of
from release_kit.encoding.features.spec import TEXT_MODELS, WORDS, FeatureSpec
from release_kit.encoding.features.texts import BinnedTexts

SCHEMA_VERSION = 1
DAMAGED = "is missing or not what was recorded: made again"
"""What is said of a file of the store that ``on_damage`` was told."""
FEATURES_FILE, STIMULUS_FILE = "features.json", "stimulus.json"
_NOT_VALUES = frozenset({"delays.py", "place.py", "placement.py", "pca.py", "model_check.py", "__init__.py"})
"""Files of this room that take features out of the store, or look before: what they do is no part of its values."""

_TEXT_LIBRARIES = ("torch", "transformers", "tokenizers")
_IMAGE_LIBRARIES = ("torch", "transformers", "pillow", "torchvision", "av")
_LIBRARIES = {
    **dict.fromkeys(TEXT_MODELS, _TEXT_LIBRARIES),
    "vision": _IMAGE_LIBRARIES,
    "vision-language": (*_IMAGE_LIBRARIES, "tokenizers"),
    "audio": ("torch", "transformers", "scipy", "torchaudio"),
}
"""What calculates besides numpy. transformers takes torchvision and torchaudio where they are installed, and its own
code, which rounds otherwise, where they are not."""

Progress = Callable[[str, int, int], None]
"""Told the stimulus, how many are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class FeatureFiles:
    """Features of all stimuli, read from disk when they are asked for.

    Attributes:
        key: of the content.
        folder: where they lie.
        layers: of the model; ``(0,)`` for words.
        annotators: ``("mean",)``, or those that have features of their own.
        stimuli: stimulus → what ``stimulus.json`` says of it.
    """

    key: str
    folder: Path
    layers: tuple[int, ...]
    annotators: tuple[str, ...]
    stimuli: Mapping[str, Mapping[str, Any]]

    def layer(self, stim_id: str, layer: int, annotator: str | None = None) -> FloatArray:
        """Return ``(n_bins, width) float32`` of one stimulus, mapped from disk and not to be written.

        Raises:
            FeatureError: there is no such stimulus, layer or annotator.
        """
        slot = self._slot(stim_id, annotator)
        if layer not in self.layers:
            raise FeatureError(f"there is no layer {layer}; there are {list(self.layers)}", where=str(self.folder))
        path = self.folder / stim_id / layer_file(slot, layer, len(self.stimuli[stim_id]["annotators"]))
        return np.load(path, mmap_mode="r")

    def by_stimulus(self, layer: int, annotator: str | None = None) -> dict[str, FloatArray]:
        """Return ``layer`` of every stimulus, as ``place`` takes it."""
        return {stim_id: self.layer(stim_id, layer, annotator) for stim_id in self.stimuli}

    def missing(self, stim_id: str, annotator: str | None = None) -> npt.NDArray[np.bool_]:
        """Return (n_bins,) True where nothing was there to compute, however the bin was filled."""
        facts = self.stimuli[stim_id]
        missing = np.zeros(facts["counts"]["bins"], bool)
        for start, stop in facts["missing"][self._slot(stim_id, annotator)]:
            missing[start:stop] = True
        return missing

    def missing_by_stimulus(self, annotator: str | None = None) -> dict[str, npt.NDArray[np.bool_]]:
        """Return ``missing`` of every stimulus."""
        return {stim_id: self.missing(stim_id, annotator) for stim_id in self.stimuli}

    def counts(self) -> dict[str, int]:
        """Return what was counted, summed over stimuli: bins, items, truncated texts, unknown words."""
        total: dict[str, int] = {}
        for facts in self.stimuli.values():
            for name, n in facts["counts"].items():
                total[name] = total.get(name, 0) + n
            total["missing"] = total.get("missing", 0) + sum(b - a for slot in facts["missing"] for a, b in slot)
        return total

    def _slot(self, stim_id: str, annotator: str | None) -> int:
        if stim_id not in self.stimuli:
            what = f"there are no features of the stimulus {stim_id!r}{nearest(stim_id, list(self.stimuli))}"
            raise FeatureError(what, where=str(self.folder))
        names = list(self.stimuli[stim_id]["annotators"])
        if annotator is None and len(names) > 1:
            raise FeatureError(f"features are those of one annotator each: name one of {names}", where=stim_id)
        if annotator is not None and annotator not in names:
            raise FeatureError(f"nobody called {annotator!r} wrote it{nearest(annotator, names)}", where=stim_id)
        return 0 if annotator is None else names.index(annotator)


def feature_files(
    spec: FeatureSpec,
    binned: Sequence[BinnedTexts],
    folder: Path,
    progress: Progress | None = None,
    *,
    train_bins: TrainBins = None,
    on_damage: Callable[[Path], None] | None = None,
) -> FeatureFiles:
    """Return the features of stimuli, from the store where they are there and whole, else made now.

    What is complete is only read, by as many processes as like; what is not is made by one at a time.

    Args:
        spec: the feature space.
        binned: each stimulus once.
        folder: of the store; features go to ``<folder>/<key>``.
        progress: told after each stimulus.
        train_bins: stimulus → (n_bins,) True for bins that training samples see: a bag of words takes its vocabulary
            from these only (``place.training_bins`` makes them).
        on_damage: told each file that is not what was recorded; its stimulus is made again.

    Raises:
        FeatureError: what is wrong with model, texts or media.
        ReleaseKitError: the disk is full, or another process makes the same features.
    """
    if not binned or len({each.stim_id for each in binned}) < len(binned):
        raise FeatureError("needs stimuli, each once", where=f"features.{spec.name}")
    shared = _shared_identity(spec) | private_identity(spec, binned, train_bins)
    identities = {each.stim_id: digest({**shared, "stimulus": _content(spec, each)}) for each in binned}
    key = digest({"schema_version": SCHEMA_VERSION, "stimuli": identities})[:32]
    home, told = folder / key, progress or (lambda *_: None)
    done = {
        name: facts
        for name in sorted(identities)
        if (facts := _finished(_place(home, name), identities[name], on_damage))
    }
    if len(done) == len(identities) and (home / FEATURES_FILE).is_file():
        for n, name in enumerate(done, start=1):
            told(name, n, len(done))
        return _as_files(key, home, done)
    with exclusive(home, "features"):
        done = _make_missing(spec, binned, home, identities, train_bins, told)
        files = _as_files(key, home, done)
        record = {"schema_version": SCHEMA_VERSION, "key": key, "identity": shared, "layers": list(files.layers)}
        listed = {name: facts["identity"] for name, facts in done.items()}
        write_atomic(home / FEATURES_FILE, document_bytes({**record, "stimuli": listed, "counts": files.counts()}))
    return files


def _make_missing(
    spec: FeatureSpec,
    binned: Sequence[BinnedTexts],
    home: Path,
    identities: Mapping[str, str],
    train_bins: TrainBins,
    told: Progress,
) -> dict[str, dict[str, Any]]:
    """Return what every stimulus says of itself; those that are not finished here or elsewhere are made."""
    done: dict[str, dict[str, Any]] = {}
    encoder: Encoder | None = None
    for each in sorted(binned, key=lambda one: one.stim_id):
        place, identity = _place(home, each.stim_id), identities[each.stim_id]
        for leftover in place.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink()
        facts = _finished(place, identity) or _taken_over(place, identity)
        if facts is None:
            encoder = encoder or open_encoder(spec, binned, train_bins)
            facts = _make(spec, each, encoder, place, identity)
        done[each.stim_id] = facts
        told(each.stim_id, len(done), len(binned))
    return done


def _place(home: Path, stim_id: str) -> Path:
    return home / safe_relative_path(stim_id, where="stimulus")


def _as_files(key: str, home: Path, done: Mapping[str, Mapping[str, Any]]) -> FeatureFiles:
    first = next(iter(done.values()))
    everybody = sorted({name for facts in done.values() for name in facts["annotators"]})
    return FeatureFiles(key=key, folder=home, layers=tuple(first["layers"]), annotators=tuple(everybody), stimuli=done)


def _shared_identity(spec: FeatureSpec) -> dict[str, Any]:
    """Return what decides values of every stimulus, as JSON."""
    return {
        "spec": spec.identity(),
        "model": None if spec.model is None else model_digests(spec.model, spec.name),
        "code": code_digest(),
        "libraries": dict(runtime_versions(["numpy", *_LIBRARIES.get(spec.kind, ())])),
    }


def code_digest() -> str:
    """Return the digest of the code of this room that makes values."""
    sources = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in _NOT_VALUES)
    return digest({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources})


def _content(spec: FeatureSpec, binned: BinnedTexts) -> dict[str, Any]:
    """Return everything that is read of one stimulus, as JSON."""
    content: dict[str, Any] = {"n_bins": binned.n_bins, "bin_s": binned.bin_s}
    if spec.reads_text:
        content |= {"annotators": binned.annotators, "rows": binned.rows, "held": binned.held}
    if spec.kind in WORDS:
        content["language"] = binned.language
    if spec.media is not None:
        from release_kit.encoding.features.media_files import media_of

        files = media_of(spec.media, binned.stim_id, sound=spec.kind == "audio")
        content["media"] = sha256_of(files, spec.media)
    return content


def _make(spec: FeatureSpec, binned: BinnedTexts, encoder: Encoder, place: Path, identity: str) -> dict[str, Any]:
    made = write_stimulus(spec, binned, encoder, place)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "identity": identity,
        "annotators": list(made.slots),
        "layers": list(made.layers),
        "widths": list(made.widths),
        "files": sha256_of([place / name for name in made.files], place),
        "missing": [_stretches(slot) for slot in made.missing],
        "counts": made.counts,
    }
    write_atomic(place / STIMULUS_FILE, document_bytes(facts))
    return facts


def _taken_over(place: Path, identity: str) -> dict[str, Any] | None:
    """Take a stimulus that another key has finished with the same identity: other stimuli changed, this one did not."""
    for record in sorted(place.parent.parent.glob(f"*/{place.name}/{STIMULUS_FILE}")):
        if record.parent != place and (facts := _finished(record.parent, identity)):
            place.mkdir(parents=True, exist_ok=True)
            for name in facts["files"]:
                with open_atomic(place / name) as copy, open(record.parent / name, "rb") as known:
                    shutil.copyfileobj(known, copy, 1 << 20)
            write_atomic(place / STIMULUS_FILE, document_bytes(facts))
            return _finished(place, identity)
    return None


def _finished(place: Path, identity: str, on_damage: Callable[[Path], None] | None = None) -> dict[str, Any] | None:
    """Return what a finished stimulus says of itself, None where it is not finished, damaged, or another one."""
    try:
        facts = read_json(place / STIMULUS_FILE)
        if facts["schema_version"] != SCHEMA_VERSION or facts["identity"] != identity:
            return None
        damaged = [place / name for name, known in facts["files"].items() if not _holds(place / name, known)]
    except (RecordError, KeyError, TypeError, ValueError, AttributeError):
        # Without a record the stimulus was not finished; one that cannot be read was.
        if not (place / STIMULUS_FILE).is_file():
            return None
        damaged = [place / STIMULUS_FILE]
    for path in damaged if on_damage else ():
        on_damage(path)
    return None if damaged else facts


def _holds(path: Path, known: str) -> bool:
    try:
        return path.is_file() and sha256_of([path], path.parent)[path.name] == known
    except FeatureError:
        return False


def _stretches(missing: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Return ``[start, stop]`` of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2).tolist()
