"""Tables of the report whose every number says which rows of which file it is made of: hover over it, or read its
``data-source``. Regions, comparisons and parts of variance; what stands around them is ``sections.py``'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from release_kit.core.page import cell, paragraph, traced, traced_table
from release_kit.core.pictures import number_text
from release_kit.core.wording import counted
from release_kit.encoding.maps.regions import RegionRow
from release_kit.encoding.pipeline.regions import ALL, TOP, TOP_SHARE
from release_kit.encoding.pipeline.results import ANNOTATORS, REPEATS
from release_kit.encoding.report.verdicts import Rows, decimals_of

REGIONS_FILE = "report/regions.parquet"
SCORES, STATISTICS, PARTITION, CEILING = (
    f"tables/{name}.parquet" for name in ("encoding_scores", "statistics", "partition", "ceiling")
)
MAX_REGIONS = 6
_TOP = f"{TOP}: the {100 * TOP_SHARE:g} % of voxels with the best score of cross-validation on training data"
_SMALLEST_P = 0.001


def in_order(regions: Iterable[str]) -> list[str]:
    """Return regions once each: the best predicted voxels, named regions as they come, all voxels last."""
    found = dict.fromkeys(regions)
    return [name for name in (TOP, *(each for each in found if each not in (ALL, TOP)), ALL) if name in found]


def regions(rows: Sequence[RegionRow], ceiling: Rows, mode: str) -> list[str]:
    """Return regions by level and model: a heading for each region with voxels and ceiling, a line a model.

    Args:
        rows: of ``report/regions.parquet``, in its order.
        ceiling: rows of ``tables/ceiling.parquet``.
        mode: whose rows are shown.
    """
    own = [(n, row) for n, row in enumerate(rows) if row.mode == mode]
    lines: list[Sequence[str] | str] = []
    for region in in_order(row.region for _, row in own):
        found = [(n, row) for n, row in own if row.region == region]
        lines.append(_region_head(region, found, ceiling, mode))
        lines += [_region_line(n, row) for n, row in found]
    heads = ("Level", "Feature", "Model", "r", "95 % over subjects", "Significant, %", "r / ceiling", "n")
    note = (
        f"r: held-out correlation, the mean over voxels and then over n subjects, each model at the layer that "
        f"cross-validation chose. {_TOP} for the feature, so that held-out data choose no voxel. Significant: q at "
        f"most the level. {_ceiling_note(ceiling, mode)}"
    )
    return [traced_table(heads, lines, range(3, 8)), paragraph(note, "note")] if lines else []


def _ceiling_note(ceiling: Rows, mode: str) -> str:
    """Return what r is divided by, and why it may pass 1; what the agreement of annotators is of."""
    own = [row for row in ceiling if row["mode"] == mode]
    text = ""
    if any(row.get("normalises") and row["source"] == REPEATS for row in own):
        text += (
            "r / ceiling: voxel by voxel, where the ceiling is at least 0.2; the ceiling is estimated from repeats, so "
            "that by chance a ratio may pass 1. "
        )
    if any(row.get("normalises") and row["source"] != REPEATS for row in own):
        text += (
            "r / ceiling: voxel by voxel, by the lower bound of the ceiling between subjects, where that is at least "
            "0.2. A lower bound: what a subject shares with nobody is no part of it, the true ceiling is higher, and "
            "a ratio above 1 is no error. "
        )
    if any(_of_annotators(row["source"]) for row in own):
        text += (
            "Agreement of annotators: r between what is predicted from the mean of their annotations and what endless "
            "annotators' would predict. It is of the predictions alone, and says nothing of the responses: it is high "
            "where nothing drives a voxel, too."
        )
    return text.strip()


def _of_annotators(source: str) -> bool:
    return source.startswith(ANNOTATORS)


def _region_head(region: str, found: Sequence[tuple[int, RegionRow]], ceiling: Rows, mode: str) -> str:
    first = found[0][0]
    counts = [row.n_voxels for _, row in found]
    text = f"{max(counts):,.0f}" if round(min(counts)) == round(max(counts)) else f"up to {max(counts):,.0f}"
    said = f"{escape(region)}: {traced(text, REGIONS_FILE, [first])} voxels"
    bounds = [(n, row) for n, row in enumerate(ceiling) if (row["mode"], row["region"]) == (mode, region)]
    for source in dict.fromkeys(row["source"] for _, row in bounds):
        ends = []
        for bound in ("lower", "upper"):
            same = [
                (n, row["value"])
                for n, row in bounds
                if (row["source"], row["bound"]) == (source, bound) and row["value"] is not None
            ]
            if same:
                ends.append(cell(sum(value for _, value in same) / len(same), CEILING, [n for n, _ in same]))
        if ends and _of_annotators(source):
            said += f"; agreement of annotators' predictions {ends[0]} ({escape(source.removeprefix(ANNOTATORS))})"
        elif ends:
            said += f"; ceiling {' to '.join(ends)} ({escape(source)})"
    return said


def _region_line(number: int, row: RegionRow) -> Sequence[str]:
    share = None if row.share_significant is None else 100 * row.share_significant
    model = row.model + ("" if row.annotator == "mean" else f" ({row.annotator})")
    return (
        escape(row.level or "—"), escape(row.feature), escape(model), cell(row.r, SCORES, row.rows),
        interval(row.low, row.high, REGIONS_FILE, [number]), cell(share, REGIONS_FILE, [number], 1),
        cell(row.r_normalised, REGIONS_FILE, [number]), traced(str(row.n_subjects), REGIONS_FILE, [number]),
    )  # fmt: skip


def comparisons(rows: Rows, mode: str) -> list[str]:
    """Return a heading for each comparison and a line for each region: over subjects where there are several."""
    own = [(n, row) for n, row in enumerate(rows) if row["mode"] == mode and row["difference"] is not None]
    lines: list[Sequence[str] | str] = []
    for name in dict.fromkeys(row["name"] for _, row in own):
        mine = [(n, row) for n, row in own if row["name"] == name]
        lines.append(f"{escape(name)}: {escape(mine[0][1]['a'])} minus {escape(mine[0][1]['b'])}")
        for region in in_order(row["region"] for _, row in mine):
            here = [(n, row) for n, row in mine if row["region"] == region]
            inside = [(n, row) for n, row in here if row["test"] != "subjects"]
            over = [(n, row) for n, row in here if row["test"] == "subjects"]
            lines += [_comparison_line(n, row, inside) for n, row in over or inside]
    if not lines:
        return []
    heads = ("Region", "Over", "Difference of r", "95 %", "Above 0 in", "Below 0 in", "p, t", "p, sign flips",
             "p, Wilcoxon")  # fmt: skip
    note = (
        "Over subjects: Student's interval of the mean difference, two-sided p. Above, below: subjects whose own 95 % "
        "interval (block bootstrap of held-out time) lies there. A p is of one region and one comparison. "
        f"{_TOP} for either model."
    )
    n = max(row["n"] for _, row in own if row["test"] == "subjects") if any(
        row["test"] == "subjects" for _, row in own
    ) else 0  # fmt: skip
    if 2 <= n <= 5:
        note += f" With {n} subjects, sign flips and Wilcoxon's test give no p below {2 / 2**n:g}."
    return [traced_table(heads, lines, range(2, 9)), paragraph(note, "note")]


def _comparison_line(n: int, row: Mapping[str, Any], inside: Sequence[tuple[int, Mapping[str, Any]]]) -> Sequence[str]:
    over = row["test"] == "subjects"
    sides = ["—", "—"]
    if over and inside and all(each["low"] is not None for _, each in inside):
        counts = (sum(each["low"] > 0 for _, each in inside), sum(each["high"] < 0 for _, each in inside))
        sides = [traced(f"{count} of {len(inside)}", STATISTICS, [k for k, _ in inside]) for count in counts]
    who = counted(row["n"], "subject") if over else f"sub-{row['subject']}"
    ps = [_p(row[name], n) for name in ("p_t", "p_sign_flip", "p_wilcoxon")]
    difference = cell(row["difference"], STATISTICS, [n], decimals_of(row["low"], row["high"]))
    return (
        escape(row["region"]), escape(who), difference,
        interval(row["low"], row["high"], STATISTICS, [n]), *sides, *ps,
    )  # fmt: skip


def parts(rows: Rows, mode: str) -> list[str]:
    """Return a heading for each banded model and a line for each part: its mean over subjects in every region."""
    own = [(n, row) for n, row in enumerate(rows) if row["mode"] == mode and row["value"] is not None]
    names = in_order(row["region"] for _, row in own)
    left_out = names[1 + MAX_REGIONS : -1]
    names = [name for name in names if name not in left_out]
    lines: list[Sequence[str] | str] = []
    for model in dict.fromkeys(row["name"] for _, row in own):
        mine = [(n, row) for n, row in own if row["name"] == model]
        n = len({row["subject"] for _, row in mine})
        metric = "R²" if mine[0][1]["metric"] == "r2" else "r"
        lines.append(f"{escape(model)}: {metric}, mean over {counted(n, 'subject')}")
        for part in sorted({row["part"]: None for _, row in mine}, key=_rank):
            found = [[(k, r) for k, r in mine if (r["part"], r["region"]) == (part, name)] for name in names]
            lines.append((escape(part_text(part)), *(_part_cell(each) for each in found)))
        found = [[(k, r) for k, r in mine if r["region"] == name] for name in names]
        lines.append(("voxels", *(_voxels_cell(each) for each in found)))
    note = (
        "Bold: the 95 % block-bootstrap intervals of all subjects lie on the same side of 0. Voxels that a model does "
        f"not predict have a score below 0, and so have means that are mostly of them. {_TOP} for all bands together. "
        "Intervals of every subject stand in the picture and in the file."
    )
    if left_out:
        note += f" {counted(len(left_out), 'more region')} in the file."
    return [traced_table(("Part", *names), lines, range(1, 1 + len(names))), paragraph(note, "note")] if lines else []


def part_text(part: str) -> str:
    """Return what a part is, as people say it: ``unique:story`` is ``story, alone``."""
    kind, colon, bands = part.partition(":")
    if not colon:
        return part
    said = {"unique": "alone", "shared": "shared", "split": "product measure"}
    return f"{bands.replace('+', ' + ')}, {said.get(kind, kind)}"


def _rank(part: str) -> int:
    kind, colon, _ = part.partition(":")
    return ("unique", "shared", "split").index(kind) + 1 if colon else 0


def _part_cell(found: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    if not found:
        return "—"
    shown = cell(sum(row["value"] for _, row in found) / len(found), PARTITION, [n for n, _ in found])
    ends = [(row["low"], row["high"]) for _, row in found]
    sure = all(low is not None for low, _ in ends) and (all(e[0] > 0 for e in ends) or all(e[1] < 0 for e in ends))
    return f"<strong>{shown}</strong>" if sure else shown


def _voxels_cell(found: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    counts = [row["n_voxels"] for _, row in found]
    if not counts:
        return "—"
    text = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return traced(text, PARTITION, [n for n, _ in found])


def interval(
    low: float | None, high: float | None, source: str, rows: Iterable[int], decimals: int | None = None
) -> str:
    """Return an interval as HTML that says which rows of which file it is made of; a dash for none."""
    if low is None or high is None:
        return "—"
    decimals = decimals_of(low, high) if decimals is None else decimals
    return traced(f"{number_text(low, decimals)} to {number_text(high, decimals)}", source, rows)


def _p(value: float | None, row: int) -> str:
    if value is not None and value < _SMALLEST_P:
        return traced(f"< {_SMALLEST_P:g}", STATISTICS, [row])
    return cell(value, STATISTICS, [row])
