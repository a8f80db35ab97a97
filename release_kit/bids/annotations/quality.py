"""The quality report of a study's annotations: which comparisons are made, in which order, and what is left out.

Works on a recipe (then files are read in their own order and on their own clocks too) and on a dataset. Figures of one
track are ``quality_tracks.py``, of two ``quality_pairs.py`` and ``agreement.py``, of times ``quality_drift.py``; the
page is ``report_html.py``. Reads only; changes nothing.
"""

import itertools
from collections.abc import Callable, Iterator
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
from release_kit.bids.annotations.encoder import PACKAGE, SentenceEncoder, encoder_folder, knows
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

Say = Callable[[str], None]
Pair = tuple[str, Annotation, Annotation, Binned, Binned]
"""Stimulus and two annotations of it, with their bins."""


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
    say("comparing annotators")
    encode, notes = _encoder(context, embed)
    bins = _bins(context)
    pairs = list(_pairs(context, bins))
    agreements = [_agreement(pair, encode) for pair in pairs if _compared(pair)]
    lags = [lag for pair in pairs if _compared(pair) and (lag := _lag(pair)) is not None]
    findings += [finding for lag in lags for finding in lag_findings(lag)]
    findings += [finding for pair in pairs for finding in _pair_findings(pair)]
    findings += [finding for agreement in agreements for finding in _agreement_findings(agreement)]
    return Quality(
        name=context.name,
        stimuli=tuple(context.stimuli.values()),
        tracks=tuple(tracks),
        agreements=tuple(agreements),
        labels=tuple(_labels(context, bins)),
        end_drifts=tuple(drifts),
        lag_drifts=tuple(lags),
        findings=tuple(sorted(findings, key=_rank)),
        notes=tuple(notes + _not_judged(context)),
    )


def _rank(finding: Finding) -> tuple[bool, int, str, str]:
    return finding.severity != "error", list(CODES).index(finding.code), finding.where, finding.what


def _tracks(context: Context) -> tuple[list[Track], list[Finding]]:
    tracks, findings = [], []
    for label, stimulus in context.stimuli.items():
        for annotation in context.annotations:
            rows = [row for row in annotation.rows if row.stim_id == label]
            if rows:
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


def _bins(context: Context) -> dict[tuple[str, str], Binned]:
    """(stimulus, annotation) → its bins."""
    found = {}
    for label, stimulus in context.stimuli.items():
        own = {a.id: [row for row in a.rows if row.stim_id == label] for a in context.annotations}
        ends = [row.onset_s + row.duration_s for rows in own.values() for row in rows]
        length = stimulus.duration_s or max(ends, default=0.0)
        found |= {(label, name): binned(rows, length) for name, rows in own.items() if rows}
    return found


def _pairs(context: Context, bins: dict[tuple[str, str], Binned]) -> Iterator[Pair]:
    for label in context.stimuli:
        for first, second in itertools.combinations(context.annotations, 2):
            if (label, first.id) in bins and (label, second.id) in bins:
                yield label, first, second, bins[label, first.id], bins[label, second.id]


def _compared(pair: Pair) -> bool:
    """Whether two annotations can agree: two annotators of one level in one language, neither out of the other."""
    _, first, second, _, _ = pair
    return (first.level, first.language) == (second.level, second.language) and not _is_translation(first, second)


def _is_translation(first: Annotation, second: Annotation) -> bool:
    return first.translated_from == second.id or second.translated_from == first.id


def _pair_findings(pair: Pair) -> Iterator[Finding]:
    label, first, second, left, right = pair
    if first.translated_from == second.id:
        yield from translation_findings(label, second, first)
    elif second.translated_from == first.id:
        yield from translation_findings(label, first, second)
    elif first.language == second.language:
        yield from pair_findings(label, first, second, left, right)


def _agreement(pair: Pair, encode: Encode | None) -> Agreement:
    label, first, second, left, right = pair
    meant = embedding_agreement(left, right, encode) if encode is not None and knows(first.language) else {}
    return Agreement(
        stimulus=label,
        level=first.level,
        language=first.language,
        left=first.id,
        right=second.id,
        **token_agreement(left, right),
        **meant,
    )


def _agreement_findings(agreement: Agreement) -> Iterator[Finding]:
    if agreement.above_chance is False and agreement.n_bins >= 30 and agreement.f1_null is not None:
        null = agreement.f1_null
        what = f"token F1 {agreement.f1:.3f}; at shuffled times {null.mean:.3f} (95th percentile {null.p95:.3f})"
        where = f"{agreement.left} and {agreement.right}, stim-{agreement.stimulus}"
        yield Finding(code="no-agreement", what=what, where=where, n=agreement.n_bins)


def _lag(pair: Pair) -> LagDrift | None:
    label, first, second, left, right = pair
    return lag_drift(label, (first.id, second.id), left, right)


def _labels(context: Context, bins: dict[tuple[str, str], Binned]) -> Iterator[LabelAgreement]:
    groups: dict[tuple[str, str], list[Annotation]] = {}
    for annotation in context.annotations:
        groups.setdefault((annotation.level, annotation.language), []).append(annotation)
    for (level, language), members in sorted(groups.items()):
        texts = [row.text for member in members for row in member.rows if row.text is not None]
        for label in context.stimuli if is_label_like(texts) else ():
            own = [member for member in members if (label, member.id) in bins]
            units = label_units([bins[label, member.id] for member in own]) if len(own) > 1 else []
            alpha = krippendorff_alpha(units)
            if alpha is not None:
                yield LabelAgreement(
                    stimulus=label,
                    level=level,
                    language=language,
                    annotations=tuple(member.id for member in own),
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
    return (SentenceEncoder(folder).encode if len(strange) < len(languages) else None), notes


def _not_judged(context: Context) -> list[str]:
    notes = []
    unknown = [label for label, stimulus in context.stimuli.items() if stimulus.duration_s is None]
    if unknown:
        notes.append(f"Length not known, so ends were not judged: {', '.join(unknown)}.")
    if not any(file.run is not None for file in context.files):
        notes.append("No annotation file is on the clock of a run, so ends were held against stimuli only.")
    return notes
