"""Rows laid out on tiers: one a source and speaker, and further ones where annotations overlap.

Praat and ELAN let no two annotations of a tier overlap; the first tier that is free takes a row. Knows neither format.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.writers.companion import Placed, Tier


def laid_out(
    rows: Sequence[Placed], span: Callable[[Row], tuple], kind: Callable[[Row], str]
) -> tuple[dict[str, Tier], dict[str, list[Placed]]]:
    """Return the tiers by name, and the rows of each in order of time.

    Args:
        rows: of one stimulus, in the order of the table.
        span: (onset, end) of a row as the format writes it; a row may begin where the one before it ends, unless both
            begin at one time.
        kind: "" for ordinary rows, else a word that parts tiers (``points``).
    """
    lanes: dict[tuple, list[list[Placed]]] = defaultdict(list)
    for placed in sorted(rows, key=lambda placed: (span(placed.row), placed.place)):
        among = lanes[placed.row.annot_id, placed.row.speaker, kind(placed.row)]
        free = next((lane for lane in among if _follows(span(lane[-1].row), span(placed.row))), None)
        if free is None:
            among.append(free := [])
        free.append(placed)
    tiers: dict[str, Tier] = {}
    filled: dict[str, list[Placed]] = {}
    for (annot_id, speaker, word), among in sorted(lanes.items(), key=lambda item: tuple(map(str, item[0]))):
        for lane in among:
            name = _free_name([_shown(annot_id), _shown(speaker), word], tiers)
            tiers[name] = Tier(annot_id=annot_id, speaker=speaker)
            filled[name] = [replace(placed, tier=name) for placed in lane]
    return tiers, filled


def _follows(before: tuple, after: tuple) -> bool:
    return before[1] <= after[0] and before[0] < after[0]


def _shown(name: str | None) -> str:
    """Return a name as a part of that of a tier: one line of letters that every format can hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in name or "").split())


def _free_name(parts: list[str], taken: dict[str, Tier]) -> str:
    name = " ".join(part for part in parts if part)
    if name not in taken:
        return name
    return next(longer for n in range(2, len(taken) + 3) if (longer := f"{name} #{n}") not in taken)
