"""What an analysis says, as records. The file is read by ``read.py``; its keys stand in ``grammar.py``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 1
KINDS = ("causal", "encoder", "static", "bag-of-words", "vision", "vision-language", "audio")
"""Kinds of feature: hidden states of models of text, images or sound; vectors of words; counts of words."""
DTYPES = ("float32", "bfloat16", "float16")
WEIGHTINGS = ("count", "tf-idf")
_TEXT_MODELS = ("causal", "encoder")
_MODELS = (*_TEXT_MODELS, "vision", "vision-language", "audio")
SETTINGS = {
    "start_token": _TEXT_MODELS,
    "max_tokens": (*_TEXT_MODELS, "vision-language"),
    "dtype": _MODELS,
    "device": _MODELS,
    "batch_size": _MODELS,
    "min_count": ("bag-of-words",),
    "max_words": ("bag-of-words",),
    "weighting": ("bag-of-words",),
}
"""Keys of a feature that only some kinds know."""
LEAST_RESAMPLES = 10
"""Of a bootstrap, where there is one: fewer give no interval."""
MODES = ("corrected", "paper", "both")
"""What is done where the published code and careful practice part; ``both`` runs the two and compares them."""


def settings_of(kind: str) -> tuple[str, ...]:
    """Return the keys of ``SETTINGS`` that a kind of feature knows."""
    return tuple(name for name, kinds in SETTINGS.items() if kind in kinds)


@dataclass(frozen=True, kw_only=True)
class DatasetUse:
    """Where recordings and annotations lie: ``path`` of the dataset, and which of its responses are used."""

    path: Path
    layout: str
    derivative: str | None
    kind: str
    space: str | None
    desc: str | None
    mask: str | None


@dataclass(frozen=True, kw_only=True)
class SampleUse:
    """Which samples are used, which are held out, and how training samples are folded.

    ``test``: ``last-run`` of each title, ``runs`` (``test_runs``), ``titles`` (``test_titles``) or
    ``leave-one-title-out``. ``repeats``: held-out runs that show the same are judged by their ``mean``, or ``each``.
    ``folds``: ``title`` or ``run``.
    """

    drop_start_s: float
    drop_first_run_start: bool
    drop_overlap: bool
    test: str
    test_runs: tuple[str, ...]
    test_titles: tuple[str, ...]
    test_last: Mapping[str, int]
    leave_out: tuple[str, ...]
    repeats: str
    folds: str
    n_folds: int | None


@dataclass(frozen=True, kw_only=True)
class CleanUse:
    """How each run's responses are cleaned: ``detrend`` is ``median``, ``cosine`` or ``none`` over ``window_s``;
    ``features``: what delayed features lose, the ``same``, ``median`` or ``cosine`` (which responses lost before), or
    ``none``."""

    detrend: str
    window_s: float
    features: str


@dataclass(frozen=True, kw_only=True)
class DelayUse:
    """Delays of features in seconds, as columns side by side (``concatenate``) or as their mean (``average``)."""

    kind: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FeatureUse:
    """One feature space: a level of annotation (or a medium) through a model.

    Attributes:
        name: how bands, comparisons and tables name it.
        level: of the annotations; None for a medium without text.
        kind: one of ``KINDS``.
        model: folder of the model, or file of the word vectors; None for a bag of words.
        layers: of the model, 0 is what enters its first block; empty: all.
        pooling: ``mean`` over the second's tokens, or the ``last`` one.
        context_s: how much earlier text the model sees.
        language: of the annotations.
        annotators: empty: the mean over all of them.
        missing: ``zero``, ``carry`` or ``drop``, for a second without an annotation.
        pca: principal components that are kept; None: all dimensions.
        media: folder of frames or sounds, for a medium.
        start_token: texts begin with the tokenizer's start token, which is not pooled.
        max_tokens: of one input; None: what the model can read.
        dtype: one of ``DTYPES``, of the model.
        device: where the model calculates.
        batch_size: inputs of one pass; it decides how sums are rounded.
        min_count: of a bag of words: training texts that a word stands in at least.
        max_words: of a bag of words.
        weighting: of a bag of words, one of ``WEIGHTINGS``.
        n_parameters: of the model, as a factor of comparisons; None: counted.
    """

    name: str
    level: str | None
    kind: str
    model: Path | None
    layers: tuple[int, ...]
    pooling: str
    context_s: float
    language: str | None
    annotators: tuple[str, ...]
    missing: str
    pca: int | None
    media: Path | None
    start_token: bool
    max_tokens: int | None
    dtype: str
    device: str
    batch_size: int
    min_count: int
    max_words: int
    weighting: str
    n_parameters: int | None


@dataclass(frozen=True, kw_only=True)
class RidgeUse:
    """Regularisation: ``alphas`` are tried, ``score`` chooses, ``backend`` calculates."""

    alphas: tuple[float, ...]
    solver: str
    score: str
    precision: str
    backend: str
    device: str
    memory_gb: float


@dataclass(frozen=True, kw_only=True)
class BandUse:
    """A banded model: names of features, how many random searches, and which unions are scored for the partition."""

    name: str
    features: tuple[str, ...]
    n_iter: int
    unions: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two features whose scores are compared over subjects, each at its layer chosen on cross-validation."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class StatisticsUse:
    """How sure one is: permutations in blocks of ``block_s``, correction ``fdr`` at ``level``, resamples."""

    permutations: int
    block_s: float
    null: str
    across_runs: bool
    fdr: str
    level: float
    bootstrap: int


@dataclass(frozen=True, kw_only=True)
class FlatmapUse:
    """Where pycortex's database has a subject: ``surface``, and ``transform`` from volumes (None: vertices)."""

    surface: str
    transform: str | None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """An ``encoding.yaml`` that was read and found good; paths are joined to the folder of the file."""

    file: Path
    name: str
    description: str | None
    dataset: DatasetUse
    subjects: tuple[str, ...]
    samples: SampleUse
    clean: CleanUse
    delays: DelayUse
    features: Mapping[str, FeatureUse]
    ridge: RidgeUse
    bands: Mapping[str, BandUse]
    compare: tuple[Comparison, ...]
    statistics: StatisticsUse
    flatmaps: Mapping[str, FlatmapUse]
    regions: Path | None
    mode: str
    seed: int

    @property
    def folder(self) -> Path:
        """The folder of the analysis: everything that is made lies in it."""
        return self.file.parent
