"""What each claim is judged by: from the findings to one number, or to the reason why there is none.

Owns which benchmarks are exams, maths, code and chat, by their names, and which cells a claim is about. Contrasts and
trends over epochs use every row (their base score cancels); gains use the rows of the findings they belong to.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from release_kit.sft.analysis import distances
from release_kit.sft.analysis.compare import pair_gains
from release_kit.sft.analysis.depth import ALL_KINDS, Profiles, depth_rise
from release_kit.sft.analysis.effects import late_less_early
from release_kit.sft.analysis.estimate import Estimate, Metric
from release_kit.sft.analysis.gains import GainFrame
from release_kit.sft.analysis.intervals import choose_units, mean_estimate
from release_kit.sft.analysis.records import Depth, Findings, Gain, ModelMap
from release_kit.sft.analysis.relations import (
    LENGTHS,
    PERPLEXITIES,
    SIMILARITIES,
    RelationRows,
    advantage,
    main_property,
)

JAPANESE, CHINESE, ENGLISH = (
    r"jmmlu|mmlu_?(ja|jp)",
    r"cmmlu|mmlu_?(zh|cn)",
    r"mmlu(_?(en|pro|holdout|exam))?$",
)
EXAMS = r"[cjk]?mmlu|arc_|openbook|logiqa|sciq|medqa|medmcqa|ceval|agieval|exam"
MATHS = r"gsm|m?math|asdiv|svamp|mgsm|minerva"
CODE = r"human_?eval|mbpp|code|apps$"
CHAT = r"mt_?bench|alpaca_?eval|arena"
UNION = "all"
"""The dataset that is the union of the others, as the paper calls it."""
MEASURE = "with the weights at hand, `release-kit sft measure` does"
FEWEST_PAIRS = 3
MOST = 0.9
"""Share of the variance that counts as nearly all of it."""
TOO_FEW_LAYERS = "too few fully fine-tuned cells have measured layers"

Found = Estimate | str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a claim may be judged by."""

    findings: Findings
    gains: GainFrame
    """Of the findings: without doubtful base scores, or with them."""
    every: GainFrame
    """All gains, for contrasts in which the base score cancels."""
    metrics: tuple[Metric, ...]
    relations: RelationRows | None
    profiles: Profiles | None
    map: ModelMap | None

    def perplexity(self) -> Found:
        """Return the partial correlation of log perplexity with gain."""
        name = self._property(PERPLEXITIES)
        found = [r.r for r in self.findings.relations if r.property == name and r.metric is None and len(r.given) == 3]
        return found[0] if found else self._without_property("perplexity")

    def perplexity_less_length(self) -> Found:
        """Return how much closer perplexity goes with gain than length."""
        return self._advantage(LENGTHS, "length")

    def perplexity_less_similarity(self) -> Found:
        """Return how much closer perplexity goes with gain than similarity to the benchmark."""
        return self._advantage(SIMILARITIES, "similarity")

    def change_rise(self) -> Found:
        """Return the slope of log change on depth."""
        if self.profiles is None:
            return f"changes of layers were not measured; {MEASURE}"
        return depth_rise(self.every, self.profiles, "full") or TOO_FEW_LAYERS

    def peak_of_gain(self) -> Found:
        """Return the depth at which change goes with gain most closely, where it does."""
        depth = self._depth()
        if isinstance(depth, str):
            return depth
        known = [place for place in depth.bins if math.isfinite(place.r_gain.value)]
        if not known:
            return "weights moved, or scores gained, alike in all cells of a base"
        best = max(known, key=lambda place: place.r_gain.value)
        if best.r_gain.low is None or best.r_gain.low <= 0:
            r = best.r_gain
            interval = "no interval" if r.low is None else f"[{r.low:.2g}, {r.high:.2g}]"
            return f"nowhere does change go with gain surely: at most r = {r.value:.2g} {interval}, so there is no peak"
        return depth.peak_r

    def peak_of_agreement(self) -> Found:
        """Return the depth at which bases move most alike."""
        depth = self._depth()
        if isinstance(depth, str):
            return depth
        return depth.peak_agreement or "no two bases were trained on three conditions that they share"

    def five_components(self) -> Found:
        """Return the share that five components explain, of the full fine-tuning with the most bases."""
        full = [c for c in self.findings.components if "method=full" in c.within]
        if not full:
            return "no two bases were fully fine-tuned on the same three datasets"
        components = max(full, key=lambda c: (len(c.bases), len(c.datasets)))
        if len(components.datasets) <= 6:
            return f"{len(components.datasets)} datasets have {len(components.datasets) - 1} components at most"
        shuffled = sum(components.null_shares[:5])
        if shuffled >= MOST:
            return f"five components explain {shuffled:.0%} of shuffled datasets too, so that much means nothing here"
        return components.cumulative[4]

    def base_less_dataset(self) -> Found:
        """Return how much more neighbours share the base than the dataset."""
        return self._from_map(lambda m: m.purity.get("base_model less dataset"), "one base or one dataset only")

    def late_steps(self) -> Found:
        """Return how much shorter the last step between epochs is than the first."""
        return self._distance(distances.LATE_STEPS, "no run kept three epochs")

    def more_data(self) -> Found:
        """Return how much further from the base more data leads."""
        return self._distance(distances.MORE_DATA, "no dataset was used in two sizes")

    def lora_overlap(self) -> Found:
        """Return how much closer LoRA lies to full on the same data than full lies to full on other data."""
        return self._distance(distances.METHOD_LESS_DATASET, "no pair of full and LoRA on the same data")

    def english_japanese(self) -> Found:
        """Return the correlation of English with Japanese gains."""
        return self._transfer(JAPANESE, "Japanese")

    def english_chinese(self) -> Found:
        """Return the correlation of English with Chinese gains."""
        return self._transfer(CHINESE, "Chinese")

    def lora_exams(self) -> Found:
        """Return how often LoRA beats full fine-tuning on exams."""
        return self._wins("method", "lora", "full", EXAMS)

    def full_maths(self) -> Found:
        """Return how often full fine-tuning beats LoRA on maths."""
        return self._wins("method", "full", "lora", MATHS)

    def more_data_exams(self) -> Found:
        """Return how often more data wins on exams."""
        return self._wins_of_size(EXAMS)

    def more_data_maths(self) -> Found:
        """Return how often more data wins on maths and code."""
        return self._wins_of_size(f"{MATHS}|{CODE}")

    def epochs_chat(self) -> Found:
        """Return what further epochs do to chat scores."""
        return self._epochs(CHAT)

    def epochs_maths(self) -> Found:
        """Return what further epochs do to maths."""
        return self._epochs(MATHS)

    def epochs_code(self) -> Found:
        """Return what further epochs do to code."""
        return self._epochs(CODE)

    def _named(self, pattern: str) -> tuple[Metric, ...]:
        return benchmarks_like(pattern, self.metrics)

    def _property(self, names: Iterable[str]) -> str | None:
        return main_property(self.relations, tuple(names)) if self.relations is not None else None

    def _without_property(self, what: str) -> str:
        if self.relations is None:
            return f"properties of datasets were not measured; {MEASURE}"
        return f"too few bases x datasets have a measured {what}"

    def _advantage(self, others: tuple[str, ...], what: str) -> Found:
        first, second = self._property(PERPLEXITIES), self._property(others)
        if first is None or second is None:
            return self._without_property("perplexity" if first is None else what)
        return advantage(self.relations, first, second) or self._without_property(what)

    def _depth(self) -> Depth | str:
        if self.profiles is None:
            return f"changes of layers were not measured; {MEASURE}"
        whole = [depth for depth in self.findings.depth if depth.kind == ALL_KINDS]
        return next((depth for depth in whole if depth.method == "full"), TOO_FEW_LAYERS)

    def _from_map(self, take: Callable[[ModelMap], Estimate | None], otherwise: str) -> Found:
        if self.map is None:
            return "there is no map: fewer than eight models have shared documents or scores"
        return take(self.map) or otherwise

    def _distance(self, name: str, otherwise: str) -> Found:
        return self._from_map(lambda m: m.distances.get(name), otherwise)

    def _transfer(self, pattern: str, language: str) -> Found:
        english, other = self._named(ENGLISH), self._named(pattern)
        if not english or not other:
            return f"no benchmark asks for {'English' if not english else language} knowledge (MMLU and the like)"
        pair = {english[0].key, other[0].key}
        found = [t.r for t in self.findings.transfers if {t.first.key, t.second.key} == pair]
        return found[0] if found else "too few cells have both scores with a base score that is not in doubt"

    def _wins(self, factor: str, first, second, pattern: str) -> Found:
        metrics = self._named(pattern)
        if not metrics:
            return "no benchmark of this kind"
        frame = self._one_size(self.every.among(metrics)) if factor == "method" else self.every.among(metrics)
        return _share(pair_gains(frame, factor, first, second), f"no pair of {first} and {second} on the same data")

    def _one_size(self, frame: GainFrame) -> GainFrame:
        """Return single datasets only: the union of all, with its ten epochs a run, would outweigh them."""
        single = frame.where(gain.dataset != UNION for gain in frame.gains)
        return single if len(single) else frame

    def _wins_of_size(self, pattern: str) -> Found:
        sizes = sorted({gain.data_size for gain in self.every.gains if gain.data_size is not None})
        metrics = self._named(pattern)
        if len(sizes) < 2 or not metrics:
            return "no dataset was used in two sizes" if len(sizes) < 2 else "no benchmark of this kind"
        pairs: list[tuple[Gain, Gain]] = []
        frame = self.every.among(metrics)
        for i, small in enumerate(sizes):
            for large in sizes[i + 1 :]:
                pairs += pair_gains(frame, "data_size", large, small)
        return _share(pairs, "no dataset was used in two sizes")

    def _epochs(self, pattern: str) -> Found:
        metrics = self._named(pattern)
        if not metrics:
            return "no benchmark of this kind"
        union = self.every.among(metrics).having(method="full", dataset=UNION)
        if not len(union):
            return f"no base was fully fine-tuned on the union of the datasets, a dataset called {UNION!r}"
        values, bases, runs = [], [], []
        for rows in union.by("metric").values():
            scale = float(np.std(rows.numbers("gain"))) or 1.0
            changed, its_bases, its_runs = late_less_early(rows)
            values += [change / scale for change in changed] if len(metrics) > 1 else changed
            bases += its_bases
            runs += its_runs
        if len(values) < FEWEST_PAIRS:
            return "too few runs kept several epochs"
        over, units = choose_units(bases, runs)
        return mean_estimate(np.array(values), units, over=over)


def benchmarks_like(pattern: str, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return the metrics whose benchmark has a word that begins like ``pattern`` (``maths_asdiv`` is maths)."""
    word = re.compile(rf"(?:^|[^a-z])(?:{pattern})")
    return tuple(metric for metric in metrics if word.search(metric.benchmark.lower()))


def _share(pairs: list[tuple[Gain, Gain]], otherwise: str) -> Found:
    """Return how often the first is better; two scores that are equal are no evidence against either."""
    if len(pairs) < FEWEST_PAIRS:
        return otherwise
    signs = np.sign([first.gain - second.gain for first, second in pairs])
    wins = (signs + 1) / 2
    over, units = choose_units([first.base_model for first, _ in pairs], [first.run for first, _ in pairs])
    return mean_estimate(wins, units, over=over, clip=(0.0, 1.0), null=0.5)
