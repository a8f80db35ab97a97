"""What stands in the report of an analysis, section by section, verdicts first. Numbers carry the file and the rows
that they are made of (``tables.py``); files carry their digests.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from release_kit.core.page import figure, paragraph, section, trace
from release_kit.core.page import table as plain_table
from release_kit.core.pictures import Picture
from release_kit.core.wording import counted
from release_kit.encoding.maps.flatmap import can_flatten, flats_of
from release_kit.encoding.maps.regions import RegionRow
from release_kit.encoding.pipeline.finished import FINISHED_FILE, Finished
from release_kit.encoding.pipeline.partitions import PARTITIONS
from release_kit.encoding.pipeline.units import FITS
from release_kit.encoding.report.modes import SOURCE as MODES
from release_kit.encoding.report.modes import modes
from release_kit.encoding.report.tables import (
    CEILING,
    PARTITION,
    REGIONS_FILE,
    SCORES,
    STATISTICS,
    cell,
    comparisons,
    parts,
    regions,
    traced,
    traced_table,
)
from release_kit.encoding.report.verdicts import FAILS, HOLDS, Rows, Tested, Verdict

HEADINGS = {
    "regions": "Regions", "layers": "Layers", "compared": "Models against each other", "parts": "What explains what",
    "maps": "Maps", "modes": "The published choices against the corrected ones", "samples": "Samples",
}  # fmt: skip
_BADGES = {HOLDS: "holds", FAILS: "fails"}
Digests = Mapping[str, str]
Pictures = Sequence[Picture]


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


def verdicts(found: Sequence[Verdict], digests: Digests, lacking: Mapping[Tested, str]) -> str:
    """Return the judged sentences as cards, and which tests had too few permutations to call a voxel."""
    cards = "".join(_card(each) for each in found)
    files = [trace(f"tables/{name}.parquet", dict(digests)) for name in dict.fromkeys(each.table for each in found)]
    notes = [
        paragraph(f"sub-{subject}, {feature}{'' if annotator == 'mean' else f' ({annotator})'}: {text}.", "note")
        for (subject, feature, annotator), text in lacking.items()
    ]
    return section("verdicts", "Verdicts", [f'<div class="cards">{cards}</div>', *notes, *files]) if found else ""


def _card(verdict: Verdict) -> str:
    value = traced(verdict.value, f"tables/{verdict.table}.parquet", verdict.rows)
    lines = [
        f'<p class="badge">{escape(verdict.verdict)}</p>',
        f"<p><strong>{escape(verdict.statement)}</strong></p>",
        f'<p class="value">{value}</p>',
        f'<p class="small">Holds when {escape(verdict.rule)}. Here: {escape(verdict.reason)}.</p>',
    ]
    return f'<div class="card {_BADGES.get(verdict.verdict, "untold")}">{"".join(lines)}</div>'


def body(
    name: str, finished: Finished, tables: Mapping[str, Rows], over: Sequence[RegionRow], pictures: Pictures,
    digests: Digests,
) -> str:  # fmt: skip
    """Return one section of ``HEADINGS``; empty where there is nothing to say."""
    mode = finished.modes[0]
    makers: dict[str, Callable[[], list[str]]] = {
        "regions": lambda: _with_files(regions(over, tables["ceiling"], mode), digests, REGIONS_FILE, SCORES, CEILING),
        "layers": lambda: [trace("tables/layers.parquet", dict(digests))],
        "compared": lambda: _with_files(comparisons(tables["statistics"], mode), digests, STATISTICS),
        "parts": lambda: _with_files(parts(tables["partition"], mode), digests, PARTITION),
        "maps": lambda: _maps(finished),
        "modes": lambda: _with_files(modes(tables["modes"]), digests, MODES),
        "samples": lambda: _samples(tables["samples"], digests, mode),
    }
    drawn = [figure(each) for each in pictures if each.section == name]
    if name in ("layers", "maps") and not drawn:
        return ""
    return section(name, HEADINGS[name], [*drawn, *makers[name]()])


def _with_files(found: list[str], digests: Digests, *sources: str) -> list[str]:
    return [*found, *(trace(source, dict(digests)) for source in sources)] if found else []


def _maps(finished: Finished) -> list[str]:
    said = [paragraph("Values of every voxel: derivative/, a BIDS derivative dataset.", "trace")]
    if flats_of(finished.record) and not can_flatten():
        text = "The analysis names flat surfaces. pycortex is not installed here, so that none is drawn."
        said.append(paragraph(text, "note"))
    return said


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
        lines.append(
            (f"sub-{escape(subject)}", escape(split), cell(len(found), source, numbers, 0), escape(titles), *counts)
        )
    heads = ("Subject", "Split", "Runs", "Titles", "Training", "Held out")
    return [traced_table(heads, lines, (2, 4, 5)), trace(source, dict(digests))] if lines else []


def sources(finished: Finished, digests: Digests) -> str:
    """Return files with digests, choices of each mode, feature spaces, and who made it."""
    record = finished.record
    shown = {
        path: digest for path, digest in sorted(digests.items()) if not path.startswith((f"{FITS}/", f"{PARTITIONS}/"))
    }
    others = f"{counted(len(digests) - len(shown), 'more digest')} of fits, tests and partitions in {FINISHED_FILE}."
    modes = list(record["choices"])
    keys = dict.fromkeys(key for mode in modes for key in record["choices"][mode])
    choices = [(key.replace("_", " "), *(_plain(record["choices"][mode].get(key)) for mode in modes)) for key in keys]
    features = [_feature(each, f"features[{k}]") for k, each in enumerate(record["features"])]
    made = [("release_kit", record["made_by"]["release_kit"]), ("code", record["made_by"]["code"])]
    made += sorted(record["made_by"]["libraries"].items())
    heads = ("Feature", "Level", "Kind", "Model", "Layers", "Parameters", "Key")
    parts = [
        plain_table(("File", "sha256"), list(shown.items())), paragraph(others, "note"),
        "<h3>Choices</h3>", plain_table(("Choice", *modes), choices),
        "<h3>Features</h3>", traced_table(heads, features, (5,)),
        "<h3>Made by</h3>", plain_table(("What", "Version"), made),
    ]  # fmt: skip
    return section("sources", "Where the numbers come from", parts)


def _feature(facts: Mapping[str, Any], place: str) -> tuple[str, ...]:
    n = facts["n_parameters"]
    size = "—" if n is None else traced(f"{n:,}", FINISHED_FILE, [f"{place}.n_parameters"])
    texts = (facts["name"], facts["level"] or "—", facts["kind"], facts["model"] or "—", _plain(facts["layers"]))
    return (*map(escape, texts), size, escape(", ".join(facts["keys"].values())))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_plain(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        if len(value) > 6:
            return f"{value[0]:g} to {value[-1]:g}, {len(value)} values"
        return ", ".join(map(_plain, value))
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
