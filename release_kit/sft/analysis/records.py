"""What an analysis says, as frozen records: everything that a report draws and ``verdicts.json`` holds.

``Analysis`` is the whole: where the numbers come from, which base rows are doubtful, the findings without the doubtful
rows (``findings``) and beside them with all rows (``beside``), the map of models, and what could not be said for want
of a table (``missing``). A ``Findings`` holds one section a question: effects (heat maps), trajectories (epochs), seed
noise, comparisons (LoRA against full, 20,000 against 1,000 examples), transfer (gains of one benchmark against gains
of another), components (PCA of dataset effects), relations (properties of data against gain), depth (layer changes)
and verdicts. Owns no computation; tidy Parquet tables of the long sections are made in ``tables.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.sft.analysis.estimate import Estimate, Metric, Record, plain

SCHEMA_VERSION = 1

HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told"
VERDICTS = (HOLDS, FAILS, UNTOLD)

SOUND, ALL = "sound", "all"
"""Which base rows a ``Findings`` rests on: without the doubtful ones, or with every row of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source(Record):
    """A file that numbers were taken from."""

    path: str
    """Relative to the study folder."""
    sha256: str
    n_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt(Record):
    """A base row, or some of its scores, that no gain should rest on."""

    base_model: str
    cell_id: str
    kind: str
    """``identical`` (every score is another base's), ``shared`` (many scores are), ``below-chance``, ``empty``."""
    other: str | None = None
    """The base that it shares its scores with."""
    metrics: tuple[Metric, ...]
    """The scores in doubt."""
    what: str
    """The sentence that names it, with figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain(Record):
    """One score of one fine-tuned cell against the untouched base on the same benchmark, metric and shots."""

    cell_id: str
    base_cell_id: str
    base_model: str
    dataset: str
    method: str
    data_size: int | None
    schedule: str | None
    seed: int | None
    epoch: int | None
    run: str
    """Cells of one training run share it (they differ in the epoch only)."""
    metric: Metric
    value: float
    base_value: float
    gain: float
    """``value - base_value``, with the sign turned where less is better: a positive gain is an improvement."""
    stderr: float | None
    """√(se² + se_base²): an upper bound, as both were scored on the same documents."""
    doubtful: bool
    """The base score is named in ``Analysis.doubtful``."""
    last: bool
    """The last epoch of its run that the table has."""
    others: str = ""
    """Levels of factors that have no role here (``rank=8``): cells that differ in them are never averaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect(Record):
    """Mean gain of one base x dataset x method x … on one metric over its seeds: a square of the heat map."""

    base_model: str
    dataset: str
    method: str
    data_size: int | None
    schedule: str | None
    metric: Metric
    gain: Estimate
    """Over seeds, at the last epoch; no interval with one seed."""
    doubtful: bool
    others: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryPoint(Record):
    """Mean gain at one epoch over the bases (and seeds) that have it."""

    dataset: str
    method: str
    data_size: int | None
    schedule: str | None
    metric: Metric
    epoch: int
    gain: Estimate
    others: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedNoise(Record):
    """How much of the spread of one metric is the seed's, and how much the dataset's."""

    metric: Metric
    seed_sd: Estimate
    """Pooled standard deviation over seeds of one base x dataset x method, last epochs."""
    dataset_sd: float
    """Mean over bases and methods of the standard deviation over datasets of the seeds' means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Record):
    """Pairs of cells that differ in one factor only: how often, and by how much, the first is better."""

    contrast: str
    """Which factor: ``method`` or ``data_size``."""
    first: str
    second: str
    within: str
    """What the pairs have in common: ``data_size=1000`` …; empty: nothing in particular."""
    metric: Metric
    wins: Estimate
    """Share of pairs in which the first is strictly better."""
    ties: float
    """Share of pairs that are equal to the last digit."""
    difference: Estimate
    """Mean of first minus second (improvement positive); its p is of a sign-flip test, Holm over metrics."""
    wilcoxon_p: float | None = None
    """p of Wilcoxon's signed ranks of the units' means: what is left when one unit moves far."""
    correlation: float | None
    """Pearson r of the two scores over the pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer(Record):
    """Correlation of the gains on two metrics over cells."""

    first: Metric
    second: Metric
    r: Estimate
    """Over all cells, pooled, as the paper plots it."""
    r_last: Estimate
    """Last epoch of each run only, within bases: each base's mean taken out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Components(Record):
    """PCA of what datasets do: one observation a dataset, one standardised variable a base x metric."""

    within: str
    """Which cells: ``method=full data_size=1000`` …"""
    datasets: tuple[str, ...]
    bases: tuple[str, ...]
    """Bases that have every dataset; a base with a hole is left out (``dropped``)."""
    dropped: tuple[str, ...]
    metrics: tuple[Metric, ...]
    shares: tuple[float, ...]
    """Explained share of each component, largest first; they sum to 1."""
    null_shares: tuple[float, ...]
    """Mean shares when datasets are shuffled within each variable: what no structure would give."""
    cumulative: tuple[Estimate, ...]
    """Cumulative shares; intervals by resampling bases."""
    scores: tuple[tuple[float, float], ...]
    """(n_datasets, 2): the datasets on the first two components; the largest loading is positive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation(Record):
    """How one property of a dataset goes with the gain that training on it brings."""

    property: str
    """``perplexity_completion``, ``perplexity_full``, ``tokens_mean``, ``embedding_similarity`` …; perplexities and
    lengths as logarithms."""
    metric: Metric | None
    """None: all metrics together, gains in units of each base x metric's spread."""
    given: tuple[str, ...]
    """What was taken out: ``base_model``, ``metric``, and other properties by name."""
    r: Estimate
    """Partial correlation; p Benjamini-Yekutieli over the metrics of one property."""
    slope: Estimate
    """Standardised gain for one standard deviation of the property."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelationPoint(Record):
    """One dot of the picture "gain against property": a base x dataset x method on one metric."""

    property: str
    base_model: str
    dataset: str
    method: str
    metric: Metric
    x: float
    """The property as the regression sees it (a logarithm for perplexities and lengths)."""
    y: float
    """Mean gain over seeds at the last epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthBin(Record):
    """One place of the depth of all models, 0 the first layer, 1 the last."""

    depth: float
    change: Estimate
    """Mean change of the weights (relative Frobenius norm) over bases."""
    r_gain: Estimate
    """Partial correlation of log change with gain, given base, metric (and method)."""
    agreement: Estimate | None
    """Mean correlation between pairs of bases of the changes over the same conditions; None with one base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth(Record):
    """Profiles over depth of one kind of tensor (or of all)."""

    kind: str
    """``all`` or a kind (``mlp.down_proj``)."""
    method: str
    """``all``, ``full`` or ``lora``."""
    bins: tuple[DepthBin, ...]
    peak_change: Estimate
    """Depth at which the change is largest."""
    peak_r: Estimate
    """Depth at which its correlation with gain is largest."""
    peak_agreement: Estimate | None
    profiles: Mapping[str, tuple[float, ...]]
    """Base → mean change in each bin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapPoint(Record):
    """One model on the map."""

    cell_id: str
    base_model: str
    dataset: str
    method: str
    data_size: int | None
    seed: int | None
    epoch: int | None
    pca: tuple[float, float]
    tsne: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMap(Record):
    """Models by what they give to every document: log-likelihood vectors (or score vectors) on two axes."""

    vectors: str
    """What a model's vector is: ``log-likelihood of documents`` or ``scores of metrics``."""
    n_documents: int
    points: tuple[MapPoint, ...]
    pca_shares: tuple[float, ...]
    purity: Mapping[str, Estimate]
    """Factor → share of a model's nearest neighbours of other runs that have its level; ``over`` = base_model."""
    chance_purity: Mapping[str, float]
    """The same for neighbours drawn at random."""
    stability: Estimate
    """Mean overlap of nearest neighbours between the map and maps of resampled documents, 0 to 1."""
    distances: Mapping[str, Estimate]
    """Named distances, in units of the median distance between models of different bases:
    ``epoch 2 - epoch 1`` …, ``base - data_size=1000``, ``full - lora`` …"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(Record):
    """One claim of the paper held against these data."""

    claim: str
    """Short name (``perplexity-predicts-gain``)."""
    statement: str
    """The claim, in one sentence that can be wrong."""
    origin: str
    """``paper``, or ``table`` for what was computed from the released table."""
    measure: str
    """What was estimated."""
    criterion: str
    """When it holds: ``interval below 0`` …"""
    verdict: str
    """``holds``, ``does not hold`` or ``cannot be told``."""
    estimate: Estimate | None
    reason: str
    """Why this verdict, with figures; for ``cannot be told`` what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing(Record):
    """A section that could not be written."""

    section: str
    what: str
    next_step: str
    """The command that makes what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings(Record):
    """The answers on one choice of base rows."""

    bases: str
    """``sound`` (doubtful base scores left out) or ``all``."""
    n_cells: int
    n_runs: int
    n_gains: int
    effects: tuple[Effect, ...] = ()
    trajectories: tuple[TrajectoryPoint, ...] = ()
    seed_noise: tuple[SeedNoise, ...] = ()
    """Empty where no condition was repeated."""
    comparisons: tuple[Comparison, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    components: tuple[Components, ...] = ()
    relations: tuple[Relation, ...] = ()
    points: tuple[RelationPoint, ...] = ()
    depth: tuple[Depth, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis(Record):
    """Everything that was found in one study."""

    study: str
    version: str
    sources: tuple[Source, ...]
    settings: Mapping[str, Any]
    """Seed, draws, level and code version of the analysis."""
    doubtful: tuple[Doubt, ...]
    findings: Findings
    """Without doubtful base scores: what the report says."""
    beside: Findings | None
    """The same with all base rows; None when nothing is doubtful."""
    gains: tuple[Gain, ...]
    """Every gain, doubtful ones marked; left out of ``summary``."""
    map: ModelMap | None = None
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    """What was odd in the inputs and how it was taken."""

    def summary(self) -> dict[str, Any]:
        """Return what ``verdicts.json`` holds: doubts, verdicts with and without them, what is missing, sources."""
        result = {"schema_version": SCHEMA_VERSION, "n_gains": len(self.gains)}
        for name in ("study", "version", "sources", "settings", "doubtful", "missing", "notes"):
            result[name] = plain(getattr(self, name))
        result["verdicts"] = plain(self.findings.verdicts)
        result["verdicts_with_doubtful_rows"] = plain(self.beside.verdicts) if self.beside else None
        return result
