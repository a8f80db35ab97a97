"""Equal neighbouring steps as one interval, and back: the form of one line a second without its repetitions.

Laws: ``split_steps(merge_steps(rows, step), step) == rows`` for rows of one step each; merging twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.times import end_of, exact, minus, plus


def merge_steps(rows: Sequence[Row]) -> list[Row]:
    """Return rows where steps that follow each other with the same content are one row.

    The whole content of a step counts (each text and speaker, in order), so that a step of two utterances is never
    joined with a step of one, and going back gives every step in its order.

    Args:
        rows: of one source; rows of one step share onset and duration.
    """
    merged: list[list[Row]] = []
    for step in _steps(rows):
        if merged and _content(merged[-1]) == _content(step) and _touch(merged[-1][0], step[0]):
            merged[-1] = [_until(row, step[0]) for row in merged[-1]]
        else:
            merged.append(step)
    return [row for step in merged for row in step]


def split_steps(rows: Sequence[Row], step_s: float) -> list[Row]:
    """Return one row for each step of ``step_s`` seconds of every row, ordered by onset; undoes ``merge_steps``."""
    found: list[Row] = []
    step = exact(step_s)
    for row in rows:
        onset, end = exact(row.onset_s), end_of(row.onset_s, row.duration_s)
        while onset < end:
            length = min(step, minus(end, onset))
            found.append(replace(row, onset_s=float(onset), duration_s=float(length)))
            onset = plus(onset, step)
    return sorted(found, key=lambda row: row.onset_s)


def _steps(rows: Sequence[Row]) -> list[list[Row]]:
    ordered = sorted(rows, key=lambda row: (row.onset_s, row.duration_s))
    return [list(step) for _, step in groupby(ordered, key=lambda row: (row.onset_s, row.duration_s))]


def _content(step: Sequence[Row]) -> list[tuple]:
    return [(row.text, row.speaker, row.annotator, row.annot_id, row.stim_id) for row in step]


def _touch(before: Row, after: Row) -> bool:
    return end_of(before.onset_s, before.duration_s) == exact(after.onset_s)


def _until(row: Row, last: Row) -> Row:
    return replace(row, duration_s=float(minus(end_of(last.onset_s, last.duration_s), exact(row.onset_s))))
