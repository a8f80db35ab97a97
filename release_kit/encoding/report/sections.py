"""What stands in the report of an analysis, section by section. Every number carries the file and the rows that it is
made of: hover over it, or read its ``data-source``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from release_kit.core.page import MAX_ROWS, figure, paragraph, section, trace
from release_kit.core.page import table as plain_table
from release_kit.core.pictures import Picture, number_text
from release_kit.core.wording import counted
from release_kit.encoding.maps.regions import RegionRow
from release_kit.encoding.pipeline.finished import Finished
from release_kit.encoding.pipeline.regions import ALL, TOP
from release_kit.encoding.report.verdicts import FAILS, HOLDS, Rows, Verdict

REGIONS_FILE = "report/regions.parquet"
HEADINGS = {
    "regions": "Regions", "layers": "Layers", "compared": "Models against each other", "parts": "What explains what",
    "maps": "Maps", "modes": "The published choices against the corrected ones", "samples": "Samples",
}  # fmt: skip
_BADGES = {HOLDS: "holds", FAILS: "fails"}
Digests = Mapping[str, str]
Pictures = Sequence[Picture]


def cell(value: float | None, source: str, rows: Iterable[int], decimals: int = 3) -> str:
    """Return a number as HTML that says which rows (from 0) of which file it is made of; a dash for no number."""
    if value is None:
        return "—"
    place = f"{source}#{','.join(map(str, rows))}"
    return f'<span data-source="{escape(place)}" title="{escape(place)}">{number_text(value, decimals)}</span>'


def traced_table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return a table whose cells are HTML already, cut at ``MAX_ROWS``."""
    if not rows:
        return ""

    def kind(index: int) -> str:
        return ' class="n"' if index in numbers else ""

    head = "".join(f"<th{kind(k)}>{escape(text)}</th>" for k, text in enumerate(heads))
    lines = ["".join(f"<td{kind(k)}>{text}</td>" for k, text in enumerate(row)) for row in rows[:MAX_ROWS]]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    more = f"{len(rows) - MAX_ROWS:,} more rows stand in the file." if len(rows) > MAX_ROWS else ""
    shown = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    return shown + (paragraph(more, "note") if more else "")


def head(finished: Finished, present: Sequence[str]) -> str:
    """Return title, what was analysed, and links to the sections."""
    record = finished.record
    names = {"verdicts": "Verdicts", "sources": "Where the numbers come from", **HEADINGS}
    links = " ".join(f'<a href="#{name}">{escape(names[name])}</a>' for name in present)
    who = counted(len(finished.subjects), "subject")
    what = counted(len(record["features"]), "feature space")
    lead = f"{who} of {record['dataset']['name']}; {what}; mode {finished.modes[0]}"
    if len(finished.modes) > 1:
        lead += f", beside it the {finished.modes[1]} mode"
    said = paragraph(record["description"]) if record["description"] else ""
    title = f"<h1>{escape(record['name'])}: what predicts the brain</h1>"
    return f"<header>\n{title}\n{paragraph(lead, 'lead')}{said}<nav>{links}</nav>\n</header>"


def verdicts(found: Sequence[Verdict], digests: Digests) -> str:
    """Return the judged sentences as cards."""
    cards = "".join(_card(each) for each in found)
    files = [trace(f"tables/{name}.parquet", dict(digests)) for name in dict.fromkeys(each.table for each in found)]
    return section("verdicts", "Verdicts", [f'<div class="cards">{cards}</div>', *files]) if found else ""


def _card(verdict: Verdict) -> str:
    place = f"tables/{verdict.table}.parquet#{','.join(map(str, verdict.rows))}"
    value = f'<span data-source="{escape(place)}" title="{escape(place)}">{escape(verdict.value)}</span>'
    lines = [
        f'<p class="badge">{escape(verdict.verdict)}</p>',
        f"<p><strong>{escape(verdict.statement)}</strong></p>",
        f'<p class="value">{value}</p>',
        f'<p class="small">Holds when {escape(verdict.rule)}. Here: {escape(verdict.reason)}.</p>',
    ]
    return f'<div class="card {_BADGES.get(verdict.verdict, "untold")}">{"".join(lines)}</div>'


def body(
    name: str, finished: Finished, tables: Mapping[str, Rows], regions: Sequence[RegionRow], pictures: Pictures,
    digests: Digests,
) -> str:  # fmt: skip
    """Return one section of ``HEADINGS``; empty where there is nothing to say."""
    makers: dict[str, Callable[[], list[str]]] = {
        "regions": lambda: _regions(regions, finished, digests),
        "layers": lambda: [trace("tables/layers.parquet", dict(digests))],
        "compared": lambda: _compared(tables["statistics"], digests, finished.modes[0]),
        "parts": lambda: _parts(tables["partition"], digests, finished.modes[0]),
        "maps": lambda: [paragraph("Values of every voxel: derivative/, a BIDS derivative dataset.", "trace")],
        "modes": lambda: _modes(tables["modes"], digests),
        "samples": lambda: _samples(tables["samples"], digests, finished.modes[0]),
    }
    drawn = [figure(each) for each in pictures if each.section == name]
    if name in ("layers", "maps") and not drawn:
        return ""
    return section(name, HEADINGS[name], [*drawn, *makers[name]()])


def _regions(rows: Sequence[RegionRow], finished: Finished, digests: Digests) -> list[str]:
    source = "tables/encoding_scores.parquet"
    lines = []
    for number, row in enumerate(rows):
        if row.mode != finished.modes[0]:
            continue
        own = {"source": REGIONS_FILE, "rows": (number,)}
        ends = "" if row.low is None else f" [{number_text(row.low, 3)}, {number_text(row.high, 3)}]"
        share = None if row.share_significant is None else 100 * row.share_significant
        model = row.model + ("" if row.annotator == "mean" else f" ({row.annotator})")
        lines.append((
            escape(row.region), escape(row.level or "—"), escape(row.feature), escape(model),
            cell(row.r, source, row.rows) + ends, cell(share, decimals=1, **own), cell(row.r_normalised, **own),
            cell(row.n_voxels, decimals=0, **own), str(row.n_subjects),
        ))  # fmt: skip
    heads = ("Region", "Level", "Feature", "Model", "r [95 % over subjects]", "Significant, %", "r / ceiling", "Voxels",
             "Subjects")  # fmt: skip
    note = (
        "all: every voxel that has a score; top: the 5 % with the best score of cross-validation, chosen without "
        "looking at held-out data. Each model at the layer that cross-validation chose."
    )
    parts = [traced_table(heads, lines, range(4, 9)), paragraph(note, "note"), trace(REGIONS_FILE, dict(digests))]
    return parts if lines else []


def _compared(rows: Rows, digests: Digests, mode: str) -> list[str]:
    source, lines = "tables/statistics.parquet", []
    for n, row in enumerate(rows):
        if row["mode"] != mode or row["difference"] is None:
            continue
        who = f"{row['n']} subjects" if row["test"] == "subjects" else f"sub-{row['subject']}"
        ends = "" if row["low"] is None else f" [{number_text(row['low'], 3)}, {number_text(row['high'], 3)}]"
        ps = [cell(row[name], source, (n,)) for name in ("p_t", "p_sign_flip", "p_wilcoxon")]
        line = (escape(row["name"]), who, escape(row["region"]), cell(row["difference"], source, (n,)) + ends, *ps)
        lines.append((row["test"] != "subjects", line))
    lines.sort(key=lambda each: each[0])
    heads = ("Comparison", "Over", "Region", "Difference of r [95 %]", "p, t", "p, sign flips", "p, Wilcoxon")
    note = (
        "Over subjects: Student's interval of the mean difference. Inside a subject: block bootstrap of held-out time."
    )
    shown = traced_table(heads, [line for _, line in lines], range(3, 7))
    return [shown, paragraph(note, "note"), trace(source, dict(digests))] if lines else []


def _parts(rows: Rows, digests: Digests, mode: str) -> list[str]:
    source, lines = "tables/partition.parquet", []
    for n, row in enumerate(rows):
        if row["mode"] == mode and row["region"] in (ALL, TOP) and row["value"] is not None:
            ends = "" if row["low"] is None else f" [{number_text(row['low'], 4)}, {number_text(row['high'], 4)}]"
            value = cell(row["value"], source, (n,), 4) + ends
            who = f"sub-{escape(row['subject'])}"
            lines.append((escape(row["name"]), who, escape(row["region"]), escape(row["part"]), value))
    heads = ("Banded model", "Subject", "Region", "Part", "Value [95 %, blocks]")
    return [traced_table(heads, lines, (4,)), trace(source, dict(digests))] if lines else []


def _modes(rows: Rows, digests: Digests) -> list[str]:
    source = "tables/modes.parquet"
    groups: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for n, row in enumerate(rows):
        if row["region"] in (ALL, TOP):
            groups.setdefault((row["name"], row["metric"], row["region"]), []).append((n, row))
    lines = []
    for (name, metric, region), found in groups.items():
        numbers = [n for n, _ in found]
        means = [_mean([row[key] for _, row in found]) for key in ("paper", "corrected", "difference")]
        whole = metric in ("n_train", "n_held_out", "layer") or metric.startswith("held-out")
        shown = [cell(value, source, numbers, 1 if whole else 3) for value in means]
        lines.append((escape(name), escape(metric.replace("_", " ")), escape(region), *shown))
    heads = ("What", "Number", "Region", "Paper", "Corrected", "Difference")
    note = "Means over subjects. A number of one mode only has no partner: R² is partitioned in one, r in the other."
    return (
        [traced_table(heads, lines, range(3, 6)), paragraph(note, "note"), trace(source, dict(digests))]
        if lines
        else []
    )


def _samples(rows: Rows, digests: Digests, mode: str) -> list[str]:
    source = "tables/samples.parquet"
    groups: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for n, row in enumerate(rows):
        if row["mode"] == mode:
            groups.setdefault((row["subject"], row["split"]), []).append((n, row))
    lines = []
    for (subject, split), found in groups.items():
        numbers = [n for n, _ in found]
        sums = [sum(row[key] for _, row in found) for key in ("n_train", "n_held_out")]
        titles = ", ".join(dict.fromkeys(row["title"] for _, row in found))
        counts = [cell(value, source, numbers, 0) for value in sums]
        lines.append((f"sub-{escape(subject)}", escape(split), str(len(found)), escape(titles), *counts))
    heads = ("Subject", "Split", "Runs", "Titles", "Training", "Held out")
    return [traced_table(heads, lines, (2, 4, 5)), trace(source, dict(digests))] if lines else []


def sources(finished: Finished, digests: Digests) -> str:
    """Return files with digests, choices of each mode, feature spaces, and who made it."""
    record = finished.record
    files = [(path, digest) for path, digest in sorted(digests.items())]
    modes = list(record["choices"])
    keys = dict.fromkeys(key for mode in modes for key in record["choices"][mode])
    choices = [(key.replace("_", " "), *(_plain(record["choices"][mode].get(key)) for mode in modes)) for key in keys]
    features = [
        (each["name"], each["level"] or "—", each["kind"], each["model"] or "—", _plain(each["layers"]),
         "—" if each["n_parameters"] is None else f"{each['n_parameters']:,}", ", ".join(each["keys"].values()))
        for each in record["features"]
    ]  # fmt: skip
    made = [("release_kit", record["made_by"]["release_kit"]), ("code", record["made_by"]["code"])]
    made += sorted(record["made_by"]["libraries"].items())
    heads = ("Feature", "Level", "Kind", "Model", "Layers", "Parameters", "Key")
    parts = [
        plain_table(("File", "sha256"), files),
        "<h3>Choices</h3>", plain_table(("Choice", *modes), choices),
        "<h3>Features</h3>", plain_table(heads, features, numbers=(5,)),
        "<h3>Made by</h3>", plain_table(("What", "Version"), made),
    ]  # fmt: skip
    return section("sources", "Where the numbers come from", parts)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_plain(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        if len(value) > 6:
            return f"{value[0]:g} to {value[-1]:g}, {len(value)} values"
        return ", ".join(map(_plain, value))
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
