"""From a study's tables to its ``Analysis``: the order of work, and what is missing when a table is not there.

``analyse_study`` reads a folder, ``analyse_table`` a study that is read already; both take results from
``tables/results.parquet`` or, without it, from the declared sources (a released CSV). Properties of datasets, changes
of layers and per-sample likelihoods are optional: a section without its table says which command makes it. The claims
themselves are ``verdicts.py``; writing is ``tables.py``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from release_kit.core.results import Result
from release_kit.core.study import Study, read_study
from release_kit.sft.analysis.bootstrap import N_DRAWS
from release_kit.sft.analysis.cells import CellFacts, cell_facts, primary_metrics, read_rows
from release_kit.sft.analysis.compare import compare_methods, compare_sizes
from release_kit.sft.analysis.depth import LAYERS_FILE, Profiles, make_depth, read_profiles
from release_kit.sft.analysis.doubtful import find_doubtful
from release_kit.sft.analysis.effects import make_effects, make_seed_noise, make_trajectories
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.evidence import MEASURE, Evidence
from release_kit.sft.analysis.gains import GainFrame, base_scores, make_gains
from release_kit.sft.analysis.intervals import LEVEL
from release_kit.sft.analysis.maps import model_map
from release_kit.sft.analysis.pca import make_components
from release_kit.sft.analysis.records import ALL, SOUND, Analysis, Findings, Missing, ModelMap, Source
from release_kit.sft.analysis.relations import (
    PERPLEXITIES,
    PROPERTIES_FILE,
    Properties,
    main_property,
    make_relations,
    read_properties,
    relation_points,
    relation_rows,
)
from release_kit.sft.analysis.transfer import make_transfers
from release_kit.sft.analysis.vectors import SCORES, likelihood_vectors, score_vectors
from release_kit.sft.analysis.verdicts import judge_all

SEED = 0
USUAL = 0.5
"""Part of the fine-tuned cells that must have a metric for it to speak in pooled analyses."""
PAPER_BENCHMARKS = frozenset(
    ("math", "gsm8k", "humaneval", "mbpp", "boolq", "nq", "truthfulqa", "mmlu", "cmmlu", "jmmlu", "mtbench")
) | {"alpacaevalv2"}
"""The paper's twelve; when a table has them all, components are computed over these."""

OnStep = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What the sections are made of."""

    study: Study
    rows: list[Result]
    facts: dict[str, CellFacts]
    every: GainFrame
    metrics: tuple[Metric, ...]
    properties: Properties | None
    profiles: Profiles | None


def analyse_study(folder: Path, on_step: OnStep | None = None) -> Analysis:
    """Analyse the study in ``folder``; see ``analyse_table``."""
    return analyse_table(read_study(folder), on_step)


def analyse_table(study: Study, on_step: OnStep | None = None) -> Analysis:
    """Analyse a study: gains, contrasts, relations, depth, map and the verdict on each claim.

    Args:
        study: with results, in its table or in its sources.
        on_step: told the name of each part as it begins.

    Returns:
        Findings without doubtful base scores and, when there are any, beside them with all. Same inputs, same numbers.

    Raises:
        StudyError: no results, or nothing says which cells are the bases.
        RecordError: a table that cannot be read.
    """
    tell = on_step or (lambda _: None)
    tell("gains")
    facts = cell_facts(study)
    rows, sources, notes = read_rows(study)
    bases = base_scores(rows, facts)
    doubts = find_doubtful(study, bases)
    gains, without = make_gains(study, rows, facts, bases, doubts)
    every = GainFrame(gains)
    properties, profiles, read, missing = _tables(study)
    inputs = _Inputs(
        study=study,
        rows=rows,
        facts=facts,
        every=every,
        metrics=_pooled_metrics(every),
        properties=properties,
        profiles=profiles,
    )
    tell("map")
    layout, gap = _map(inputs)
    shared = _shared(inputs)
    tell("findings")
    sound = every.sound()
    return Analysis(
        study=study.name,
        version=study.version,
        sources=(*sources, *read),
        settings={"seed": SEED, "n_draws": N_DRAWS, "level": LEVEL, "metrics": [m.label for m in inputs.metrics]},
        doubtful=doubts,
        findings=_findings(inputs, replace(shared, bases=SOUND), sound, layout),
        beside=_findings(inputs, shared, every, layout) if len(sound) < len(every) else None,
        gains=gains,
        map=layout,
        missing=(*missing, *gap),
        notes=(*notes, *without),
    )


def _shared(inputs: _Inputs) -> Findings:
    """Return the sections in which the base score cancels: they rest on every row, in both findings."""
    every = inputs.every
    return Findings(
        bases=ALL,
        n_cells=0,
        n_runs=0,
        n_gains=0,
        comparisons=(*compare_methods(every), *compare_sizes(every)),
        components=make_components(every, _component_metrics(inputs.metrics), seed=SEED),
    )


def _findings(inputs: _Inputs, shared: Findings, frame: GainFrame, layout: ModelMap | None) -> Findings:
    """Return the sections on ``frame``; contrasts and components are shared, as base scores cancel in them."""
    rows = relation_rows(frame, inputs.properties, inputs.metrics) if inputs.properties is not None else None
    main = main_property(rows, PERPLEXITIES) if rows is not None else None
    findings = replace(
        shared,
        n_cells=len({gain.cell_id for gain in frame.gains}),
        n_runs=len({gain.run for gain in frame.gains}),
        n_gains=len(frame),
        effects=make_effects(frame),
        trajectories=make_trajectories(frame),
        seed_noise=make_seed_noise(frame),
        transfers=make_transfers(frame, inputs.metrics),
        relations=make_relations(rows, inputs.metrics) if rows is not None else (),
        points=relation_points(rows, main) if rows is not None and main else (),
        depth=make_depth(frame, inputs.profiles, inputs.metrics, seed=SEED) if inputs.profiles is not None else (),
    )
    evidence = Evidence(
        findings=findings,
        gains=frame,
        every=inputs.every,
        metrics=inputs.metrics,
        relations=rows,
        profiles=inputs.profiles,
        map=layout,
    )
    return replace(findings, verdicts=judge_all(evidence))


def _pooled_metrics(frame: GainFrame) -> tuple[Metric, ...]:
    """Return one metric a benchmark, of those that most cells have."""
    n_cells = len({gain.cell_id for gain in frame.gains})
    usual = [metric for metric, rows in frame.by("metric").items() if len(rows) >= USUAL * n_cells]
    return primary_metrics([metric for (metric,) in usual])


def _component_metrics(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    def plain_name(metric: Metric) -> str:
        return "".join(letter for letter in metric.benchmark.lower() if letter.isalnum())

    known = tuple(metric for metric in metrics if plain_name(metric) in PAPER_BENCHMARKS)
    return known if {plain_name(metric) for metric in known} == PAPER_BENCHMARKS else metrics


def _tables(study: Study) -> tuple[Properties | None, Profiles | None, list[Source], list[Missing]]:
    """Return the optional tables, what was read, and what is missing."""
    read: list[Source] = []
    missing: list[Missing] = []
    found: dict[str, object] = {}
    for name, path, reader in (
        ("relations", PROPERTIES_FILE, read_properties),
        ("depth", LAYERS_FILE, read_profiles),
    ):
        file = study.folder / path
        if file.is_file():
            found[name] = reader(file)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            read.append(Source(path=path, sha256=digest, n_rows=_n_rows(file)))
        else:
            missing.append(Missing(section=name, what=f"there is no {path}", next_step=MEASURE))
    return found.get("relations"), found.get("depth"), read, missing


def _n_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).metadata.num_rows


def _map(inputs: _Inputs) -> tuple[ModelMap | None, list[Missing]]:
    """Return the map by likelihoods, or by scores where no samples were kept, and say so."""
    vectors = likelihood_vectors(inputs.study.folder, inputs.facts) or score_vectors(inputs.rows, inputs.facts)
    layout = model_map(vectors, seed=SEED) if vectors is not None else None
    step = "run `release-kit sft evaluate`, which keeps the samples"
    if layout is None:
        return None, [Missing(section="map", what="fewer than eight models have shared documents", next_step=step)]
    if layout.vectors == SCORES:
        what = "no samples of log-likelihoods are kept, so models are placed by their scores"
        return layout, [Missing(section="map", what=what, next_step=step)]
    return layout, []
