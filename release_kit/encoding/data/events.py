"""What the events of a run say of the film: which part of which stimulus is on, from when, and what of it is repeated.

Reads the rows that ``release_kit.bids`` writes (``trial_type`` ``stimulus`` and ``overlap``), and other datasets' rows
with the same columns.
"""

from dataclasses import dataclass

from release_kit.bids.annotations.bep044 import EVENT_STIMULUS_ID, stimulus_label
from release_kit.bids.annotations.tsv import parse_tsv
from release_kit.core.errors import RecordError

_NEEDED = ("onset", "duration", EVENT_STIMULUS_ID, "stim_start")
_STEP = "one row with trial_type `stimulus` names stim_id, onset, duration and stim_start of what is shown"


@dataclass(frozen=True, kw_only=True)
class Event:
    """The part of a film that a run shows; times in seconds."""

    stim_id: str
    onset_s: float
    duration_s: float
    stim_start_s: float
    overlap_s: float
    title: str | None
    """What a column ``title`` says, where there is one."""


def shown_in(data: bytes, where: str) -> Event:
    """Return what a run shows, from the bytes of its events file.

    Without a column ``trial_type`` the file has one row, which is the stimulus.

    Raises:
        RecordError: no table, no row or several of a stimulus, times that are no numbers.
    """
    header, cells = parse_tsv(data, where)
    if missing := [name for name in _NEEDED if name not in header]:
        raise RecordError(f"its columns lack {', '.join(missing)}", where=where, next_step=_STEP)
    rows = [dict(zip(header, row, strict=True)) for row in cells]
    kinds = [row.get("trial_type", "stimulus") for row in rows]
    shown = [row for row, kind in zip(rows, kinds, strict=True) if kind == "stimulus"]
    if len(shown) != 1:
        what = "no row says which stimulus is shown" if not shown else f"{len(shown)} stimuli are shown in one run"
        raise RecordError(what, where=where, next_step=_STEP)
    row = shown[0]
    if not row[EVENT_STIMULUS_ID]:
        raise RecordError("its stimulus has no stim_id", where=where, next_step=_STEP)
    onset_s = _seconds(row, "onset", where)
    repeated = [_seconds(each, "onset", where) + _seconds(each, "duration", where) - onset_s
                for each, kind in zip(rows, kinds, strict=True) if kind == "overlap"]  # fmt: skip
    return Event(
        stim_id=stimulus_label(row[EVENT_STIMULUS_ID]),
        onset_s=onset_s,
        duration_s=_seconds(row, "duration", where),
        stim_start_s=_seconds(row, "stim_start", where),
        overlap_s=round(max([0.0, *repeated]), 9),
        title=row.get("title"),
    )


def _seconds(row: dict[str, str | None], name: str, where: str) -> float:
    try:
        value = float(row[name] or "")
    except ValueError:
        value = float("nan")
    if not -1e9 < value < 1e9 or (name != "onset" and value < 0):
        raise RecordError(f"{name} is {row[name]!r}, expected seconds", where=where, next_step=_STEP)
    return value
