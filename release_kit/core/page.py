"""The parts that a page is put together from: text made safe, tables, pictures inside the page, and its style sheet.

The page needs nothing from outside and no scripts; it reads in light and dark, on a phone, and prints. What stands in
it is decided in the rooms.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

from release_kit.core.pictures import Picture, number_text

MAX_ROWS = 60
"""Longer tables are cut on the page; the file that they name holds every row."""

_ID = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--faint:#59636e;--paper:#fff;--panel:#f6f8fa;--line:#d8dee4;--blue:#0b62c4;
--holds:#0072b2;--fails:#b4480a;--untold:#59636e;--warn:#fff4e5;--warnline:#d9822b}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9da7b3;--paper:#0d1117;--panel:#161b22;--line:#30363d;
--blue:#6cb0ff;--holds:#58a6e0;--fails:#f0883e;--untold:#9da7b3;--warn:#2b2114}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:28px 20px 60px;background:var(--paper);color:var(--ink);
font:15px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
h1{font-size:1.7em;margin:0 0 .2em}h2{font-size:1.25em;margin:2.2em 0 .5em;border-bottom:1px solid var(--line);
padding-bottom:.25em}h3{font-size:1em;margin:1.4em 0 .4em}
p{margin:.5em 0}.lead,.note,.trace{color:var(--faint)}.note,.trace{font-size:.86em}
nav a{margin-right:14px;white-space:nowrap}a{color:var(--blue)}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.88em;margin:.6em 0;width:100%}
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--faint);font-weight:600}
details{margin:.6em 0}summary{cursor:pointer;color:var(--blue)}details li{font-size:.88em;margin:.3em 0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:1.2em 0;break-inside:avoid}figure svg,figure img{display:block;width:100%;height:auto;background:#fff;
border:1px solid var(--line);border-radius:8px;padding:8px}
figcaption{color:var(--faint);font-size:.86em;margin-top:.4em}
.doubt{background:var(--warn);border-left:4px solid var(--warnline);padding:10px 16px;border-radius:4px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:12px}
.card{background:var(--panel);border:1px solid var(--line);border-top:4px solid var(--untold);border-radius:8px;
padding:12px 14px;break-inside:avoid}.card.holds{border-top-color:var(--holds)}
.card.fails{border-top-color:var(--fails)}
.badge{font-weight:700;font-size:.84em;color:var(--untold)}.holds .badge{color:var(--holds)}
.fails .badge{color:var(--fails)}.card .value{font-size:1.15em;font-variant-numeric:tabular-nums}
.card p{margin:.3em 0}.card .small{font-size:.84em;color:var(--faint)}
@media (max-width:640px){figure{overflow-x:auto}figure svg,figure img{min-width:680px}.wide table{min-width:760px}}
@media print{body{max-width:none;padding:0;font-size:11px}nav{display:none}.cards{grid-template-columns:1fr 1fr}
.scroll{overflow:visible}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole document."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def section(name: str, heading: str, parts: Iterable[str]) -> str:
    """Return a section with a heading that can be linked to; empty without parts."""
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{inside}\n</section>' if inside else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of plain texts, cut at ``MAX_ROWS``.

    Args:
        heads: headings.
        rows: cells as they are shown.
        numbers: columns that hold numbers; they stand to the right.
    """
    if not rows:
        return ""
    kinds = [' class="n"' if index in numbers else "" for index in range(len(heads))]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, heads, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows[:MAX_ROWS]
    ]
    body = "\n".join(lines)
    more = f"{len(rows) - MAX_ROWS:,} more rows stand in the file." if len(rows) > MAX_ROWS else ""
    shown = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    return shown + (paragraph(more, "note") if more else "")


def cell(value: float | None, source: str, rows: Iterable[int], decimals: int = 3) -> str:
    """Return a number as HTML that says which rows (from 0) of which file it is made of; a dash for no number."""
    return "—" if value is None else traced(number_text(value, decimals), source, rows)


def traced(text: str, source: str, rows: Iterable[int | str]) -> str:
    """Return text that says which rows (or, in JSON, which key) of which file it is made of."""
    place = escape(f"{source}#{','.join(map(str, rows))}")
    return f'<span data-source="{place}" title="{place}">{escape(text)}</span>'


def traced_table(
    heads: Sequence[str], rows: Sequence[Sequence[str] | str], numbers: Iterable[int], *, limit: int = MAX_ROWS
) -> str:
    """Return a table whose cells are HTML already, cut at ``limit``; a text in place of a row is a heading."""
    if not rows:
        return ""
    right = set(numbers)

    def kind(index: int) -> str:
        return ' class="n"' if index in right else ""

    def line(row: Sequence[str] | str) -> str:
        if isinstance(row, str):
            return f'<th colspan="{len(heads)}">{row}</th>'
        return "".join(f"<td{kind(k)}>{text}</td>" for k, text in enumerate(row))

    head = "".join(f"<th{kind(k)}>{escape(text)}</th>" for k, text in enumerate(heads))
    body = "\n".join(f"<tr>{line(row)}</tr>" for row in rows[:limit])
    more = f"{len(rows) - limit:,} more rows stand in the file." if len(rows) > limit else ""
    shown = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    return shown + (paragraph(more, "note") if more else "")


def trace(path: str, digests: dict[str, str]) -> str:
    """Return the line that says which file the numbers above stand in, with its digest; empty without such a file."""
    if path not in digests:
        return ""
    return f'<p class="trace">Numbers: <code>{escape(path)}</code>, sha256 <code>{digests[path]}</code></p>'


def figure(picture: Picture) -> str:
    """Return a picture inside the page with its note: as SVG, its ids made its own, or as PNG where there is no SVG."""
    if not picture.svg:
        data = base64.b64encode(picture.png).decode("ascii")
        own = f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'
    else:
        svg = picture.svg.decode("utf-8")
        own = _ID.sub(lambda match: f"{match.group(1)}{picture.name}-{match.group(2)}", svg[svg.index("<svg ") :])
    return f"<figure>\n{own.strip()}\n<figcaption>{escape(picture.note)}</figcaption>\n</figure>"
