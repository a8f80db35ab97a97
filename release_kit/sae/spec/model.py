"""What a study of autoencoders says, as records. The file is read by ``read.py``; its keys stand in ``grammar.py``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 1
ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "matryoshka")
NORMALISATIONS = ("unit-norm", "rms", "none")
CACHES = ("disk", "stream")
NULLS = ("random-model", "permuted-languages", "romanised", "digits")
"""What every bilingual share stands beside: a model with random weights, sentences with their languages shuffled,
Japanese in Latin letters, and text of digits and punctuation alone."""
RULES = ("released",)
"""Rules of language that a study can ask for; those by rate and by script are always there."""
VARIANTS = ("add", "replace", "ablate")
CLASSES = ("en", "ja", "bilingual", "all")


@dataclass(frozen=True, kw_only=True)
class TextUse:
    """Which sentences: the source, its languages, how many pairs train and how many are held out."""

    source: str
    languages: tuple[str, ...]
    n_train: int | None
    n_held_out: int
    context: int
    licence: str | None
    attribution: str | None


@dataclass(frozen=True, kw_only=True)
class LanguageModelUse:
    """How language models that are trained here are trained; the same for all sizes."""

    vocab_size: int
    steps: int
    batch: int
    seq_len: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """One size of language model at several training steps.

    Attributes:
        name: the size, as tables and folders have it.
        hidden_size, n_layers, n_heads: of a model that is trained here, else None.
        path: folder or Hub id of a model that is there already, else None.
        revisions: training step → revision or subfolder of ``path``.
        steps: training steps, the smallest first; step 0 is a model with random weights.
    """

    name: str
    hidden_size: int | None
    n_layers: int | None
    n_heads: int | None
    path: str | None
    revisions: Mapping[int, str]
    steps: tuple[int, ...]

    @property
    def trained_here(self) -> bool:
        """Whether the study trains this model itself."""
        return self.path is None


@dataclass(frozen=True, kw_only=True)
class SaeUse:
    """What the autoencoders are; widths follow from the model's where ``n_features`` is None."""

    architecture: str
    expansion: int
    n_features: int | None
    k: int
    normalise: str
    subtract_decoder_bias: bool
    encoder_start: float
    groups: tuple[int, ...]
    l0_coefficient: float
    bandwidth: float
    aux_k: int
    aux_coefficient: float
    dead_after_tokens: int

    def width(self, d_in: int) -> int:
        """Return the number of features for activations of this width."""
        return self.n_features or self.expansion * d_in


@dataclass(frozen=True, kw_only=True)
class TrainingUse:
    """How autoencoders are trained."""

    tokens: int
    batch: int
    learning_rate: float
    warmup_steps: int
    loss: str
    precision: str
    clip: float
    warm_start: str
    checkpoint_every: int

    @property
    def n_steps(self) -> int:
        """Steps of the optimiser: whole batches only."""
        return max(1, self.tokens // self.batch)


@dataclass(frozen=True, kw_only=True)
class CacheUse:
    """Where activations go on their way from model to autoencoder."""

    kind: str
    dtype: str
    max_gb: float


@dataclass(frozen=True, kw_only=True)
class ClassifyUse:
    """When a feature is of one language, what shares stand beside, and which rules more are asked.

    Attributes:
        share, least_sentences, nulls, rules: bounds and names.
        meanings: of words: a dictionary's name or a table, None for none. labels: a table of people's, None for none.
    """

    share: float
    least_sentences: int
    nulls: tuple[str, ...]
    rules: tuple[str, ...]
    meanings: str | None
    labels: str | None


@dataclass(frozen=True, kw_only=True)
class InterveneUse:
    """What is put into which steps, how, how often at random."""

    classes: tuple[str, ...]
    variants: tuple[str, ...]
    strengths: tuple[float, ...]
    steps: tuple[int, ...] | None
    n_random: int
    sentences: int
    bootstrap: int


@dataclass(frozen=True, kw_only=True)
class SaeStudy:
    """A study: sizes of language models x training steps x layers x seeds."""

    file: Path
    name: str
    description: str | None
    text: TextUse
    language_model: LanguageModelUse
    models: Mapping[str, ModelUse]
    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    sae: SaeUse
    training: TrainingUse
    cache: CacheUse
    classify: ClassifyUse
    intervene: InterveneUse

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return self.file.parent
