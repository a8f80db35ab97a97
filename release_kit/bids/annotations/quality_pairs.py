"""Two annotations of one stimulus side by side: texts that are suspiciously equal, and translations that are none.

Owns what counts as suspicious. Sentences are, of three tokens or more; labels and single words may well agree.
"""

from collections.abc import Iterator, Sequence

from release_kit.bids.annotations.quality_records import Finding
from release_kit.bids.annotations.quality_tracks import TOLERANCE_S, seconds
from release_kit.bids.annotations.stimuli import Annotation
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.tokens import has_letters, normalised

SAME_ANNOTATORS = 0.5
SAME_LEVELS = 0.25
MIN_BINS = 5
UNTRANSLATED = 0.02
"""Share of a translation's texts from which equal ones are reported; a name or a cry is the same in many languages."""


Sentences = Sequence[str | None]
"""What each bin of an annotation holds, where that is a sentence."""


def equal_share(left: Sentences, right: Sentences) -> tuple[int, int, str | None]:
    """Return ``(bins with equal sentences, bins where both have sentences, an example)``."""
    pairs = [(a, b) for a, b in zip(left, right, strict=False) if a is not None and b is not None]
    equal = [a for a, b in pairs if a == b]
    return len(equal), len(pairs), equal[0] if equal else None


def pair_findings(
    stimulus: str, first: Annotation, second: Annotation, left: Sentences, right: Sentences
) -> Iterator[Finding]:
    """Yield a finding when two annotations of one language hold the same sentences at the same time.

    Args:
        stimulus: label.
        first: an annotation.
        second: another of the same language, of the same level or another; not a translation of the first.
        left: sentences of the first.
        right: sentences of the second.
    """
    n_equal, n, example = equal_share(left, right)
    same_level = first.level == second.level
    limit = SAME_ANNOTATORS if same_level else SAME_LEVELS
    if n_equal >= MIN_BINS and n_equal >= limit * n:
        code = "same-across-annotators" if same_level else "same-across-levels"
        what = f"{n_equal} of {n} seconds with sentences in both are equal, such as {_short(example or '')}"
        yield Finding(code=code, what=what, where=f"{first.id} and {second.id}, stim-{stimulus}", n=n_equal)


def translation_findings(stimulus: str, original: Annotation, translation: Annotation) -> Iterator[Finding]:
    """Yield what is wrong with a translation on one stimulus: other intervals than its original, or the same text."""
    where = f"{translation.id} of {original.id}, stim-{stimulus}"
    before, after = original.of(stimulus), translation.of(stimulus)
    if not before or not after:
        return
    yield from _intervals(before, after, where)
    if original.language != translation.language:
        yield from _untranslated(before, after, where)


def _intervals(before: Sequence[Row], after: Sequence[Row], where: str) -> Iterator[Finding]:
    times = {_time(row) for row in before}
    lone = [row for row in after if _time(row) not in times]
    gone = times - {_time(row) for row in after}
    if lone or gone:
        example = f"; the first at {seconds(lone[0].onset_s)}" if lone else f"; the first at {seconds(min(gone)[0])}"
        what = f"{len(lone)} intervals that the original lacks, {len(gone)} of the original are not there{example}"
        yield Finding(code="translation-timing", what=what, where=where, n=len(lone) + len(gone))


def _untranslated(before: Sequence[Row], after: Sequence[Row], where: str) -> Iterator[Finding]:
    texts: dict[tuple[float, float], set[str]] = {}
    for row in before:
        texts.setdefault(_time(row), set()).add(normalised(row.text or ""))
    said = [row for row in after if row.text is not None and has_letters(row.text)]
    same = [row for row in said if normalised(row.text or "") in texts.get(_time(row), ())]
    if same and len(same) >= UNTRANSLATED * len(said):
        what = f"{len(same)} of {len(said)} texts are as in the original, such as {_short(same[0].text or '')}"
        yield Finding(code="untranslated", what=what, where=where, n=len(same))


def _time(row: Row) -> tuple[float, float]:
    """Times that a frame apart may differ are one: both ends on a grid of ``2 * TOLERANCE_S``."""
    grid = 2 * TOLERANCE_S
    return round(round(row.onset_s / grid) * grid, 6), round(round(row.duration_s / grid) * grid, 6)


def _short(text: str) -> str:
    return repr(text if len(text) <= 48 else text[:47] + "…")
