"""Pictures of the tables: scores over layers, comparisons over subjects, parts of variance as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from release_kit.core.pictures import (
    COLOURS,
    FAINT,
    INK,
    Picture,
    finished,
    label_edges,
    marks,
    n_across,
    panels,
    styled,
)
from release_kit.core.wording import counted
from release_kit.encoding.pipeline.regions import TOP, TOP_SHARE
from release_kit.encoding.report.circles import draw_circles
from release_kit.encoding.report.tables import in_order

Rows = Sequence[Mapping[str, Any]]
MAX_SUBJECTS, MAX_REGIONS = 24, 6


def draw_tables(tables: Mapping[str, Rows], mode: str) -> list[Picture]:
    """Return the pictures of one mode's tables; a table without rows has none."""
    own = {name: [row for row in rows if row.get("mode") == mode] for name, rows in tables.items()}
    with styled():
        return [
            each
            for each in (
                _layers(own["layers"]), _compared(own["statistics"]),
                *(_parts(own["partition"], name) for name in _names(own["partition"])),
                *(draw_circles(own["partition"], name) for name in _names(own["partition"])),
            )
            if each is not None
        ]  # fmt: skip


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["name"] for row in rows))


def _layers(rows: Rows) -> Picture | None:
    several = [row for row in rows if sum(_same(row, other) for other in rows) > 1 and row["r"] is not None]
    levels = list(dict.fromkeys(row["level"] or "medium" for row in several))
    if not levels:
        return None
    figure, axes = panels(len(levels), width=3.3, height=2.5, columns=3, extra=0.9)
    style = marks([row["model"] for row in several])
    for axis, level in zip(axes, levels, strict=True):
        inside = [row for row in several if (row["level"] or "medium") == level]
        for feature in dict.fromkeys(row["feature"] for row in inside):
            mine = [row for row in inside if row["feature"] == feature]
            colour, marker = style[mine[0]["model"]]
            layers = sorted({row["layer"] for row in mine})
            for subject in dict.fromkeys((row["subject"], row["annotator"]) for row in mine):
                line = sorted(
                    (r["layer"], r["r"], r["chosen"]) for r in mine if (r["subject"], r["annotator"]) == subject
                )
                axis.plot([x for x, _, _ in line], [y for _, y, _ in line], color=colour, lw=0.7, alpha=0.45)
                best = [(x, y) for x, y, chosen in line if chosen]
                axis.plot(*zip(*best, strict=True), "o", mfc="none", mec=colour, ms=8, mew=1.2)
            means = [np.mean([row["r"] for row in mine if row["layer"] == layer]) for layer in layers]
            axis.plot(layers, means, color=colour, marker=marker, ms=4, lw=1.8, label=mine[0]["model"])
        axis.set_title(level, loc="left")
        axis.grid(axis="y")
        axis.set_xticks(sorted({row["layer"] for row in inside}))
    ends = [end for axis in axes for end in axis.get_ylim()]
    for axis in axes:
        axis.set_ylim(min(ends), max(ends) + 0.06 * (max(ends) - min(ends)))  # rings need room
    label_edges(axes, 3, "layer", f"held-out r, best {100 * TOP_SHARE:g} %")
    handles = {text: h for axis in axes for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4)
    n = len({row["subject"] for row in rows})
    note = "Thick: mean over subjects; thin: each subject; ring: the layer chosen by cross-validation."
    return finished(
        figure, name="layers", section="layers", title=f"Scores over layers, n = {counted(n, 'subject')}", note=note
    )


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a[name] == b[name] for name in ("subject", "feature", "annotator"))


def _compared(rows: Rows) -> Picture | None:
    names = _names(rows)
    found = {name: [r for r in rows if (r["name"], r["region"]) == (name, TOP) and _known(r)] for name in names}
    found = {name: each for name, each in found.items() if each}
    if not found:
        return None
    subjects = list(dict.fromkeys(r["subject"] for each in found.values() for r in each if r["subject"] is not None))
    places = {subject: len(subjects) - k for k, subject in enumerate(subjects[:MAX_SUBJECTS])} | {None: 0}
    several = any(row["test"] == "subjects" for each in found.values() for row in each)
    figure, axes = panels(len(found), width=3.3, height=max(1.4, 0.27 * len(places) + 0.9), columns=3, extra=0.5)
    for axis, each in zip(axes, found.values(), strict=True):
        _forest(axis, each, places)
        axis.set_ylim(-0.6 if several else 0.4, max(places.values()) + 0.6)
    ends = [end for axis in axes for end in axis.get_xlim()]
    low, high = min(*ends, 0), max(*ends, 0)
    for axis in axes:  # one scale: a small difference must look small
        axis.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    who = counted(len(subjects), "subject")
    title = f"Models compared in the {100 * TOP_SHARE:g} % of voxels best by cross-validation, n = {who}"
    note = (
        "Points: each subject, with the 95 % block-bootstrap interval of held-out time; the same held-out samples and "
        "voxels for both models, each at its chosen layer."
    )
    note += " Diamond: mean over subjects, Student's 95 % interval." if several else ""
    return finished(figure, name="compared", section="compared", title=title, note=note)


def _forest(axis: Any, rows: Rows, places: Mapping[str | None, int]) -> None:
    """Draw the differences of one comparison at their places: a subject each, and the mean (no subject)."""
    for row in (row for row in rows if row["subject"] in places):
        y, over = places[row["subject"]], row["test"] == "subjects"
        colour, marker, size = (COLOURS[1], "D", 6) if over else (COLOURS[0], "o", 5)
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.2 if over else 1.3)
        axis.plot(row["difference"], y, marker, color=colour, ms=size)
    axis.axvline(0, color=FAINT, lw=0.8)
    axis.set_yticks(list(places.values()), ["mean" if who is None else f"sub-{who}" for who in places])
    axis.set_title(f"{rows[0]['a']}\nminus {rows[0]['b']}", loc="left", fontsize=8.5)
    axis.grid(axis="x")
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel("difference of held-out r", fontsize=8)


def _known(row: Mapping[str, Any]) -> bool:
    return row["difference"] is not None


def _parts(rows: Rows, name: str) -> Picture | None:
    mine = [row for row in rows if row["name"] == name and row["value"] is not None]
    parts = [part for part in dict.fromkeys(row["part"] for row in mine) if part.startswith(("unique:", "shared:"))]
    regions = in_order(row["region"] for row in mine)
    regions = [*regions[: MAX_REGIONS - 1], regions[-1]] if len(regions) > MAX_REGIONS else regions
    if not parts:
        return None
    figure, axes = panels(
        len(regions), width=3.3, height=(0.34 if len(parts) < 4 else 0.42) * len(parts) + 0.8, columns=3, extra=0.5
    )
    metric = "R²" if mine[0]["metric"] == "r2" else "r"
    subjects = list(dict.fromkeys(row["subject"] for row in mine))
    for axis, region in zip(axes, regions, strict=True):
        for y, part in enumerate(reversed(parts)):
            found = [row for row in mine if (row["part"], row["region"]) == (part, region)]
            if not found:
                continue
            colour = COLOURS[0] if part.startswith("unique") else COLOURS[5]
            axis.barh(y, np.mean([row["value"] for row in found]), color=colour, alpha=0.55, height=0.66)
            for row in found:
                place = y + (subjects.index(row["subject"]) + 1) / (len(subjects) + 1) * 0.6 - 0.3
                if row["low"] is not None:
                    axis.plot([row["low"], row["high"]], [place, place], color=INK, lw=0.9)
                axis.plot(row["value"], place, "o", color=INK, ms=2.6)
        axis.axvline(0, color=FAINT, lw=0.8)
        left = axes.index(axis) % n_across(len(regions), 3) == 0
        axis.set_yticks(range(len(parts)), [_part_text(part) if left else "" for part in reversed(parts)], fontsize=8)
        axis.set_title(f"{region} ({_voxels(mine, region)})", loc="left")
        axis.grid(axis="x")
        axis.locator_params(axis="x", nbins=5)
        axis.set_xlabel(f"{metric}, mean over voxels", fontsize=8)
    title = f"What each band of {name} explains alone and together, n = {counted(len(subjects), 'subject')}"
    note = "Bars: mean over subjects. Points: each subject, with its 95 % block-bootstrap interval."
    return finished(figure, name=f"parts-{_slug(name)}", section="parts", title=title, note=note)


def _part_text(part: str) -> str:
    kind, _, bands = part.partition(":")
    return f"{bands}, alone" if kind == "unique" else bands.replace("+", " +\n") + ", shared"


def _voxels(rows: Rows, region: str) -> str:
    counts = [row["n_voxels"] for row in rows if row["region"] == region]
    low, high = min(counts), max(counts)
    return f"{low:,} voxels" if low == high else f"{low:,} to {high:,} voxels"


def _slug(name: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in name.lower())
