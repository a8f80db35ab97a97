"""Whether the analysis of the demo found what was planted, and nothing else: questions, answers, numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from release_kit.core.wording import counted
from release_kit.encoding.demo import OBJECT_LAYER, PLANTED, STORY_LAYER
from release_kit.encoding.pipeline.finished import Finished, read_finished
from release_kit.encoding.pipeline.regions import read_regions
from release_kit.encoding.statistics.multiple import called

FEATURES = {"speech": "speech-words", "object": "object-minilm", "story": "story-smollm2"}
"""Level → the feature that its responses follow."""
MODEL = {"speech": "speech-smollm2", "object": "object-minilm", "story": "story-smollm2"}
"""Level → the language model that is held against counts of words."""
MOST_ELSEWHERE, MOST_FALSE = 0.03, 0.1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A question that the demo knows the answer to."""

    question: str
    found: str
    ok: bool

    def line(self) -> str:
        """Return the verdict in a line."""
        return f"{'yes' if self.ok else 'NO'}: {self.question} ({self.found})"


def demo_verdicts(folder: Path) -> list[Verdict]:
    """Return what a finished analysis of the demo found of what was planted.

    Raises:
        AnalysisError: it was not finished.
    """
    finished = read_finished(folder)
    return [*_unique(finished), *_comparisons(finished), *_layers(finished), _false(finished, folder)]


def _unique(finished: Finished) -> Iterator[Verdict]:
    rows = [row for row in finished.rows("partition") if row["metric"] == "r2"]
    for region, (_, shares) in PLANTED.items():
        value = {
            (row["subject"], row["part"]): (row["low"], row["value"])
            for row in rows
            if row["region"] == region and row["part"].startswith("unique:")
        }
        planted = [f"unique:{FEATURES[level]}" for level in shares]
        own = [value[subject, part][0] for subject in finished.subjects for part in planted]
        others = [mean for (_, part), (_, mean) in value.items() if part not in planted]
        yield Verdict(
            question=f"{region}: {' and '.join(shares)} alone explain{'s' if len(shares) == 1 else ''} some of it",
            found=f"unique R² above {min(own):.3f} by its intervals; of others {min(others):.3f} to {max(others):.3f}",
            ok=min(own) > 0 and max(others) < MOST_ELSEWHERE,
        )


def _comparisons(finished: Finished) -> Iterator[Verdict]:
    rows = [row for row in finished.rows("statistics") if row["test"] == "blocks"]
    for level, region in (("speech", "auditory"), ("object", "occipital"), ("story", "precuneus")):
        found = [(row["low"], row["difference"], row["high"]) for row in rows
                 if (row["name"], row["region"]) == (level, region)]  # fmt: skip
        model_wins = FEATURES[level] == MODEL[level]
        n_sure = sum(low > 0 if model_wins else high < 0 for low, _, high in found)
        winner, loser = (MODEL[level], "counts of words") if model_wins else ("counts of words", MODEL[level])
        yield Verdict(
            question=f"{level}: {winner} predict{'s' if model_wins else ''} the {region} region better than {loser}",
            found=f"r differs by {np.mean([each for _, each, _ in found]):+.3f}, the interval lies there in "
            f"{n_sure} of {counted(len(finished.subjects), 'subject')}",
            ok=n_sure == len(finished.subjects),
        )


def _layers(finished: Finished) -> Iterator[Verdict]:
    for feature, planted in (("object-minilm", OBJECT_LAYER), ("story-smollm2", STORY_LAYER)):
        layers = [fit.layer for fit in finished.chosen if fit.feature == feature]
        yield Verdict(
            question=f"cross-validation chooses layer {planted} of {feature}, which responses follow",
            found=f"chosen: {', '.join(map(str, layers))}",
            ok=set(layers) == {planted},
        )


def _false(finished: Finished, folder: Path) -> Verdict:
    n_called = wrong = 0
    for fit in finished.chosen:
        regions = read_regions(folder / "regions.tsv", finished.mask(fit.subject), fit.subject)
        follows = np.any([regions[name] for name, (_, shares) in PLANTED.items() if fit.level in shares], axis=0)
        significant = called(fit.values["q"], finished.level)
        n_called += int(significant.sum())
        wrong += int((significant & ~follows).sum())
    share = wrong / max(n_called, 1)
    return Verdict(
        question="of all vertices that are called, few lie where nothing was planted",
        found=f"{wrong:,} of {n_called:,}, {share:.1%}; {finished.level:.0%} is expected at most on average",
        ok=n_called > 0 and share <= MOST_FALSE,
    )
