"""What every reader gives: cues on the clock of the file, before anybody knows stimulus, level and annotator.

Owns the cue and the checks that hold for every format. Readers live in ``readers/``; ``read.py`` makes rows of cues.
"""

from dataclasses import dataclass
from decimal import Decimal

from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.times import decimal_text, minus


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """One annotation as its file has it.

    Args:
        onset_s, duration_s: on the clock of the file, exact.
        text, speaker: as they stand there; None when there is none.
        place: position of the annotator in a file that holds several (from 0), or None.
        tier: name of the tier in formats that have tiers.
    """

    onset_s: Decimal
    duration_s: Decimal
    text: str | None = None
    speaker: str | None = None
    place: int | None = None
    tier: str | None = None


def checked_span(onset: Decimal, end: Decimal, problems: Problems, line: int | None) -> tuple[Decimal, Decimal] | None:
    """Return (onset, duration) of a span, or None after noting why it cannot be one."""
    if onset < 0:
        problems.add(f"begins at {decimal_text(onset)} s, before the clock starts", line)
        return None
    if end < onset:
        problems.add(f"ends at {decimal_text(end)} s, before it begins at {decimal_text(onset)} s", line)
        return None
    return onset, minus(end, onset)
