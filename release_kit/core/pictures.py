"""How the pictures of a report look, and how they become bytes: colours, type, SVG and PNG.

Colours tell apart under the common kinds of colour blindness (Okabe and Ito), and shapes repeat what colours say. SVG
comes without styles (hubs serve files under a policy that forbids them), dates and random ids: the same figure gives
the same bytes with the same version of matplotlib. What is drawn is decided in the rooms.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INK, FAINT, GRID, PAPER = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a3e9d", "#4d4d4d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "d", "h", "p")
PNG_DPI = 144
_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "hatch.color": "#8b949e",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "figure.dpi": PNG_DPI,
    "text.hinting": "no_hinting",
    "svg.fonttype": "path",
    "svg.hashsalt": "release_kit",
}

_STYLE_BLOCK = re.compile(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL)
_STYLE = re.compile(r' style="([^"]*)"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{4,}")
"""Scales of glyphs have three decimals (0.085 for 8.5 points); shorter ones would change the width of words."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One finished picture."""

    name: str
    """File name without suffix."""
    section: str
    """Which part of the report it belongs to."""
    title: str
    """What is seen, with n: a sentence that stands for the picture where it cannot be seen."""
    note: str
    """How to read it."""
    svg: bytes
    png: bytes


def styled():
    """Return a context in which figures are made and saved in this style."""
    import matplotlib

    return matplotlib.rc_context(_RC)


def new_figure(width: float, height: float):
    """Return an empty figure of that size in inches whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(n: int, *, width: float, height: float, columns: int = 4, extra: float = 0.6) -> tuple[Any, list[Any]]:
    """Return a figure with ``n`` panels in rows, and its axes.

    Args:
        n: number of panels.
        width: of one panel, in inches.
        height: of one panel.
        columns: at most this many in a row.
        extra: height for title and legend.
    """
    across = n_across(n, columns)
    rows = math.ceil(n / across)
    figure = new_figure(max(6.5, width * across), height * rows + extra)
    grid = figure.subplots(rows, across, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[n:]:
        unused.set_visible(False)
    return figure, axes[:n]


def n_across(n: int, columns: int) -> int:
    """Return how many panels stand in a row: of few empty places and few rows, the best."""
    choices = range(min(n, columns), min(n, max(2, columns - 2)) - 1, -1)
    return min(choices, key=lambda across: math.ceil(n / across) * (across + 1) - n)


def label_edges(axes: Sequence[Any], columns: int, x: str, y: str) -> None:
    """Name the axes of the panels at the lower and left edge of a figure made by ``panels``."""
    across = n_across(len(axes), columns)
    for index, axis in enumerate(axes):
        if index + across >= len(axes):
            axis.set_xlabel(wrapped(x, 34), fontsize=8)
        if index % across == 0:
            axis.set_ylabel(y, fontsize=8)


def words(name: str) -> str:
    """Return a name of code as people write it: ``base_model`` is ``base model``."""
    return name.replace("_", " ")


def finished(figure: Any, *, name: str, section: str, title: str, note: str) -> Picture:
    """Return the bytes of a figure, its title set above it."""
    width = figure.get_size_inches()[0]
    figure.suptitle(wrapped(title, int(width * 11.5)), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    for _ in range(2):  # constrained layout needs a second pass where tick labels change in the first
        figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return Picture(
        name=name, section=section, title=title, note=note, svg=_svg(figure, title), png=_png(figure)
    )  # fmt: skip


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return name → (colour, marker), the same for the same names in any order."""
    ordered = sorted(set(names))
    return {
        name: (COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, name in enumerate(ordered)
    }


def number_text(value: float, decimals: int = 2) -> str:
    """Return a number with a true minus sign, never ``-0.00``."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "\u2212")


def shortened(text: str, limit: int = 24) -> str:
    """Return ``text`` cut in its middle to at most ``limit`` characters."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def wrapped(text: str, width: int) -> str:
    """Return ``text`` in lines of at most ``width`` characters."""
    import textwrap

    return "\n".join(textwrap.wrap(text, max(20, width)))


def _svg(figure: Any, title: str) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.BytesIO()
    # Not savefig: it draws a second time to learn sizes that the layout has fixed already.
    FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return plain_svg(stream.getvalue().decode("utf-8"), title).encode("utf-8")


def plain_svg(text: str, title: str) -> str:
    """Return an SVG of matplotlib with presentation attributes instead of styles, and with a title for those who
    cannot see it."""
    text = _STYLE_BLOCK.sub("", text)
    text = _STYLE.sub(lambda match: _attributes(match.group(1)), text)
    text = _LONG_NUMBER.sub(lambda match: f"{float(match.group()):.3f}".rstrip("0").rstrip("."), text)
    start = text.index("<svg ")
    end = text.index(">", start)
    head = text[start:end] + ' role="img" stroke-linejoin="round" stroke-linecap="butt"'
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[end + 1 :], flags=re.DOTALL)
    return f"{head}><title>{escaped}</title>{body}"


def _attributes(style: str) -> str:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    return "".join(f' {key.strip()}="{value.strip()}"' for key, value in pairs)


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()
