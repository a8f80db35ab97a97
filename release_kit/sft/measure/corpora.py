"""The datasets of a study as texts to measure: which examples, in which order, and what a mixture is made of.

Of a large file a fixed sample is measured: the examples whose content has the smallest digests, so that the sample of
1,000 is part of that of 2,000 and does not follow the order of the file. Reading files is ``data/examples.py``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.study import Study
from release_kit.sft.data.columns import Row
from release_kit.sft.data.examples import Dataset, read_dataset
from release_kit.sft.spec.runs import RunPlan, data_path, plan_runs
from release_kit.sft.spec.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data file."""

    name: str
    dataset: Dataset
    sample: tuple[int, ...]
    """Indexes of the examples that are measured, by the digest of their content."""

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The examples of the sample, in its order."""
        return tuple(self.dataset.rows[index] for index in self.sample)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What stands in each example of the sample."""
        return tuple(map(text_of, self.rows))


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One level of the dataset factor: a file, or a mixture of files."""

    name: str
    picks: tuple[tuple[Part, int], ...]
    """Each part with how many of its sample are taken, from the first."""

    @property
    def sha256(self) -> str:
        """Digest of the file; of a mixture, that of the canonical JSON {part: sha256 of its file}."""
        if len(self.picks) == 1:
            return self.picks[0][0].dataset.sha256
        return canonical.digest({part.name: part.dataset.sha256 for part, _ in self.picks})

    @property
    def n_examples(self) -> int:
        """Examples in all its files."""
        return sum(len(part.dataset.rows) for part, _ in self.picks)

    @property
    def texts(self) -> list[str]:
        """The texts of all picks, part by part."""
        return [text for part, n in self.picks for text in part.texts[:n]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a study wants measured."""

    corpora: tuple[Corpus, ...]
    settings: Mapping[tuple[str, str], TrainingSettings]
    """(part, base model) → how the examples of the part are shown to that base."""
    problems: tuple[ReleaseKitError, ...]

    @property
    def bases(self) -> tuple[str, ...]:
        """Base models that are trained, sorted."""
        return tuple(sorted({base for _, base in self.settings}))

    def settings_of(self, part: str, base: str) -> TrainingSettings:
        """Return how a part is shown to a base; one that no run shows it to sees it as the first base that does."""
        others = (self.settings[part, other] for other in self.bases if (part, other) in self.settings)
        return self.settings.get((part, base)) or next(others)


def read_corpora(study: Study, max_examples: int) -> Measured:
    """Read every dataset that some run is trained on.

    Args:
        study: the study.
        max_examples: examples of each file that are measured.

    Returns:
        The datasets, sorted by name; one that cannot be read is a problem, and so are its mixtures.
    """
    plans = plan_runs(study)
    problems: list[ReleaseKitError] = []
    parts: dict[str, Part] = {}
    for name in sorted({part for plan in plans for part in plan.components}):
        try:
            parts[name] = _part(study, name, max_examples)
        except ReleaseKitError as problem:
            problems.append(problem)
    by_name: dict[str, list[RunPlan]] = {}
    for plan in plans:
        by_name.setdefault(plan.dataset, []).append(plan)
    corpora = [
        _corpus(name, [parts[part] for part in same[0].components], equal=any(plan.data_size for plan in same))
        for name, same in sorted(by_name.items())
        if all(part in parts for part in same[0].components)
    ]
    return Measured(corpora=tuple(corpora), settings=_settings(plans), problems=tuple(problems))


def text_of(row: Row) -> str:
    """Return all that an example says: prompt and completion, or its turns, a line each."""
    if "messages" in row:
        return "\n".join(turn["content"] for turn in row["messages"])
    return f"{row['prompt']}\n{row['completion']}"


def _part(study: Study, name: str, max_examples: int) -> Part:
    factor = study.factor_with_role("dataset")
    columns = factor.properties.get(name, {}).get("columns") if factor else None
    dataset = read_dataset(study.folder, data_path(study, name), columns)
    digests = [hashlib.sha256(canonical.canonical_bytes(row)).digest() for row in dataset.rows]
    order = sorted(range(len(digests)), key=lambda index: (digests[index], index))
    return Part(name=name, dataset=dataset, sample=tuple(order[:max_examples]))


def _corpus(name: str, parts: Sequence[Part], *, equal: bool) -> Corpus:
    """Take equally many of each part where runs do (``data_size``), else of each in proportion to its file."""
    if equal:
        counts = [min(len(part.sample) for part in parts)] * len(parts) if len(parts) > 1 else [len(parts[0].sample)]
    else:
        fraction = min(len(part.sample) / len(part.dataset.rows) for part in parts)
        counts = [max(1, round(fraction * len(part.dataset.rows))) for part in parts]
    return Corpus(name=name, picks=tuple(zip(parts, counts, strict=True)))


def _settings(plans: Sequence[RunPlan]) -> dict[tuple[str, str], TrainingSettings]:
    """Return the settings of the first run of each (part, base), runs on the part alone before its mixtures."""
    found: dict[tuple[str, str], TrainingSettings] = {}
    for plan in sorted(plans, key=lambda plan: len(plan.components)):
        for part in plan.components:
            found.setdefault((part, plan.base_model), plan.settings)
    return found
