"""The table of what the published choices change: a line for each level and number, paper beside corrected, with the
interval of the difference and how many voxels and subjects it is of. Rows are those of ``tables/modes.parquet``.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from release_kit.core.page import paragraph
from release_kit.encoding.maps.regions import interval_over
from release_kit.encoding.pipeline.mode_table import SEEN
from release_kit.encoding.pipeline.regions import ALL, TOP, TOP_SHARE
from release_kit.encoding.report.tables import Rows, cell, decimals_of, interval, traced, traced_table

SOURCE = "tables/modes.parquet"
_BEST = f"the {100 * TOP_SHARE:g} % of voxels that cross-validation finds best in either mode"
_HEADINGS = (
    ("r", None, TOP, f"Held-out correlation r, {_BEST}"),
    ("r2", "unique:", TOP, f"Unique R², {_BEST}"),
    ("r", "unique:", TOP, f"Unique part as a difference of r, as published, {_BEST}"),
    ("share_significant", None, ALL, "Voxels called significant, %, all voxels"),
    ("layer", None, ALL, "Layer that cross-validation chose"),
)
_SAMPLES = {
    "n_train": "training samples", "n_held_out": "held-out samples",
    SEEN: "held-out samples whose second training shows, too",
}  # fmt: skip
_HEADS = (
    "Level", "Of", "Paper", "Corrected", "Difference", "95 %", "Voxels in both", "Scored: paper", "Scored: corrected",
    "n",
)  # fmt: skip
Numbered = tuple[int, Mapping[str, Any]]


def modes(rows: Rows) -> list[str]:
    """Return the table of two modes and the note below it; nothing where one mode was run.

    Args:
        rows: of ``tables/modes.parquet``.
    """
    lines: list[Sequence[str] | str] = []
    for metric, part, region, heading in _HEADINGS:
        found = [each for each in enumerate(rows) if _is(each[1], metric, part, region)]
        if found:
            lines.append(escape(heading))
            lines += _lines(found, metric)
    samples = [each for each in enumerate(rows) if each[1]["name"] == "samples"]
    if samples:
        lines.append("Samples, mean over subjects")
        for metric, text in _SAMPLES.items():
            if not (mine := [each for each in samples if each[1]["metric"] == metric]):
                continue
            shown = [cell(_mean(mine, key), SOURCE, _numbers(mine), 0) for key in ("paper", "corrected", "difference")]
            lines.append(("—", escape(text), *shown, "—", "—", "—", "—", _n(mine)))
    if not lines:
        return []
    return [traced_table(_HEADS, lines, range(2, 10)), paragraph(_note(rows), "note")]


def _is(row: Mapping[str, Any], metric: str, part: str | None, region: str) -> bool:
    same = row["part"] is None if part is None else (row["part"] or "").startswith(part)
    return same and (row["metric"], row["region"]) == (metric, region)


def _lines(found: Sequence[Numbered], metric: str) -> Iterator[Sequence[str]]:
    groups: dict[tuple[str, str | None], list[Numbered]] = {}
    for each in found:
        groups.setdefault((each[1]["name"], each[1]["part"]), []).append(each)
    for (name, part), mine in groups.items():
        what = name if part is None else f"{part.partition(':')[2]} in {name}"
        first = (escape(mine[0][1]["level"] or "—"), escape(what))
        if metric == "layer":
            layers = [_layers(mine, mode) for mode in ("paper", "corrected")]
            yield (*first, *layers, "—", "—", "—", "—", "—", _n(mine))
            continue
        times = 100 if metric == "share_significant" else 1
        low, high = (None if end is None else times * end for end in _interval(mine))
        decimals = 1 if times == 100 else max(3, decimals_of(low, high))
        means = [_mean(mine, key) for key in ("paper", "corrected", "difference")]
        values = [cell(None if each is None else times * each, SOURCE, _numbers(mine), decimals) for each in means]
        counts = [_counts(mine, key) for key in ("n_voxels", "n_paper", "n_corrected")]
        yield (*first, *values, interval(low, high, SOURCE, _numbers(mine), decimals), *counts, _n(mine))


def _interval(found: Sequence[Numbered]) -> tuple[float | None, float | None]:
    """Return the interval of the difference: over subjects where there are several, else the subject's own."""
    known = [row for _, row in found if row["difference"] is not None]
    if len(known) == 1:
        return known[0]["low"], known[0]["high"]
    return interval_over([row["difference"] for row in known])


def _note(rows: Rows) -> str:
    samples = [row["n_samples"] for row in rows if row["n_samples"]]
    text = (
        "Both modes are judged on the voxels that both score and on the held-out samples that both predict"
        f"{f' ({_range(samples)} a subject)' if samples else ''}, so that a difference is one of the models. A voxel "
        "that one mode does not score (its prediction never changes, say) is left out of both; how many each scores "
        "by itself stands beside. Layers are chosen, and voxels called significant, by each mode's own tests. Means "
        "over n subjects. 95 %: of the difference, Student's interval over subjects; "
        "for one subject from resampled blocks of held-out time."
    )
    return text + " A unique part is compared in R², and once more as the published code has it, a difference of r."


def _mean(found: Sequence[Numbered], key: str) -> float | None:
    known = [row[key] for _, row in found if row[key] is not None]
    return sum(known) / len(known) if known else None


def _layers(found: Sequence[Numbered], mode: str) -> str:
    layers = sorted({round(row[mode]) for _, row in found if row[mode] is not None})
    return traced(", ".join(map(str, layers)), SOURCE, _numbers(found)) if layers else "—"


def _counts(found: Sequence[Numbered], key: str) -> str:
    known = [row[key] for _, row in found if row[key] is not None]
    return traced(_range(known), SOURCE, _numbers(found)) if known else "—"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _n(found: Sequence[Numbered]) -> str:
    return traced(str(len({row["subject"] for _, row in found})), SOURCE, _numbers(found))


def _numbers(found: Sequence[Numbered]) -> list[int]:
    return [number for number, _ in found]
