"""What a quality report says, as records: findings, each track's figures, agreements, drifts, and what was not done.

A track is one annotation of one stimulus. Times are seconds of the stimulus unless a name says otherwise. How figures
are found is ``quality_*.py``; the codes of findings are explained in ``docs/bids-quality.md``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from release_kit.bids.annotations.agreement import Agreement
from release_kit.bids.annotations.spans import Span

SCHEMA_VERSION = 1

CODES: Mapping[str, tuple[str, str]] = {
    "outside-stimulus": ("error", "An interval begins before the stimulus or ends after it."),
    "longer-than-run": ("error", "A file on the clock of a run goes on after the run's span."),
    "unsorted": ("warning", "A file's intervals are not in the order of their onsets."),
    "overlapping": ("warning", "Intervals of one annotation (and speaker) overlap."),
    "duplicate": ("warning", "The same interval with the same text stands more than once."),
    "zero-duration": ("warning", "An interval lasts no time."),
    "missing-stimulus": ("warning", "An annotation has nothing for a stimulus that others of its level have."),
    "long-gap": ("warning", "A track that is nearly complete has a long hole."),
    "empty-spell": ("warning", "Intervals were marked but have no text."),
    "placeholder": ("warning", "A text only stands for no text."),
    "ends-early": ("warning", "A track that is nearly complete stops well before its stimulus or run."),
    "stretched": ("warning", "Times run too fast or too slow: the difference grows with time."),
    "shifted": ("warning", "One annotator's times are early or late against another's."),
    "foreign-script": ("warning", "Texts are in another script than their language is written in."),
    "untranslated": ("warning", "A translation has the same text as its original."),
    "translation-timing": ("warning", "A translation has other intervals than its original."),
    "same-across-annotators": ("warning", "Two annotators wrote the same sentences."),
    "same-across-levels": ("warning", "Two levels of one language hold the same text."),
    "no-agreement": ("warning", "Two annotators agree no more than at shuffled times."),
}
"""Code → severity and what it means. An error means that times cannot be right."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a person should look at."""

    code: str
    what: str
    where: str
    """``storyA01, stim-film`` or what else it concerns, with a file where one is known."""
    n: int = 1
    """How many intervals, bins or pairs."""

    @property
    def severity(self) -> str:
        """``error`` or ``warning``, by the code."""
        return CODES[self.code][0]


@dataclass(frozen=True, kw_only=True)
class Track:
    """The figures of one annotation of one stimulus."""

    annotation: str
    stimulus: str
    level: str
    annotator: str
    language: str
    n_intervals: int
    n_texts: int
    """Intervals with a text."""
    n_distinct: int
    """Different texts."""
    n_repeated: int
    """Intervals with the same text as the one before them."""
    covered_s: float
    """Seconds of the stimulus with a text."""
    coverage: float
    """``covered_s`` / length of the stimulus."""
    overlap_s: float
    """Seconds that more than one interval covers."""
    empty_s: float
    """Seconds of intervals without a text."""
    n_gaps: int
    longest_gap: Span | None
    median_duration_s: float | None
    first_s: float
    last_s: float
    """Begin of the first interval, and end of the last."""
    spans: tuple[Span, ...] = ()
    """Where it has a text, for the picture: joined, in order."""
    empty_spans: tuple[Span, ...] = ()
    onsets: tuple[float, ...] = ()
    """Of its intervals with a text."""


@dataclass(frozen=True, kw_only=True)
class EndDrift:
    """Where files on the clock of a run end, against the length of what the run shows.

    ``ratio`` is the slope of a line through the origin, sum(end x length) / sum(length^2): 1 when times are right,
    1.042 when 24 frames a second were taken for 25.
    """

    annotation: str
    parts: tuple[tuple[str, float, float], ...]
    """(run, seconds that it shows, seconds from their begin to the annotation's end), for each part."""
    ratio: float
    residual_s: float
    """Root mean square distance of the ends from the line."""


@dataclass(frozen=True, kw_only=True)
class LagDrift:
    """How late the right annotation is against the left, by where their tokens agree best, for parts of one stimulus.

    ``stretch`` is the slope of the lag over time (least squares): 0 when both run alike.
    """

    stimulus: str
    left: str
    right: str
    parts: tuple[tuple[float, int], ...]
    """(middle of the part, lag in seconds); positive: the right is late."""
    lag_s: float
    """Median over parts."""
    stretch: float | None


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """Krippendorff's alpha of all annotators of a level whose texts are labels, over bins of one stimulus."""

    stimulus: str
    level: str
    language: str
    annotations: tuple[str, ...]
    alpha: float
    n_bins: int


@dataclass(frozen=True, kw_only=True)
class StimulusFacts:
    """A stimulus and which run shows which span of it (run name, begin, end, seconds repeated)."""

    label: str
    title: str
    duration_s: float | None
    runs: tuple[tuple[str, float, float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The whole report."""

    name: str
    stimuli: tuple[StimulusFacts, ...]
    tracks: tuple[Track, ...]
    agreements: tuple[Agreement, ...]
    labels: tuple[LabelAgreement, ...]
    end_drifts: tuple[EndDrift, ...]
    lag_drifts: tuple[LagDrift, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """What was not looked at, and why."""

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; times and scores to six decimals, spans left to the picture."""
        value = asdict(self)
        for track in value["tracks"]:
            del track["spans"], track["empty_spans"], track["onsets"]
        for finding, record in zip(value["findings"], self.findings, strict=True):
            finding["severity"] = record.severity
        for agreement, record in zip(value["agreements"], self.agreements, strict=True):
            agreement["above_chance"] = record.above_chance
            del agreement["profile"]
        return {"schema_version": SCHEMA_VERSION, "ok": self.ok, **_plain(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
