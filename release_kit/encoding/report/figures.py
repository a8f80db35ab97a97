"""Pictures of the tables: scores over layers, comparisons over subjects, parts of variance as bars and as circles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from release_kit.core.pictures import (
    COLOURS,
    FAINT,
    GRID,
    INK,
    Picture,
    finished,
    label_edges,
    marks,
    n_across,
    new_figure,
    number_text,
    panels,
    styled,
)
from release_kit.encoding.pipeline.regions import ALL

Rows = Sequence[Mapping[str, Any]]
MAX_SUBJECTS = 24


def draw_tables(tables: Mapping[str, Rows], mode: str) -> list[Picture]:
    """Return the pictures of one mode's tables; a table without rows has none."""
    own = {name: [row for row in rows if row.get("mode") == mode] for name, rows in tables.items()}
    with styled():
        return [
            each
            for each in (
                _layers(own["layers"]), _compared(own["statistics"], own["encoding_scores"]),
                *(_parts(own["partition"], name) for name in _names(own["partition"])),
                *(_circles(own["partition"], name) for name in _names(own["partition"])),
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
        axis.set_ylim(min(ends), max(ends))
    label_edges(axes, 3, "layer", "held-out r, best 5 %")
    handles = {text: h for axis in axes for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4)
    n = len({row["subject"] for row in rows})
    note = "Thick: mean over subjects; thin: each subject; ring: the layer chosen by cross-validation."
    return finished(figure, name="layers", section="layers", title=f"Scores over layers, n = {n} subjects", note=note)


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a[name] == b[name] for name in ("subject", "feature", "annotator"))


def _compared(rows: Rows, scores: Rows) -> Picture | None:
    names = _names(rows)
    if not names:
        return None
    values = {
        (row["feature"], row["subject"]): row["value"]
        for row in reversed(scores)
        if row["chosen"] and (row["metric"], row["region"]) == ("r", ALL) and row["value"] is not None
    }
    subjects = list(dict.fromkeys(subject for _, subject in values))[::-1][:MAX_SUBJECTS]
    figure, axes = panels(len(names), width=3.4, height=max(1.5, 0.28 * len(subjects) + 0.9), columns=3, extra=0.7)
    for axis, name in zip(axes, names, strict=True):
        row = next(row for row in rows if row["name"] == name)
        for y, subject in enumerate(subjects):
            a, b = values.get((row["a"], subject)), values.get((row["b"], subject))
            if a is None or b is None:
                continue
            axis.plot([a, b], [y, y], color=GRID, lw=2.4, zorder=1, solid_capstyle="round")
            axis.plot(b, y, "s", color=COLOURS[1], ms=6, zorder=2, label=row["b"] if not y else None)
            axis.plot(a, y, "o", color=COLOURS[0], ms=6.5, zorder=3, label=row["a"] if not y else None)
        axis.set_yticks(range(len(subjects)), [f"sub-{each}" for each in subjects])
        axis.set_ylim(-0.7, len(subjects) - 0.3)
        axis.set_title(name, loc="left", pad=20)
        axis.grid(axis="x")
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, 0) * 1.04, max(high, 0) * 1.04)  # a small difference must look small
        axis.set_xlabel("held-out r, mean over all voxels", fontsize=8)
        axis.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 0.985), ncols=2, fontsize=8, handletextpad=0.1, columnspacing=1
        )
    title = f"Models compared in each of {len(subjects)} subjects"
    note = "Each line is one subject: the same held-out samples, the same voxels, each model at its chosen layer."
    return finished(figure, name="compared", section="compared", title=title, note=note)


def _parts(rows: Rows, name: str) -> Picture | None:
    mine = [row for row in rows if row["name"] == name and row["value"] is not None]
    parts = [part for part in dict.fromkeys(row["part"] for row in mine) if part.startswith(("unique:", "shared:"))]
    regions = [region for region in dict.fromkeys(row["region"] for row in mine)][:6]
    if not parts:
        return None
    figure, axes = panels(
        len(regions), width=3.4, height=(0.34 if len(parts) < 4 else 0.42) * len(parts) + 0.9, columns=2, extra=0.7
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
        left = axes.index(axis) % n_across(len(regions), 2) == 0
        axis.set_yticks(range(len(parts)), [_part_text(part) if left else "" for part in reversed(parts)], fontsize=8)
        axis.set_title(f"{region} ({_voxels(mine, region)})", loc="left")
        axis.grid(axis="x")
        axis.set_xlabel(f"{metric}, mean over voxels", fontsize=8)
    title = f"What each band of {name} explains alone and together, n = {len(subjects)} subjects"
    note = "Bars: mean over subjects. Points: each subject, with its 95 % block-bootstrap interval."
    return finished(figure, name=f"parts-{_slug(name)}", section="parts", title=title, note=note)


def _part_text(part: str) -> str:
    kind, _, bands = part.partition(":")
    return f"{bands}, alone" if kind == "unique" else bands.replace("+", " +\n") + ", shared"


def _voxels(rows: Rows, region: str) -> str:
    counts = [row["n_voxels"] for row in rows if row["region"] == region]
    low, high = min(counts), max(counts)
    return f"{low:,} voxels" if low == high else f"{low:,} to {high:,} voxels"


def _circles(rows: Rows, name: str) -> Picture | None:
    mine = [row for row in rows if (row["name"], row["region"]) == (name, ALL) and row["value"] is not None]
    values: dict[frozenset[str], list[float]] = {}
    for row in mine:
        if row["part"].startswith(("unique:", "shared:")):
            values.setdefault(frozenset(row["part"].partition(":")[2].split("+")), []).append(row["value"])
    bands = list(dict.fromkeys(band for part in values for band in sorted(part)))
    if len(bands) not in (2, 3) or len(values) != 2 ** len(bands) - 1:
        return None
    means = {part: float(np.mean(each)) for part, each in values.items()}
    return _drawn_circles(name, bands, means, "R²" if mine[0]["metric"] == "r2" else "r")


def _drawn_circles(name: str, bands: Sequence[str], means: Mapping[frozenset[str], float], metric: str) -> Picture:
    import matplotlib

    angles = np.pi * (np.array([0.5, 7 / 6, 11 / 6]) if len(bands) == 3 else np.array([1.0, 0.0]))
    centres = 0.58 * np.column_stack([np.cos(angles), np.sin(angles)])
    x, y = np.meshgrid(np.linspace(-1.75, 1.75, 420), np.linspace(-1.6, 1.7, 396))
    inside = np.stack([np.hypot(x - cx, y - cy) < 1 for cx, cy in centres])
    top = max(max(means.values()), 1e-9)
    figure = new_figure(6.5, 4.6)
    axis = figure.subplots()
    colours = matplotlib.colormaps["Blues"]
    whole = np.ones((*x.shape, 4))
    for part, value in means.items():
        where = np.all(inside == np.array([band in part for band in bands])[:, None, None], axis=0)
        whole[where] = colours(0.08 + 0.72 * np.clip(value / top, 0, 1))
        # Where the part is thickest: the pixel farthest from every circle's line.
        rim = np.min([np.abs(np.hypot(x - cx, y - cy) - 1) for cx, cy in centres], axis=0)
        at = np.unravel_index(np.argmax(np.where(where, rim, -1)), x.shape)
        ink = "white" if value / top > 0.75 else INK
        axis.text(x[at], y[at], number_text(value, 4), ha="center", va="center", fontsize=9.5, color=ink)
    axis.imshow(whole, extent=(-1.75, 1.75, -1.6, 1.7), origin="lower", interpolation="nearest")
    for (cx, cy), band in zip(centres, bands, strict=True):
        axis.add_patch(matplotlib.patches.Circle((cx, cy), 1, fill=False, ec=FAINT, lw=1))
        below = len(bands) == 3 and cy < 0
        axis.text(cx * 1.25, cy - 1.1 if below else cy + 1.08, band, ha="center", va="top" if below else "bottom",
                  fontsize=9.5, fontweight="bold")  # fmt: skip
    axis.set_axis_off()
    axis.set_xlim(-1.9, 1.9)
    axis.set_ylim(-1.65, 1.85)
    axis.set_aspect("equal")
    title = f"Shared and unique {metric} of the bands of {name}"
    note = (
        f"Mean {metric} over all voxels and subjects, by inclusion and exclusion of the scores of all unions: the "
        "numbers sum to the score of all bands. Below 0: the bands predict worse together than set algebra expects. "
        "Areas say nothing; darker is more."
    )
    return finished(figure, name=f"circles-{_slug(name)}", section="parts", title=title, note=note)


def _slug(name: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in name.lower())
