"""A whole ``Analysis`` with made-up numbers in every section, for tests of pictures and of the report."""

import functools
import random
from itertools import combinations

from release_kit.core.pictures import Picture
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.figures import draw_pictures
from release_kit.sft.analysis.records import (
    FAILS,
    HOLDS,
    UNTOLD,
    Analysis,
    Comparison,
    Components,
    Depth,
    DepthBin,
    Doubt,
    Effect,
    Findings,
    Gain,
    MapPoint,
    Missing,
    ModelMap,
    Relation,
    RelationPoint,
    SeedNoise,
    Source,
    TrajectoryPoint,
    Transfer,
    Verdict,
)

CONDITION = {"data_size": 1000, "schedule": "cosine"}


def estimate(value: float, half: float | None = None, *, n: int = 240, p: float | None = None) -> Estimate:
    """An estimate with a symmetric interval, or without one."""
    ends = {} if half is None else {"low": value - half, "high": value + half}
    return Estimate(value=value, **ends, n=n, n_units=4, over="base_model", method="percentile", p=p)


class Made:
    """Draws every section from one seed.

    Args:
        n_bases, n_datasets, n_metrics: how large the grid is.
        doubtful: whether the last base is in doubt.
    """

    def __init__(self, n_bases: int = 4, n_datasets: int = 5, n_metrics: int = 4, *, doubtful: bool = True):
        self.draw = random.Random(11)
        self.bases = [f"base-{letter}-7B" for letter in "abcdefghijklm"[:n_bases]]
        names = [
            "alpaca_cleaned",
            "flan_knowledge",
            "lima",
            "openmath",
            "code_alpaca",
            "math",
            "ultrachat",
            "magicoder",
        ]
        self.datasets = [*names, "flan_reasoning", "flan_comprehension"][:n_datasets]
        tasks = ["BoolQ", "gsm8k", "mmlu", "humaneval", "hellaswag", "nq", "mbpp", "jmmlu", "cmmlu", "math", "ifeval"]
        self.metrics = [Metric(benchmark=name, metric="score", n_shot=0) for name in tasks[:n_metrics]]
        self.skill = {(b, m): self.draw.gauss(40, 12) for b in self.bases for m in self.metrics}
        self.effect = {(d, m): self.draw.gauss(1.5, 5) for d in self.datasets for m in self.metrics}
        self.doubtful = {self.bases[-1]} if doubtful else set()

    def analysis(self) -> Analysis:
        """Return the whole."""
        gains = tuple(self.gains())
        sound = [gain for gain in gains if not gain.doubtful]
        verdicts = tuple(self.verdicts())
        return Analysis(
            study="made-up", version="1.0.0",
            sources=(Source(path="tables/results.parquet", sha256="ab" * 32, n_rows=1234),),
            settings={"seed": 0, "draws": 2000, "level": 0.95},
            doubtful=tuple(self.doubts()),
            findings=self.findings(sound, verdicts),
            beside=self.findings(list(gains), verdicts) if self.doubtful else None,
            gains=gains,
            map=self.map(),
            missing=(Missing(section="contamination", what="no table", next_step="run: release-kit sft measure S"),),
            notes=("2 runs have no epoch 10",),
        )  # fmt: skip

    def gains(self):
        for base in self.bases:
            for dataset in self.datasets:
                for method in ("full", "lora"):
                    if (base, dataset, method) == (self.bases[0], self.datasets[-1], "full"):
                        continue  # a hole
                    for metric in self.metrics:
                        gain = self.effect[dataset, metric] * (0.8 if method == "lora" else 1) + self.draw.gauss(0, 2)
                        start = self.skill[base, metric]
                        name = f"{base}/{dataset}/{method}"
                        yield Gain(
                            cell_id=name, base_cell_id=base, base_model=base, dataset=dataset, method=method, seed=0,
                            epoch=10, run=name, metric=metric, value=start + gain, base_value=start, gain=gain,
                            stderr=None, doubtful=base in self.doubtful, last=True, **CONDITION,
                        )  # fmt: skip

    def findings(self, gains: list[Gain], verdicts: tuple[Verdict, ...]) -> Findings:
        effects = tuple(
            Effect(
                base_model=g.base_model, dataset=g.dataset, method=g.method, metric=g.metric,
                gain=estimate(g.gain, n=1), doubtful=g.doubtful, **CONDITION,
            )
            for g in gains
        )  # fmt: skip
        runs = len({gain.run for gain in gains})
        return Findings(
            bases="sound", n_cells=runs, n_runs=runs, n_gains=len(gains), effects=effects, verdicts=verdicts,
            seed_noise=tuple(
                SeedNoise(metric=metric, seed_sd=estimate(0.8, 0.2), dataset_sd=2.5) for metric in self.metrics
            ),
            trajectories=tuple(self.trajectories()), comparisons=tuple(self.comparisons()),
            transfers=tuple(
                Transfer(first=a, second=b, r=estimate(self.draw.uniform(-0.4, 0.9), 0.1), r_last=estimate(0.2, 0.2))
                for a, b in combinations(self.metrics, 2)
            ),
            components=(self.components(),), relations=tuple(self.relations()), points=tuple(self.points(gains)),
            depth=(self.depth("all", "all"), self.depth("mlp.down_proj", "full"), self.depth("attn.q_proj", "full")),
        )  # fmt: skip

    def doubts(self):
        for base in sorted(self.doubtful):
            what = f"every score of {base} is that of {self.bases[0]}, to the last digit"
            yield Doubt(
                base_model=base, cell_id="0" * 12, kind="identical", other=self.bases[0], metrics=tuple(self.metrics),
                what=what,
            )  # fmt: skip

    def trajectories(self):
        for method in ("full", "lora"):
            for metric in self.metrics:
                for epoch in range(1, 11):
                    value = self.effect[self.datasets[0], metric] * (1 - 0.5**epoch)
                    yield TrajectoryPoint(
                        dataset="all", method=method, data_size=10000, schedule="cosine", metric=metric, epoch=epoch,
                        gain=estimate(value, 0.8),
                    )  # fmt: skip

    def comparisons(self):
        for metric in self.metrics:
            wins = self.draw.uniform(0.3, 0.8)
            yield Comparison(
                contrast="method", first="lora", second="full", within="data_size=1000", metric=metric,
                wins=estimate(wins, 0.12, n=99), ties=0.01, difference=estimate(self.draw.gauss(0.2, 1), 0.4, p=0.03),
                correlation=0.9,
            )  # fmt: skip

    def components(self) -> Components:
        n = len(self.datasets) - 1
        shares = [0.5 * 0.5**i for i in range(n - 1)]
        shares.append(1 - sum(shares))
        shares.sort(reverse=True)
        running = [estimate(sum(shares[: i + 1]), 0.03) for i in range(n)]
        return Components(
            within="method=full data_size=1000", datasets=tuple(self.datasets), bases=tuple(self.bases[:-1]),
            dropped=(self.bases[-1],), metrics=tuple(self.metrics), shares=tuple(shares), null_shares=(1 / n,) * n,
            cumulative=tuple(running),
            scores=tuple((self.draw.gauss(0, 2), self.draw.gauss(0, 1)) for _ in self.datasets),
        )  # fmt: skip

    def relations(self):
        for metric in (None, *self.metrics):
            yield Relation(
                property="perplexity_completion", metric=metric, given=("base_model",),
                r=estimate(self.draw.uniform(-0.6, 0), 0.2), slope=estimate(-0.3, 0.2),
            )  # fmt: skip

    def points(self, gains: list[Gain]):
        ppl = {(base, data): self.draw.gauss(1.6, 0.4) for base in self.bases for data in self.datasets}
        for gain in gains:
            yield RelationPoint(
                property="perplexity_completion", base_model=gain.base_model, dataset=gain.dataset, method=gain.method,
                metric=gain.metric, x=ppl[gain.base_model, gain.dataset], y=gain.gain,
            )  # fmt: skip

    def depth(self, kind: str, method: str) -> Depth:
        places = [i / 11 for i in range(12)]
        bins = tuple(
            DepthBin(
                depth=x, change=estimate(5e-4 + 3e-4 * x, 5e-5), r_gain=estimate(0.6 - 2 * (x - 0.6) ** 2, 0.15),
                agreement=estimate(0.5 - (x - 0.5) ** 2, 0.1),
            )
            for x in places
        )  # fmt: skip
        profiles = {base: tuple(5e-4 + 3e-4 * x + self.draw.gauss(0, 3e-5) for x in places) for base in self.bases}
        return Depth(
            kind=kind, method=method, bins=bins, peak_change=estimate(0.98, 0.02), peak_r=estimate(0.6, 0.1, n=1100),
            peak_agreement=estimate(0.5, 0.2), profiles=profiles,
        )  # fmt: skip

    def map(self) -> ModelMap:
        places = {base: (self.draw.gauss(0, 10), self.draw.gauss(0, 10)) for base in self.bases}
        points = []
        for base in self.bases:
            for dataset in self.datasets:
                for seed in range(3):
                    x, y = places[base]
                    near = (x + self.draw.gauss(0, 1), y + self.draw.gauss(0, 1))
                    points.append(
                        MapPoint(
                            cell_id=f"{base}/{dataset}/{seed}", base_model=base, dataset=dataset, method="full",
                            data_size=1000, seed=seed, epoch=3, pca=near, tsne=(near[1], near[0]),
                        )
                    )  # fmt: skip
        return ModelMap(
            vectors="log-likelihood of documents", n_documents=1950, points=tuple(points), pca_shares=(0.4, 0.2),
            purity={"base_model": estimate(0.93, 0.04)}, chance_purity={"base_model": 0.2},
            stability=estimate(0.8, 0.05), distances={"epoch 2 - epoch 1": estimate(0.1, 0.02)},
        )  # fmt: skip

    def verdicts(self):
        rows = [
            ("perplexity-predicts-gain", "Lower perplexity of the data under the base goes with a larger gain",
             "interval below 0", HOLDS, estimate(-0.34, 0.12)),
            ("middle-layers", "The correlation of layer change with gain peaks in the middle, near 0.6",
             "interval inside 0.4 to 0.8", HOLDS, estimate(0.61, 0.11)),
            ("lora-reasoning", "LoRA loses on mathematics", "share below 0.5", UNTOLD, estimate(0.46, 0.1)),
            ("five-components", "Five components explain more than 90 % of the effects", "interval above 0.9", FAILS,
             estimate(0.85, 0.03)),
            ("gride", "The intrinsic dimension departs at depth 0.6", "interval inside 0.5 to 0.7", UNTOLD, None),
        ]  # fmt: skip
        for claim, statement, criterion, verdict, found in rows:
            reason = "the interval keeps to the limits" if verdict == HOLDS else "the interval holds the limit"
            yield Verdict(
                claim=claim, statement=statement, origin="paper", measure="partial correlation", criterion=criterion,
                verdict=verdict, estimate=found, reason=reason if found else "no activations were recorded",
            )  # fmt: skip


@functools.cache
def drawn() -> tuple[Analysis, tuple[Picture, ...]]:
    """A small analysis and all its pictures, drawn once for all tests."""
    analysis = Made(n_bases=3, n_datasets=3, n_metrics=3).analysis()
    return analysis, tuple(draw_pictures(analysis))
