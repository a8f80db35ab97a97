"""Pictures of interventions beside their controls, of the claims' differences, and of features found by other seeds."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from release_kit.core.pictures import COLOURS, FAINT, MARKERS, Picture, finished, new_figure, styled, wrapped
from release_kit.core.wording import counted
from release_kit.sae.claims.estimate import t_interval
from release_kit.sae.claims.judge import StudyClaim
from release_kit.sae.claims.read import StudyTables

Row = Mapping[str, Any]
_ORDER = ("en", "ja", "bilingual", "all")
_BESIDE = {"": "the change itself", "count": "less random features (count)", "norm": "less random features (norm)"}
_FOUND_AGAIN = {
    "share_matched": "share with a partner of cosine 0.7 or more", "mean_cosine": "mean cosine with the partner",
}  # fmt: skip
"""Column of the table of stability → what it is."""
IN_STEPS = "larger-earlier"
"""Its differences are of steps, and stand in the table only."""


def draw_effects(tables: StudyTables) -> list[Picture]:
    """Return what interventions do to losses, a picture for each variant, strength and step: sizes down."""
    found = []
    key = ("variant", "strength", "step")
    rows = sorted(
        (row for row in tables.effects if row["beside"] in _BESIDE), key=lambda row: tuple(row[name] for name in key)
    )
    with styled():
        for (variant, strength, step), own in groupby(rows, key=lambda row: tuple(row[name] for name in key)):
            found.append(_effects(list(own), tables.sizes, variant, strength, step))
    return found


def _effects(rows: list[Row], all_sizes: Sequence[str], variant: str, strength: float, step: int) -> Picture:
    sizes = [size for size in all_sizes if any(row["size"] == size for row in rows)]
    kinds = sorted({row["kind"] for row in rows}, key=lambda kind: (not kind.isalpha() or len(kind) > 3, kind))
    names = [name for name in _ORDER if any(row["name"] == name for row in rows)]
    figure = new_figure(3.3 * len(kinds) + 0.6, 2.2 * len(sizes) + 1.1)
    axes = figure.subplots(len(sizes), len(kinds), squeeze=False, sharey=True, sharex=True)
    seeds, over = 0, False
    for row, size in enumerate(sizes):
        for column, kind in enumerate(kinds):
            mine = [each for each in rows if (each["size"], each["kind"]) == (size, kind)]
            n, own = _effect_panel(axes[row][column], mine, names)
            seeds, over = max(seeds, n), over or own
            if row == 0:
                axes[row][column].set_title(
                    f"loss in {kind}"
                    if kind.isalpha() and len(kind) <= 3
                    else f"translation {kind}".removesuffix(" translation"),
                    loc="left",
                )
        axes[row][0].set_ylabel(f"{size}\nnats per token", fontsize=8)
    handles = {text: h for axis in axes.flat for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=3, fontsize=8)
    said = "95 % t interval over seeds" if over else "95 % bootstrap interval, seeds and sentences"
    title = (
        f"Effects at step {step:,}: {variant}, strength {strength:g}; mean of layers, {counted(seeds, 'seed')}, {said}"
    )
    note = (
        "Change of cross-entropy (below 0: better) by the class of features that is "
        f"{'taken out' if variant == 'ablate' else 'put in from the last step'}; squares and triangles: less what "
        "random features do, matched in number, or in number and length. Small points: single layers."
    )
    name = f"effects-{variant}-{strength:g}-step-{step}"
    return finished(figure, name=name.replace(".", "_"), section="effects", title=title, note=note)


def _effect_panel(axis: Any, rows: Sequence[Row], names: Sequence[str]) -> tuple[int, bool]:
    """Draw classes across, each plain and beside its controls; return seeds and whether intervals are over seeds."""
    n_seeds, over = 0, False
    for k, (beside, text) in enumerate(_BESIDE.items()):
        x, y, ends = [], [], []
        for place, name in enumerate(names):
            mine = [row for row in rows if (row["name"], row["beside"]) == (name, beside)]
            if not mine:
                continue
            at = place + 0.24 * (k - 1)
            mean, low, high, n, own = summary(mine)
            n_seeds, over = max(n_seeds, n), over or own
            x, y, ends = [*x, at], [*y, mean], [*ends, (low, high)]
            for value in layer_values(mine):
                axis.plot(at, value, ".", color=COLOURS[k], ms=3, alpha=0.4)
        for at, (low, high) in zip(x, ends, strict=True):
            axis.plot([at, at], [low, high], color=COLOURS[k], lw=1.5)
        axis.plot(x, y, MARKERS[k], color=COLOURS[k], ms=5, label=text)
    axis.axhline(0, color=FAINT, lw=0.8)
    axis.set_xticks(range(len(names)), list(names), fontsize=8)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(axis="y")
    return n_seeds, over


def summary(rows: Sequence[Row]) -> tuple[float, float, float, int, bool]:
    """Return mean over layers with its interval, seeds, and whether the interval is over seeds.

    Args:
        rows: of one effect: of single seeds, of all together (seed -1), or both. Pooled intervals of layers have none
            for their mean; the mean of their ends is wider than it would be, as layers share seeds.
    """
    single = [row for row in rows if row["seed"] >= 0]
    if single:
        seeds = sorted({row["seed"] for row in single})
        values = np.array([np.mean([row["value"] for row in single if row["seed"] == seed]) for seed in seeds])
        mean, low, high, _ = t_interval(values)
        return mean, low, high, len(seeds), True
    mean, low, high = (float(np.mean([row[name] for row in rows])) for name in ("value", "low", "high"))
    return mean, low, high, max(row["n_seeds"] for row in rows), False


def layer_values(rows: Sequence[Row]) -> list[float]:
    """Return the mean over seeds at each layer."""
    layers = sorted({row["layer"] for row in rows})
    return [float(np.mean([row["value"] for row in rows if row["layer"] == layer])) for layer in layers]


def draw_claims(claims: Sequence[StudyClaim]) -> list[Picture]:
    """Return the weakest needed difference of every claim with its interval: shares, and losses."""
    found = []
    with styled():
        for name, unit, own in (
            ("claims-shares", "share", [each for each in claims if each.by != "loss" and each.name != IN_STEPS]),
            ("claims-losses", "nats per token", [each for each in claims if each.by == "loss"]),
        ):
            known = [each for each in own if each.weakest is not None]
            if known:
                found.append(_forest(name, unit, known))
    return found


def _forest(name: str, unit: str, claims: Sequence[StudyClaim]) -> Picture:
    figure = new_figure(9.0, 0.34 * len(claims) + 1.3)
    axis = figure.subplots()
    colours = {"reproduced": COLOURS[0], "not reproduced": COLOURS[1], "cannot be told": FAINT}
    shapes = {"reproduced": "o", "not reproduced": "X", "cannot be told": "s"}
    for place, claim in enumerate(reversed(claims)):
        weakest = claim.weakest
        assert weakest is not None  # those without one are left out
        style = {"color": colours[claim.verdict]}
        axis.plot([weakest.low, weakest.high], [place, place], lw=1.6, **style)
        axis.plot(weakest.value, place, shapes[claim.verdict], ms=6, label=claim.verdict, **style)
    axis.axvline(0, color=FAINT, lw=0.8)
    texts = [f"{each.name}, {each.detail or 'by ' + each.by}" for each in reversed(claims)]
    axis.set_yticks(range(len(claims)), [wrapped(text, 44) for text in texts], fontsize=8)
    axis.set_ylim(-0.6, len(claims) - 0.4)
    axis.grid(axis="x")
    axis.set_xlabel(f"the least favourable needed difference ({unit}); the claim says above 0", fontsize=8)
    handles = {text: h for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=3, fontsize=8)
    n = [each.n_seeds for each in claims]
    seeds = counted(min(n), "seed") if min(n) == max(n) else f"{min(n)} to {max(n)} seeds"
    title = f"Claims: the difference that speaks least for each, {seeds}, 95 % interval"
    note = (
        "Intervals are of one difference; verdicts rest on p after Holm's correction over all needed ones of a claim."
    )
    return finished(figure, name=name, section="claims", title=title, note=note)


def draw_stability(tables: StudyTables) -> list[Picture]:
    """Return how many features another seed finds again, and how near they are, over steps; a row for each size.

    Nothing with one seed, or where no autoencoder has a feature that fires.
    """
    known = [row for row in tables.stability if math.isfinite(row["share_matched"])]
    sizes = [size for size in tables.sizes if any(row["size"] == size for row in known)]
    if not sizes:
        return []
    with styled():
        figure = new_figure(10.9, 2.2 * len(sizes) + 0.9)
        axes = figure.subplots(len(sizes), 2, squeeze=False, sharey="col", sharex=True)
        n = 0
        for row, size in zip(axes, sizes, strict=True):
            own = [one for one in known if one["size"] == size]
            n = max(n, *(_stability_panel(axis, own, name) for axis, name in zip(row, _FOUND_AGAIN, strict=True)))
            row[0].set_ylabel(size)
        for axis, words in zip(axes[0], _FOUND_AGAIN.values(), strict=True):
            axis.set_title(words, loc="left")
        for axis in axes[-1]:
            axis.set_xlabel("training step", color=FAINT, fontsize=8)
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower left", ncols=6, fontsize=8)
        title = f"Features of one seed beside their partners in another, {counted(n, 'pair')} of seeds"
        note = (
            "Partners: one to one, so that the cosines of decoders are largest together; of features that fire. Lines: "
            "mean over pairs of seeds; bars: least and most; broken: partners among random directions."
        )
        return [finished(figure, name="stability", section="quality", title=title, note=note)]


def _stability_panel(axis: Any, rows: Sequence[Row], name: str) -> int:
    """Draw a figure of pairs of seeds over steps, and return how many pairs there are."""
    from matplotlib import colormaps

    steps, layers = (sorted({row[name] for row in rows}) for name in ("step", "layer"))
    most = 0
    for k, layer in enumerate(layers):
        own = [[r[name] for r in rows if (r["step"], r["layer"]) == (step, layer)] for step in steps]
        most = max(most, *map(len, own))
        mean = np.array([np.mean(values) if values else np.nan for values in own])
        colour = colormaps["viridis"](0.88 * k / max(len(layers) - 1, 1))
        x = np.arange(len(steps)) + 0.05 * (k - (len(layers) - 1) / 2)
        for at, values in zip(x, own, strict=True):
            if values:
                axis.plot([at, at], [min(values), max(values)], color=colour, lw=1)
        axis.plot(x, mean, color=colour, marker=MARKERS[k % len(MARKERS)], ms=4, lw=1.4, label=f"layer {layer}")
    null = [[r.get(f"null_{name}") for r in rows if r["step"] == step] for step in steps]
    if all(value is not None for values in null for value in values):
        axis.plot(range(len(steps)), [np.mean(v) for v in null], color=FAINT, ls=(0, (4, 2)), lw=1.2, label="null")
    axis.set_xticks(range(len(steps)), [f"{step:,}" for step in steps])
    axis.set_ylim(-0.02, 1.02)
    axis.grid(axis="y")
    return most
