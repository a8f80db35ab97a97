"""The claims of "Massive Supervised Fine-tuning Experiments" (arXiv 2506.14681), each with its estimator and verdict.

A claim is a region that a number must lie in. It holds when the whole interval lies in the region, does not hold when
the whole interval lies outside, and cannot be told otherwise, or when what it needs was not measured. No coefficient
is quoted as the paper's: regions are stated here. ``origin`` is ``paper`` for what its text says, ``table`` for what
others computed from its released table. Estimators are in ``evidence.py``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from release_kit.sft.analysis.estimate import Estimate
from release_kit.sft.analysis.evidence import MOST, Evidence
from release_kit.sft.analysis.records import FAILS, HOLDS, UNTOLD, Verdict
from release_kit.sft.analysis.vectors import SCORES

PAPER, TABLE = "paper", "table"
MIDDLE = (0.35, 0.8)
"""Depths that count as "in the middle, about 0.6": neither the first third nor the last fifth."""
EPOCHS = (
    "gain at the last epoch less that of the first third of epochs, full fine-tuning on the union (of several "
    "benchmarks, in units of each one's spread)"
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence that can be wrong, and the region its number must lie in."""

    name: str
    statement: str
    measure: str
    estimator: Callable[[Evidence], "Estimate | str"]
    """Returns the number, or why there is none."""
    above: float = -math.inf
    below: float = math.inf
    origin: str = PAPER
    on_map: bool = False
    """It speaks of the map, so of scores where no likelihoods were kept."""

    @property
    def criterion(self) -> str:
        """Return when the claim holds, in words."""
        if math.isinf(self.below):
            return f"the interval lies above {self.above:g}"
        if math.isinf(self.above):
            return f"the interval lies below {self.below:g}"
        return f"the interval lies between {self.above:g} and {self.below:g}"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="perplexity-predicts-gain",
        statement="Data of lower perplexity under the base brings a larger gain.",
        measure="partial correlation of log perplexity with gain, given base, metric and method",
        estimator=Evidence.perplexity,
        below=0.0,
    ),
    Claim(
        name="perplexity-beats-length",
        statement="Perplexity of the data goes with gain more closely than its length does.",
        measure="|partial r| of log perplexity less |partial r| of log length",
        estimator=Evidence.perplexity_less_length,
        above=0.0,
    ),
    Claim(
        name="perplexity-beats-similarity",
        statement="Perplexity of the data goes with gain more closely than its similarity to the benchmark does.",
        measure="|partial r| of log perplexity less |partial r| of embedding similarity",
        estimator=Evidence.perplexity_less_similarity,
        above=0.0,
    ),
    Claim(
        name="change-grows-with-depth",
        statement="Weights move more the higher the layer.",
        measure="slope of log relative change on depth (0 first layer, 1 last), full fine-tuning",
        estimator=Evidence.change_rise,
        above=0.0,
    ),
    Claim(
        name="gain-follows-middle-layers",
        statement="The change of middle layers, about 0.6 of the depth, goes with gain most closely.",
        measure="depth at which the correlation of change with gain is largest, where above 0, full fine-tuning",
        estimator=Evidence.peak_of_gain,
        above=MIDDLE[0],
        below=MIDDLE[1],
    ),
    Claim(
        name="bases-agree-in-middle-layers",
        statement="Different bases move most alike in their middle layers.",
        measure="depth at which the correlation of changes between bases is largest, full fine-tuning",
        estimator=Evidence.peak_of_agreement,
        above=MIDDLE[0],
        below=MIDDLE[1],
    ),
    Claim(
        name="dimension-departs-in-middle-layers",
        statement="The intrinsic dimension of sentence embeddings departs from the base's at 0.6 of the depth.",
        measure="depth at which intrinsic dimensions of base and fine-tuned model part",
        estimator=lambda evidence: "intrinsic dimensions of activations are not measured by this system",
        above=MIDDLE[0],
        below=MIDDLE[1],
    ),
    Claim(
        name="five-components",
        statement="Five components explain more than 90 % of what datasets do to scores.",
        measure="share explained by five components of datasets over base x metric, full fine-tuning; "
        "told where shuffled datasets give less than that",
        estimator=Evidence.five_components,
        above=MOST,
    ),
    Claim(
        name="bases-cluster",
        statement="On the map, models lie beside models of their base rather than of their data.",
        measure="neighbours that share base or data, not both: share with the same base less share with the same data",
        estimator=Evidence.base_less_dataset,
        above=0.0,
        on_map=True,
    ),
    Claim(
        name="epochs-converge",
        statement="Models move less from epoch to epoch the longer they are trained.",
        measure="distance between the last two epochs less that between the first two, same run",
        estimator=Evidence.late_steps,
        below=0.0,
        on_map=True,
    ),
    Claim(
        name="more-data-moves-further",
        statement="Models trained on more data lie further from their base.",
        measure="distance from the base with the most data less that with the least, same dataset",
        estimator=Evidence.more_data,
        above=0.0,
        on_map=True,
    ),
    Claim(
        name="lora-overlaps-full",
        statement="On the map, LoRA and full fine-tuning on the same data lie together.",
        measure="distance of full to LoRA on the same data less distance of full to full on other data",
        estimator=Evidence.lora_overlap,
        below=0.0,
        on_map=True,
    ),
    Claim(
        name="knowledge-transfers-to-japanese",
        statement="Gains in English knowledge (MMLU) come with gains in Japanese knowledge.",
        measure="Pearson correlation of the two gains over models",
        estimator=Evidence.english_japanese,
        above=0.0,
    ),
    Claim(
        name="knowledge-transfers-to-chinese",
        statement="Gains in English knowledge (MMLU) come with gains in Chinese knowledge.",
        measure="Pearson correlation of the two gains over models",
        estimator=Evidence.english_chinese,
        above=0.0,
    ),
    Claim(
        name="lora-keeps-knowledge",
        statement="LoRA scores higher than full fine-tuning on exams (MMLU and the like).",
        measure="share of pairs, same base, data and seed, in which LoRA is better (a tie is half), exams",
        estimator=Evidence.lora_exams,
        above=0.5,
        origin=TABLE,
    ),
    Claim(
        name="full-learns-maths",
        statement="Full fine-tuning scores higher than LoRA on maths.",
        measure="share of pairs in which full fine-tuning is better (a tie is half), maths",
        estimator=Evidence.full_maths,
        above=0.5,
        origin=TABLE,
    ),
    Claim(
        name="more-data-helps-knowledge",
        statement="More data of the same kind helps exams.",
        measure="share of pairs in which the larger data set is better (a tie is half), exams",
        estimator=Evidence.more_data_exams,
        above=0.5,
        origin=TABLE,
    ),
    Claim(
        name="more-data-hurts-maths-and-code",
        statement="More data of the same kind lowers scores in maths and code.",
        measure="share of pairs in which the larger data set is better (a tie is half), maths and code",
        estimator=Evidence.more_data_maths,
        below=0.5,
        origin=TABLE,
    ),
    Claim(
        name="epochs-help-chat",
        statement="On the union of the datasets, chat scores rise with further epochs.",
        measure=f"{EPOCHS}, chat benchmarks",
        estimator=Evidence.epochs_chat,
        above=0.0,
        origin=TABLE,
    ),
    Claim(
        name="epochs-hurt-maths",
        statement="On the union of the datasets, maths scores fall with further epochs.",
        measure=f"{EPOCHS}, maths",
        estimator=Evidence.epochs_maths,
        below=0.0,
        origin=TABLE,
    ),
    Claim(
        name="epochs-hurt-code",
        statement="On the union of the datasets, code scores fall with further epochs.",
        measure=f"{EPOCHS}, code",
        estimator=Evidence.epochs_code,
        below=0.0,
        origin=TABLE,
    ),
)


def judge_all(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return the verdict on every claim."""
    by_scores = evidence.map is not None and evidence.map.vectors == SCORES
    return tuple(judge(claim, claim.estimator(evidence), by_scores=by_scores) for claim in CLAIMS)


def judge(claim: Claim, found: "Estimate | str", *, by_scores: bool = False) -> Verdict:
    """Return the verdict on a claim from its estimate, or from the reason why there is none."""
    verdict, reason = (UNTOLD, found) if isinstance(found, str) else decide(found, claim.above, claim.below)
    if by_scores and claim.on_map and not isinstance(found, str):
        reason += "; models are placed by their scores, as no likelihoods were kept"
    return Verdict(
        claim=claim.name,
        statement=claim.statement,
        origin=claim.origin,
        measure=claim.measure,
        criterion=claim.criterion,
        verdict=verdict,
        estimate=None if isinstance(found, str) else found,
        reason=reason,
    )


def decide(estimate: Estimate, above: float, below: float) -> tuple[str, str]:
    """Return ``(verdict, reason)``: where the interval lies against the open region (above, below)."""
    units = f"{estimate.n_units} units ({estimate.over})"
    if estimate.low is None or estimate.high is None:
        return UNTOLD, f"{estimate.value:.3g} without an interval: {units} are too few, or do not differ"
    said = f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}] over {units}, {estimate.n} rows"
    scope = "" if "base_model" in estimate.over or estimate.over == "document" else "; it speaks of these bases only"
    if estimate.low > above and estimate.high < below:
        return HOLDS, said + scope
    if estimate.high <= above or estimate.low >= below:
        return FAILS, said + scope
    ends = [end for end in (above, below) if math.isfinite(end) and estimate.low <= end <= estimate.high]
    return UNTOLD, f"{said}: the interval holds {' and '.join(f'{end:g}' for end in ends)}{scope}"
