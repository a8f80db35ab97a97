"""The quality report of a study's annotations: which comparisons are made, in which order, and what is left out.

Works on a recipe (then files are read in their own order and on their own clocks too) and on a dataset. Figures of one
track are ``quality_tracks.py``, of two ``quality_pairs.py`` and ``agreement.py``, of times ``quality_drift.py``; the
page is ``report_html.py``. Reads only; changes nothing.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from release_kit.bids.annotations.agreement import (
    Agreement,
    Encode,
    embedding_agreement,
    is_label_like,
    krippendorff_alpha,
    label_units,
    token_agreement,
)
from release_kit.bids.annotations.bins import Binned, binned
from release_kit.bids.annotations.encoder import RememberingEncoder, encoder_folder, knows
from release_kit.bids.annotations.quality_context import Context, dataset_context, recipe_context
from release_kit.bids.annotations.quality_drift import (
    early_findings,
    end_drifts,
    end_findings,
    lag_drift,
    lag_findings,
)
from release_kit.bids.annotations.quality_pairs import pair_findings, translation_findings
from release_kit.bids.annotations.quality_records import (
    CODES,
    Finding,
    LabelAgreement,
    LagDrift,
    Quality,
    Track,
)
from release_kit.bids.annotations.quality_tracks import measure_track, order_findings, track_findings
from release_kit.bids.annotations.stimuli import Annotation
from release_kit.bids.recipe.model import Recipe
from release_kit.core.sentence_encoder import PACKAGE
from release_kit.core.wording import counted

Say = Callable[[str], None]
LONGEST_S = 7 * 86_400.0
"""No stimulus lasts longer; what is above is milliseconds that were taken for seconds."""
Levels = list[tuple[str, str]]
"""Level and language."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two annotations of one stimulus."""

    stimulus: str
    first: Annotation
    second: Annotation

    @property
    def is_translation(self) -> bool:
        return self.first.translated_from == self.second.id or self.second.translated_from == self.first.id

    @property
    def can_agree(self) -> bool:
        """Two annotators of one level in one language, neither out of the other."""
        same = (self.first.level, self.first.language) == (self.second.level, self.second.language)
        return same and not self.is_translation


@dataclass(kw_only=True)
class _Comparison:
    """What comparing annotations of one stimulus after the other has given so far."""

    agreements: list[Agreement] = field(default_factory=list)
    labels: list[LabelAgreement] = field(default_factory=list)
    lags: list[LagDrift] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    """Stimuli of a length that can only be a mistake: a bin a second of it would fill the memory."""


def quality_report(study: Recipe | Path, table: pa.Table, *, embed: bool = True, say: Say | None = None) -> Quality:
    """Return everything that is odd about the annotations of a study; the same input gives the same report.

    Args:
        study: the recipe, or the folder of a dataset.
        table: its annotations, with the schema of ``table.py``.
        embed: compare meanings with the sentence encoder, where it is installed; what was left out is in ``notes``.
        say: is told what is being done.
    """
    say = say or (lambda text: None)
    context = dataset_context(study, table) if isinstance(study, Path) else recipe_context(study, table)
    say("looking at each annotation")
    tracks, findings = _tracks(context)
    findings += _missing(context, tracks)
    drifts = end_drifts(context.files)
    findings += [finding for drift in drifts for finding in end_findings(drift)]
    encode, notes = _encoder(context, embed)
    compared = _Comparison()
    label_levels = _label_levels(context)
    for label in context.stimuli:
        say(f"comparing annotators of {label}")
        _compare(context, label, label_levels, encode, compared)
    return Quality(
        name=context.name,
        stimuli=tuple(context.stimuli.values()),
        tracks=tuple(tracks),
        agreements=tuple(compared.agreements),
        labels=tuple(compared.labels),
        end_drifts=tuple(drifts),
        lag_drifts=tuple(compared.lags),
        findings=tuple(sorted(findings + compared.findings, key=_rank)),
        notes=tuple(notes + _not_judged(context, compared.not_compared)),
    )


def _rank(finding: Finding) -> tuple[bool, int, str, str]:
    return finding.severity != "error", list(CODES).index(finding.code), finding.where, finding.what


def _tracks(context: Context) -> tuple[list[Track], list[Finding]]:
    tracks, findings = [], []
    for label, stimulus in context.stimuli.items():
        for annotation in context.annotations:
            if rows := annotation.of(label):
                track = measure_track(annotation, rows, stimulus)
                tracks.append(track)
                findings += track_findings(track, rows, stimulus)
    by_place = {(track.annotation, track.stimulus): track for track in tracks}
    for file in context.files:
        findings += order_findings(file)
        if (file.annotation, file.stimulus) in by_place:
            findings += early_findings(file, by_place[file.annotation, file.stimulus])
    return tracks, findings


def _missing(context: Context, tracks: list[Track]) -> Iterator[Finding]:
    there = {(track.annotation, track.stimulus) for track in tracks}
    for label in context.stimuli:
        levels = {track.level for track in tracks if track.stimulus == label}
        for annotation in context.annotations:
            absent = (annotation.id, label) not in there | context.excused
            if absent and annotation.level in levels:
                what = f"has no {annotation.level}, which others have of it"
                yield Finding(code="missing-stimulus", what=what, where=f"{annotation.id}, stim-{label}")


def _compare(context: Context, label: str, label_levels: Levels, encode: Encode | None, found: _Comparison) -> None:
    """Compare all annotations of one stimulus; only its bins are in memory."""
    present = [annotation for annotation in context.annotations if annotation.of(label)]
    ends = [row.onset_s + row.duration_s for annotation in present for row in annotation.of(label)]
    length = context.stimuli[label].duration_s or max(ends, default=0.0)
    if length > LONGEST_S:
        found.not_compared.append(label)
        return
    bins = {annotation.id: binned(annotation.of(label), length) for annotation in present}
    sentences = {name: own.sentences() for name, own in bins.items()}
    for first, second in itertools.combinations(present, 2):
        pair = _Pair(stimulus=label, first=first, second=second)
        if pair.is_translation:
            original, translation = (second, first) if first.translated_from == second.id else (first, second)
            found.findings += translation_findings(label, original, translation)
        elif first.language == second.language:
            found.findings += pair_findings(label, first, second, sentences[first.id], sentences[second.id])
        if pair.can_agree:
            _agree(pair, bins[first.id], bins[second.id], encode, found)
    found.labels += _labels(label, present, bins, label_levels)


def _agree(pair: _Pair, left: Binned, right: Binned, encode: Encode | None, found: _Comparison) -> None:
    first, second = pair.first, pair.second
    meant = embedding_agreement(left, right, encode) if encode is not None and knows(first.language) else {}
    agreement = Agreement(
        stimulus=pair.stimulus,
        level=first.level,
        language=first.language,
        left=first.id,
        right=second.id,
        **token_agreement(left, right),
        **meant,
    )
    found.agreements.append(agreement)
    found.findings += _agreement_findings(agreement)
    lag = lag_drift(pair.stimulus, (first.id, second.id), left, right)
    if lag is not None:
        found.lags.append(lag)
        found.findings += lag_findings(lag)


def _agreement_findings(agreement: Agreement) -> Iterator[Finding]:
    if agreement.above_chance is False and agreement.n_bins >= 30 and agreement.f1_null is not None:
        null = agreement.f1_null
        what = f"token F1 {agreement.f1:.3f}; at shuffled times {null.mean:.3f} (95th percentile {null.p95:.3f})"
        where = f"{agreement.left} and {agreement.right}, stim-{agreement.stimulus}"
        yield Finding(code="no-agreement", what=what, where=where, n=agreement.n_bins)


def _label_levels(context: Context) -> Levels:
    """(level, language) whose texts come from a short list, over all stimuli."""
    texts: dict[tuple[str, str], list[str]] = {}
    for annotation in context.annotations:
        own = texts.setdefault((annotation.level, annotation.language), [])
        own += [row.text for row in annotation.rows if row.text is not None]
    return sorted(key for key, own in texts.items() if is_label_like(own))


def _labels(
    label: str, present: Sequence[Annotation], bins: Mapping[str, Binned], levels: Levels
) -> Iterator[LabelAgreement]:
    for level, language in levels:
        own = [a for a in present if (a.level, a.language) == (level, language)]
        units = label_units([bins[annotation.id] for annotation in own]) if len(own) > 1 else []
        alpha = krippendorff_alpha(units)
        if alpha is not None:
            yield LabelAgreement(
                stimulus=label,
                level=level,
                language=language,
                annotations=tuple(annotation.id for annotation in own),
                alpha=alpha,
                n_bins=sum(len(unit) > 1 for unit in units),
            )


def _encoder(context: Context, embed: bool) -> tuple[Encode | None, list[str]]:
    if not embed:
        return None, ["Meanings were not compared: that was not asked for."]
    folder = encoder_folder()
    if folder is None:
        step = f"pip install {PACKAGE} transformers torch"
        return None, [f"Meanings were not compared: the sentence encoder is not installed ({step})."]
    languages = sorted({annotation.language for annotation in context.annotations})
    strange = [language for language in languages if not knows(language)]
    notes = [f"Meanings were compared in English only; left out: {', '.join(strange)}."] if strange else []
    return (RememberingEncoder(folder).encode if len(strange) < len(languages) else None), notes


def _not_judged(context: Context, not_compared: Sequence[str]) -> list[str]:
    notes = []
    if not_compared:
        notes.append(f"Annotators were not compared where times go beyond a week: {', '.join(not_compared)}.")
    if context.absent:
        n = counted(len(context.absent), "annotation file")
        notes.append(f"{n} without content on this machine, so not looked at: {', '.join(context.absent)}.")
    unknown = [label for label, stimulus in context.stimuli.items() if stimulus.duration_s is None]
    if unknown:
        notes.append(f"Length not known, so ends were not judged: {', '.join(unknown)}.")
    if not any(file.run is not None for file in context.files):
        notes.append("No annotation file is on the clock of a run, so ends were held against stimuli only.")
    return notes
