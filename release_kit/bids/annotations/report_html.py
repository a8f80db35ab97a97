"""The quality report as one HTML page: no server, no script, nothing fetched; it prints, and follows a dark screen.

Owns the page and its tables; pictures are ``timeline.py``. Every text from a study is escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby

from release_kit.bids.annotations.agreement import Agreement
from release_kit.bids.annotations.bins import Null
from release_kit.bids.annotations.quality_records import CODES, Finding, Quality, StimulusFacts, Track
from release_kit.bids.annotations.timeline import clock, colour, level_order, timeline_svg
from release_kit.core.wording import counted

SHOWN = 12
"""Findings of one code that are listed; how many more there are is said."""


def render_report(quality: Quality) -> str:
    """Return the page of a report; the same report gives the same bytes."""
    body = [
        f"<h1>{escape(quality.name)}</h1>",
        '<p class="lead">Quality of the annotations</p>',
        *_tiles(quality),
        *_findings(quality.findings),
        *_stimuli(quality),
        *_agreements(quality.agreements),
        *_labels(quality),
        *_drifts(quality),
        *_notes(quality.notes),
    ]
    title = f"<title>{escape(quality.name)}: quality of the annotations</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{title}'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body><main>\n' + (
        "\n".join(body) + "\n</main></body></html>\n"
    )


def _tiles(quality: Quality) -> Iterator[str]:
    hours = sum(stimulus.duration_s or 0.0 for stimulus in quality.stimuli) / 3600
    n_errors = sum(finding.severity == "error" for finding in quality.findings)
    annotators = {track.annotator for track in quality.tracks}
    tiles = [
        (f"{len(quality.stimuli):,}", f"stimuli, {hours:.2f} h"),
        (f"{len({track.level for track in quality.tracks}):,}", "levels"),
        (f"{len(annotators):,}", "annotators"),
        (f"{sum(track.n_intervals for track in quality.tracks):,}", "intervals"),
        (f"{n_errors:,}", "errors"),
        (f"{len(quality.findings) - n_errors:,}", "warnings"),
    ]
    looks = ["", "", "", "", " bad" if n_errors else " good", " warn" if len(quality.findings) > n_errors else " good"]
    cells = (f'<div class="tile{look}"><b>{n}</b>{text}</div>' for (n, text), look in zip(tiles, looks, strict=True))
    yield f'<div class="tiles">{"".join(cells)}</div>'


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    yield "<h2>What to look at</h2>"
    if not findings:
        yield '<p class="fine">Nothing was found.</p>'
    for code, group in groupby(findings, key=lambda finding: finding.code):
        members = list(group)
        severity, meaning = CODES[code]
        yield f'<details class="finding {severity}"{" open" if severity == "error" or len(members) <= 3 else ""}>'
        yield f'<summary><span class="badge">{severity}</span> <code>{code}</code> {escape(meaning)}'
        yield f'<span class="count">{len(members):,}</span></summary><ul>'
        for finding in members[:SHOWN]:
            times = f' <span class="times">{finding.n:,}&times;</span>' if finding.n > 1 else ""
            yield f"<li><b>{escape(finding.where)}</b>: {escape(finding.what)}{times}</li>"
        if len(members) > SHOWN:
            yield f"<li>and {len(members) - SHOWN:,} more, in the JSON</li>"
        yield "</ul></details>"


def _stimuli(quality: Quality) -> Iterator[str]:
    yield "<h2>In time</h2>"
    yield _legend(sorted({track.level for track in quality.tracks}, key=level_order))
    for stimulus in quality.stimuli:
        tracks = [track for track in quality.tracks if track.stimulus == stimulus.label]
        agreements = [item for item in quality.agreements if item.stimulus == stimulus.label]
        yield f"<section>{_heading(stimulus)}"
        if tracks:
            yield f'<div class="picture">{timeline_svg(stimulus, tracks, agreements)}</div>'
            yield from _track_table(tracks)
        else:
            yield '<p class="fine">It has no annotations.</p>'
        yield "</section>"


def _heading(stimulus: StimulusFacts) -> str:
    length = clock(stimulus.duration_s) if stimulus.duration_s is not None else "length not known"
    return f"<h3>{escape(stimulus.title)} <small><code>stim-{escape(stimulus.label)}</code> {length}</small></h3>"


def _legend(levels: Iterable[str]) -> str:
    swatches = [f'<span><i style="background:{colour(level)}"></i>{escape(level)}</span>' for level in levels]
    kinds = ['<span><i class="bed"></i>no text</span>', '<span><i class="empty"></i>marked, without a text</span>']
    kinds.append('<span><i class="again"></i>shown again by the next run</span>')
    return f'<p class="legend">{"".join(swatches + kinds)}</p>'


def _track_table(tracks: Sequence[Track]) -> Iterator[str]:
    heads = ("annotation", "level", "annotator", "language", "intervals", "median length", "covered", "gaps")
    heads += ("longest gap", "overlapping", "different texts", "repeated")
    rows = [
        (
            f"<code>{escape(track.annotation)}</code>",
            escape(track.level),
            escape(track.annotator),
            escape(track.language),
            f"{track.n_intervals:,}",
            _seconds(track.median_duration_s),
            _bar(track.coverage, colour(track.level)),
            f"{track.n_gaps:,}",
            f"{_seconds(track.longest_gap[1] - track.longest_gap[0])} at {clock(track.longest_gap[0])}"
            if track.longest_gap
            else "&ndash;",
            _seconds(track.overlap_s),
            f"{track.n_distinct:,}",
            f"{track.n_repeated:,}",
        )
        for track in tracks
    ]
    title = f"Figures of {counted(len(tracks), 'annotation')}"
    yield f"<details><summary>{title}</summary>{_table(heads, rows, text=4)}</details>"


def _agreements(agreements: Sequence[Agreement]) -> Iterator[str]:
    if not agreements:
        return
    yield "<h2>Agreement of annotators</h2>"
    yield (
        "<p>Shared tokens (F1) and nearness of meaning (cosine) of what two annotators of one level and language wrote "
        "in the same second. The grey mark is the same at shuffled times, up to its 95th percentile: what the subject "
        "of the film alone explains.</p>"
    )
    heads = ("stimulus", "level", "language", "annotations", "both wrote", "tokens (F1)", "Jaccard", "meaning (cosine)")
    rows = [
        (
            escape(item.stimulus),
            escape(item.level),
            escape(item.language),
            f"<code>{escape(item.left)}</code> <code>{escape(item.right)}</code>",
            f"{item.n_bins:,} s",
            _against(item.f1, item.f1_null, colour(item.level)),
            "&ndash;" if item.jaccard is None else f"{item.jaccard:.2f}",
            _against(item.cosine, item.cosine_null, colour(item.level)),
        )
        for item in agreements
    ]
    yield _table(heads, rows, text=4)


def _labels(quality: Quality) -> Iterator[str]:
    if quality.labels:
        yield "<h2>Labels</h2><p>Krippendorff's alpha (nominal) over seconds: 1 is full agreement, 0 is chance.</p>"
        rows = [
            (
                escape(item.stimulus),
                escape(item.level),
                escape(item.language),
                " ".join(f"<code>{escape(name)}</code>" for name in item.annotations),
                f"{item.alpha:.3f}",
                f"{item.n_bins:,} s",
            )
            for item in quality.labels
        ]
        yield _table(("stimulus", "level", "language", "annotations", "alpha", "over"), rows, text=4)


def _drifts(quality: Quality) -> Iterator[str]:
    if not quality.end_drifts and not quality.lag_drifts:
        return
    yield "<h2>Drift</h2>"
    if quality.end_drifts:
        yield "<p>Ends of files on the clock of a run against what the run shows; a ratio of 1 is in time.</p>"
        rows = [
            (
                f"<code>{escape(item.annotation)}</code>",
                f"{len(item.parts):,}",
                f"{item.ratio:.4f}",
                f"{item.residual_s:.2f} s",
            )
            for item in quality.end_drifts
        ]
        yield _table(("annotation", "runs", "ratio", "distance from the line"), rows, text=1)
    if quality.lag_drifts:
        yield "<p>By how much the second annotator is late, where their tokens agree best, part by part.</p>"
        rows = [
            (
                escape(item.stimulus),
                f"<code>{escape(item.left)}</code> <code>{escape(item.right)}</code>",
                f"{item.lag_s:+g} s" if item.lag_s else "0 s",
                "&ndash;" if item.stretch is None else f"{item.stretch:+.4f}",
                " ".join(f"{lag:+d}" if lag else "0" for _, lag in item.parts),
            )
            for item in quality.lag_drifts
        ]
        yield _table(("stimulus", "annotations", "median lag", "stretch", "lag of each part, s"), rows, text=2)


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        yield "<h2>Not looked at</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: int) -> str:
    """The first ``text`` columns are words, the others figures."""
    look = ["" if index < text else ' class="n"' for index in range(len(heads))]
    head = "".join(f"<th{kind}>{name}</th>" for name, kind in zip(heads, look, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, look, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _bar(share: float, fill: str) -> str:
    width = f"{min(1.0, share):.1%}"
    return f'<span class="bar"><i style="width:{width};background:{fill}"></i></span> {share:.1%}'


def _against(value: float | None, null: Null | None, fill: str) -> str:
    """A bar of a score with the range of its null as a grey mark."""
    if value is None:
        return "&ndash;"
    bar = f'<i style="width:{max(0.0, min(1.0, value)):.1%};background:{fill}"></i>'
    if null is None:
        return f'<span class="bar">{bar}</span> {value:.2f}'
    low, high = (max(0.0, min(1.0, at)) for at in (null.mean, null.p95))
    mark = f'<u style="left:{low:.1%};width:{max(0.02, high - low):.1%}"></u>'
    return f'<span class="bar">{bar}{mark}</span> {value:.2f} <small>({null.mean:.2f})</small>'


def _seconds(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:,.1f}".rstrip("0").rstrip(".") + " s"


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5d6b7a;--line:#d9dfe6;--paper:#fff;--back:#f4f6f8;--bed:#e6eaef;
--bad:#b3261e;--warn:#9a6a00;--good:#1d7a4f}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9aa7b5;--line:#36414d;--paper:#1b222a;--back:#12171d;
--bed:#2b343e;--bad:#ff8a80;--warn:#f0c060;--good:#6fd3a2}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 64px}
h1{margin:0;font-size:28px;line-height:1.2}h2{margin:40px 0 10px;font-size:20px}h3{margin:0 0 10px;font-size:16px}
small{font-size:13px;color:var(--soft);font-weight:400}.lead{margin:2px 0 20px;color:var(--soft)}
code{font:13px ui-monospace,Menlo,Consolas,monospace}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px}
.tile{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 14px;color:var(--soft)}
.tile b{display:block;font-size:24px;line-height:1.2;color:var(--ink)}
.tile.bad b{color:var(--bad)}.tile.warn b{color:var(--warn)}.tile.good b{color:var(--good)}
section,.finding{background:var(--paper);border:1px solid var(--line);border-radius:8px;margin:12px 0}
section{padding:16px 18px}
.finding{border-left:4px solid var(--warn);margin:8px 0}.finding.error{border-left-color:var(--bad)}
summary{cursor:pointer}.finding summary{padding:9px 14px}.finding ul{margin:0;padding:0 14px 12px 34px}
.badge{font-size:12px;font-weight:600;color:var(--warn)}.error .badge{color:var(--bad)}
.count{float:right;color:var(--soft)}.times{color:var(--soft)}
.fine{color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;margin:0 0 6px;color:var(--soft);font-size:13px}
.legend i{display:inline-block;width:14px;height:11px;border-radius:2px;margin-right:6px;vertical-align:-1px}
i.bed{background:var(--bed)}i.empty{background:#c33;opacity:.45}
i.again{background:var(--warn)}
.picture{overflow-x:auto}.timeline{display:block;width:100%;min-width:720px;height:auto}
.timeline .name{font-size:11.5px;fill:var(--ink)}.timeline .note,.timeline .tick{font-size:11px;fill:var(--soft)}
.timeline .grid{stroke:var(--line);stroke-width:1}.timeline .bed{fill:var(--bed)}
.timeline .run{fill:#8794a3}.timeline .odd{fill:#64717f}.timeline .again{fill:var(--warn)}
.timeline .empty{fill:#c33;fill-opacity:.45}
.timeline .end{stroke:var(--paper);stroke-width:1;fill:none}
.scroll{overflow-x:auto;margin-top:8px}
table{border-collapse:collapse;width:100%;font-size:13.5px;background:var(--paper)}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
th{color:var(--soft);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{position:relative;display:inline-block;width:84px;height:9px;background:var(--bed);border-radius:2px;overflow:hidden}
.bar i{position:absolute;inset:0 auto 0 0}.bar u{position:absolute;top:0;bottom:0;background:var(--ink);opacity:.38}
section details summary{color:var(--soft);margin-top:8px}
@media print{body{background:#fff}section,.finding{break-inside:avoid}}
""".strip()
