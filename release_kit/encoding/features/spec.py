"""What one feature space is made of: a level of annotation (or a medium), a model, and how its states become rows.

Pure settings and what contradicts itself in them. ``identity`` says which of them change values: it is a part of the
key of ``store.py``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.records import nearest
from release_kit.encoding.errors import FeatureError

TEXT_MODELS = ("causal", "encoder")
WORDS = ("static", "bag-of-words")
MEDIA = ("vision", "vision-language", "audio")
KINDS = (*TEXT_MODELS, *WORDS, *MEDIA)
POOLINGS = ("mean", "last")
MISSING = ("zero", "carry", "drop")
DTYPES = ("float32", "bfloat16", "float16")
WEIGHTINGS = ("count", "tf-idf")


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One feature space. Two specs that differ in ``name`` alone have the same features.

    Raises:
        FeatureError: settings that contradict each other; all of them at once.
    """

    name: str
    """How messages and tables name it."""
    kind: str
    """One of ``KINDS``."""
    model: Path | None = None
    """Folder of a transformers model with its tokenizer or processor, or a file of word vectors."""
    layers: str | tuple[int, ...] = "all"
    """Hidden states: 0 is what enters the first block, k what leaves the k-th one."""
    pooling: str = "mean"
    """Over a bin's own tokens: their mean, or the last of them."""
    special_tokens: bool = False
    """Count what the tokenizer adds (``[CLS]``, ``<s>``) as the bin's own tokens, as the published code does."""
    start_token: bool = True
    """Put the tokenizer's start token, if it has one, before texts where it adds nothing; it is no token of the bin.
    The first token of a causal model's input is where attention rests: its state is many times larger than all others,
    and a mean that holds it says how long the text is. Without effect where ``special_tokens`` are pooled."""
    context_s: float = 0.0
    """Seconds of earlier text of the same annotator that the model reads before the bin's own."""
    level: str | None = None
    """Level of the annotations; None for a medium without text."""
    language: str | None = None
    """Language of the annotations; None where the level has one only."""
    annotators: str | tuple[str, ...] = "mean"
    """``mean`` over all who wrote something, ``each`` by itself, or the mean over those that are named."""
    missing: str = "zero"
    """A bin without a value: zeros, the last value before it, or zeros that samples are dropped for."""
    bin_s: float = 1.0
    """Width of a bin in seconds."""
    max_tokens: int | None = None
    """Tokens of one input, special ones included; None: what the model can read."""
    batch_size: int = 16
    """Inputs of one forward pass."""
    dtype: str = "float32"
    """What the model calculates in; features are float32 always."""
    device: str = "cpu"
    """Where a model calculates: ``cpu``, ``cuda``, or another name that torch knows."""
    media: Path | None = None
    """Folder of frames, videos or sounds of each stimulus."""
    min_count: int = 2
    """Bag of words: in how many different training texts a word stands at least."""
    max_words: int = 5000
    """Bag of words: the most frequent ones are kept."""
    weighting: str = "tf-idf"
    """Bag of words: ``count``, or counts times the logarithm of rarity, each bin of length 1."""

    def __post_init__(self) -> None:
        if problems := [*self._unknown(), *self._useless(), *self._numbers()]:
            raise FeatureError("; ".join(problems), where=f"features.{self.name}")

    @property
    def reads_text(self) -> bool:
        """Whether annotations are read."""
        return self.kind not in ("vision", "audio")

    def identity(self) -> dict[str, Any]:
        """Return what changes values, as JSON; model, texts (with who wrote them) and media are digested."""
        names = ["kind", "missing", "bin_s"]
        if self.kind in (*TEXT_MODELS, *MEDIA):
            names += ["layers", "pooling", "batch_size", "dtype", "device"]
        if self.kind in TEXT_MODELS:
            names += ["special_tokens", "start_token", "context_s"]
        if self.kind in (*TEXT_MODELS, "vision-language"):
            names += ["max_tokens"]
        if self.kind == "bag-of-words":
            names += ["min_count", "max_words", "weighting"]
        values = {name: getattr(self, name) for name in names}
        values["annotators"] = "each" if self.annotators == "each" else "mean"
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _unknown(self) -> list[str]:
        known = {"kind": KINDS, "pooling": POOLINGS, "missing": MISSING, "dtype": DTYPES, "weighting": WEIGHTINGS}
        found = [
            f"{name} is {getattr(self, name)!r}{nearest(str(getattr(self, name)), choices)}"
            for name, choices in known.items()
            if getattr(self, name) not in choices
        ]
        if isinstance(self.annotators, str) and self.annotators not in ("mean", "each"):
            found.append(f"annotators is {self.annotators!r}; say mean, each, or a list of names")
        if isinstance(self.layers, str) and self.layers != "all":
            found.append(f"layers is {self.layers!r}; say all, or a list of numbers")
        return found

    def _useless(self) -> list[str]:
        found = []
        if (self.kind != "bag-of-words") != (self.model is not None):
            found.append("a model is missing" if self.model is None else "a bag of words has no model")
        if (self.kind in MEDIA) != (self.media is not None):
            found.append("the folder of media is missing" if self.media is None else f"{self.kind} reads no media")
        if self.reads_text != (self.level is not None):
            found.append("the level is missing" if self.level is None else f"{self.kind} reads no level")
        if self.kind in WORDS and self.layers not in ("all", (0,)):
            found.append(f"{self.kind} has one layer, 0")
        if self.kind not in TEXT_MODELS and (self.context_s or self.pooling == "last"):
            found.append(f"context_s and the pooling `last` are of no use to {self.kind}")
        return found

    def _numbers(self) -> list[str]:
        found = [f"{name} is {getattr(self, name)}" for name in ("bin_s", "batch_size") if getattr(self, name) <= 0]
        found += [f"{name} is below 1" for name in ("min_count", "max_words") if getattr(self, name) < 1]
        if self.context_s < 0:
            found.append(f"context_s is {self.context_s}")
        if self.max_tokens is not None and self.max_tokens < 3:
            found.append(f"max_tokens is {self.max_tokens}: no text fits")
        if isinstance(self.layers, tuple) and (
            not self.layers or min(self.layers) < 0 or len(set(self.layers)) < len(self.layers)
        ):
            found.append(f"layers are {self.layers}: name each once, from 0 on")
        return found
