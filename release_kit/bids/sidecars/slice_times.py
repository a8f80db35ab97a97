"""Whether slice times can be those of a run: one rule for the check of a recipe and for its sidecars."""

from collections.abc import Sequence

TOLERANCE_S = 0.0005
"""Scanners write milliseconds and less."""


def slice_time_problem(times_s: Sequence[float], *, n_slices: int, tr_s: float) -> str | None:
    """Return what is wrong with slice times in seconds; None when they fit ``0 ≤ t < TR``, one for each slice."""
    if len(times_s) != n_slices:
        return f"gives {len(times_s)} slice times, the image has {n_slices} slices"
    if all(0 <= time < tr_s + TOLERANCE_S for time in times_s):
        return None
    span = f"{min(times_s):g} to {max(times_s):g} s"
    return f"gives slice times outside of one TR of {tr_s:g} s ({span}, all in seconds)"
