"""What stands on the page of an analysis: doubts first, then verdicts, then every section with pictures and tables.

Each function returns one section as HTML, empty where there is nothing to say. Each table names the file that holds its
numbers, with the digest.
"""

import re
from collections.abc import Sequence
from html import escape

from release_kit.core.page import figure, paragraph, section, table, trace
from release_kit.core.pictures import Picture, words
from release_kit.core.wording import counted
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.figures_style import level_text, within_text
from release_kit.sft.analysis.records import FAILS, HOLDS, Analysis, Findings, Verdict
from release_kit.sft.analysis.report_html import number, p_text, shown
from release_kit.sft.analysis.tables import TABLES_FOLDER, VERDICTS_FILE

Digests = dict[str, str]
Pictures = Sequence[Picture]

HEADINGS = {
    "gains": "Gains over the base",
    "epochs": "Gains by epoch",
    "transfer": "Do gains on one task come with gains on another?",
    "comparisons": "LoRA against full, many examples against few",
    "relations": "Properties of the data against gain",
    "depth": "Where in the model the weights change",
    "map": "Map of models",
    "components": "How many ways to change a model are there?",
}
"""Section → heading, in the order of the page."""

_BADGES = {HOLDS: "holds", FAILS: "fails"}


def head(analysis: Analysis, names: Sequence[str]) -> str:
    """Return title, counts and links."""
    found = analysis.findings
    counts = f"{counted(found.n_cells, 'fine-tuned cell')} of {counted(found.n_runs, 'run')}, {found.n_gains:,} gains"
    beside = analysis.beside
    aside = f" without doubtful base rows; with them {beside.n_gains:,} gains" if beside is not None else ""
    links = "".join(f'<a href="#{name}">{escape(_short(name))}</a>' for name in names)
    return (
        f"<h1>{escape(analysis.study)} {escape(analysis.version)}: what the results say</h1>\n"
        f'<p class="lead">{escape(counts + aside)}. A gain is the score of a fine-tuned model minus that of its '
        f"untouched base; intervals are 95 % and speak about the units that they name.</p>\n<nav>{links}</nav>"
    )


def doubts(analysis: Analysis, digests: Digests) -> str:
    """Return the base rows that no gain should rest on, at the top of the page."""
    if not analysis.doubtful:
        return ""
    rows = [(doubt.base_model, words(doubt.kind), doubt.what) for doubt in analysis.doubtful]
    n = counted(len({doubt.base_model for doubt in analysis.doubtful}), "base model")
    said = f"Scores of {n} are in doubt. Every gain below leaves them out; verdicts are given with them too."
    inside = [
        paragraph(said),
        table(("Base model", "Kind", "What is wrong"), rows),
        trace(f"{TABLES_FOLDER}/doubtful.parquet", digests),
    ]
    return section("doubtful", "Base rows in doubt", [f'<div class="doubt">{"".join(inside)}</div>'])


def verdicts(analysis: Analysis, pictures: Pictures, digests: Digests) -> str:
    """Return one card for each claim and the picture of all intervals."""
    found = analysis.findings.verdicts
    beside = {each.claim: each for each in (analysis.beside.verdicts if analysis.beside else ())}
    cards = "\n".join(_card(each, beside.get(each.claim)) for each in found)
    n = {name: sum(each.verdict == name for each in found) for name in (HOLDS, FAILS)}
    counts = (
        f"{n[HOLDS]} hold",
        f"{n[FAILS]} do not",
        f"{len(found) - sum(n.values())} cannot be told from these data",
    )
    parts = [
        paragraph(f"{len(found)} claims: {', '.join(counts)}. The criterion of each is the same in every study."),
        f'<div class="cards">\n{cards}\n</div>' if cards else "",
        *(figure(each) for each in pictures if each.section == "verdicts"),
        trace(VERDICTS_FILE, digests),
    ]
    return section("verdicts", "Verdicts", parts) if found else ""


def _card(verdict: Verdict, beside: Verdict | None) -> str:
    estimate = verdict.estimate
    lines = [f'<p class="badge">{escape(verdict.verdict)}</p>', f"<p><strong>{escape(verdict.statement)}</strong></p>"]
    if estimate is not None:
        over = f"n = {estimate.n:,}; interval over {counted(estimate.n_units, words(estimate.over))}"
        lines.append(f'<p class="value">{escape(shown(estimate, 3))}</p><p class="small">{escape(over)}</p>')
    lines.append(f'<p class="small">{escape(verdict.measure)}. Holds when {escape(verdict.criterion)}.</p>')
    lines.append(f'<p class="small">{_code(escape(verdict.reason))}</p>')
    if beside is not None and (beside.verdict, beside.estimate) != (verdict.verdict, estimate):
        text = f"With the doubtful rows: {beside.verdict}, {shown(beside.estimate, 3)}"
        lines.append(f'<p class="small">{escape(text)}</p>')
    lines.append(f'<p class="small">Claim of the {escape(verdict.origin)}: <code>{escape(verdict.claim)}</code></p>')
    return f'<div class="card {_BADGES.get(verdict.verdict, "untold")}">{"".join(lines)}</div>'


def _code(text: str) -> str:
    """Return escaped text with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text)


def body(name: str, analysis: Analysis, pictures: Pictures, digests: Digests) -> str:
    """Return one of the sections of ``HEADINGS``."""
    makers = {
        "comparisons": _comparisons, "transfer": _transfers, "relations": _relations, "depth": _depth,
        "components": _components, "epochs": _epochs, "map": _map, "gains": _gains,
    }  # fmt: skip
    own = [figure(each) for each in pictures if each.section == name]
    return section(name, HEADINGS[name], [*own, *makers[name](analysis, analysis.findings, digests)])


def _gains(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    by_metric: dict[Metric, list[float]] = {}
    for effect in found.effects:
        by_metric.setdefault(effect.metric, []).append(effect.gain.value)
    rows = []
    for metric, values in sorted(by_metric.items(), key=lambda item: item[0].key):
        ordered = sorted(values)
        better = 100 * sum(value > 0 for value in values) / len(values)
        ends = (number(ordered[0]), number(ordered[len(ordered) // 2]), number(ordered[-1]))
        rows.append((metric.label, f"{len(values):,}", f"{better:.0f} %", *ends))
    heads = ("Score", "Base, dataset, method", "Improved", "Lowest", "Median", "Highest")
    gains = [table(heads, rows, numbers=range(1, 6)), trace(f"{TABLES_FOLDER}/effects.parquet", digests)]
    return [*gains, *_seed_noise(found, digests)]


def _seed_noise(found: Findings, digests: Digests) -> list[str]:
    rows = [
        (each.metric.label, shown(each.seed_sd, 3), f"{each.seed_sd.n:,}", number(each.dataset_sd, 3))
        for each in found.seed_noise
    ]
    if not rows:
        return []
    heads = ("Score", "Spread over seeds (standard deviation)", "Cells", "Spread over datasets")
    said = "Training again with another seed moves a score by this much; the data must move it further to be seen."
    tables = [table(heads, rows, numbers=(2, 3)), trace(f"{TABLES_FOLDER}/seed_noise.parquet", digests)]
    return ["<h3>How much is the seed's?</h3>", paragraph(said), *tables]


def _epochs(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    return [trace(f"{TABLES_FOLDER}/trajectories.parquet", digests)] if found.trajectories else []


def _transfers(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    strongest = sorted(found.transfers, key=lambda each: (-abs(each.r.value), each.first.key, each.second.key))
    rows = [
        (each.first.label, each.second.label, shown(each.r), f"{each.r.n:,}", shown(each.r_last))
        for each in strongest
    ]  # fmt: skip
    heads = ("Score", "Score", "r of gains, all cells", "Cells", "r, last epochs, within bases")
    return [table(heads, rows, numbers=(3,)), trace(f"{TABLES_FOLDER}/transfers.parquet", digests)]


def _comparisons(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    rows = [
        (
            f"{level_text(each.first)} against {level_text(each.second)}", within_text(each.within),
            each.metric.label, f"{each.wins.n:,}", shown(each.wins), shown(each.difference), p_text(each.difference),
            number(each.correlation),
        )
        for each in found.comparisons
    ]  # fmt: skip
    heads = ("Contrast", "Within", "Score", "Pairs", "Share in which the first is better", "Mean difference", "p", "r")
    return [table(heads, rows, numbers=(3, 6, 7)), trace(f"{TABLES_FOLDER}/comparisons.parquet", digests)]


def _relations(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    rows = [
        (
            words(each.property), "all scores" if each.metric is None else each.metric.label,
            ", ".join(map(words, each.given)) or "nothing", shown(each.r), f"{each.r.n:,}", p_text(each.r),
            shown(each.slope),
        )
        for each in found.relations
    ]  # fmt: skip
    heads = ("Property", "Score", "Given", "Partial r with gain", "n", "p", "Slope (in spreads)")
    return [table(heads, rows, numbers=(4, 5)), trace(f"{TABLES_FOLDER}/relations.parquet", digests)]


def _depth(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    rows = [
        (each.kind, each.method, shown(each.peak_change), shown(each.peak_r), shown(each.peak_agreement))
        for each in found.depth
    ]
    heads = ("Tensors", "Method", "Depth of the largest change", "… of the largest r with gain", "… of agreement")
    return [table(heads, rows), trace(f"{TABLES_FOLDER}/depth.parquet", digests)]


def _map(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    if analysis.map is None:
        return []
    rows = [
        (f"distance, {name}", shown(value), f"{value.n:,}") for name, value in sorted(analysis.map.distances.items())
    ]
    for name, value in sorted(analysis.map.purity.items()):
        chance = analysis.map.chance_purity.get(name)
        said = f"{shown(value)}; by chance {number(chance)}"
        rows.append((f"nearest neighbours with the same {words(name)}, share", said, f"{value.n:,}"))
    rows.append(("stability of neighbours, 0 to 1", shown(analysis.map.stability), f"{analysis.map.stability.n:,}"))
    unit = "Distances are in units of the median distance between models of different bases."
    return [
        table(("What", "Value", "n"), rows, numbers=(2,)), paragraph(unit, "note"),
        trace(f"{TABLES_FOLDER}/map_distances.parquet", digests),
    ]  # fmt: skip


def _components(analysis: Analysis, found: Findings, digests: Digests) -> list[str]:
    rows = []
    for each in found.components:
        dropped = f"; left out for holes: {', '.join(each.dropped)}" if each.dropped else ""
        for index, total in enumerate(each.cumulative[:8]):
            rows.append((
                within_text(each.within), str(index + 1), number(100 * each.shares[index], 1),
                shown_percent(total), number(100 * sum(each.null_shares[: index + 1]), 1),
                f"{len(each.datasets)} datasets, {len(each.metrics)} scores, {len(each.bases)} bases{dropped}",
            ))  # fmt: skip
    heads = ("Cells", "Component", "Share, %", "Together, %", "Together, shuffled, %", "Of")
    return [table(heads, rows, numbers=(1, 2, 4)), trace(f"{TABLES_FOLDER}/components.parquet", digests)]


def shown_percent(estimate) -> str:
    """Return a share as a percentage with its interval."""
    ends = "" if estimate.low is None else f" [{number(100 * estimate.low, 1)}, {number(100 * estimate.high, 1)}]"
    return number(100 * estimate.value, 1) + ends


def sources(analysis: Analysis) -> str:
    """Return what the numbers were taken from, what is missing, what was odd, and how it was done."""
    rows = [(source.path, f"{source.n_rows:,}", source.sha256) for source in analysis.sources]
    missing = [(words(each.section), each.what, each.next_step) for each in analysis.missing]
    settings = [(words(str(key)), _plain(value)) for key, value in analysis.settings.items()]
    parts = [
        table(("File", "Rows", "sha256"), rows, numbers=(1,)),
        "<h3>What could not be said</h3>" if missing else "",
        table(("Section", "What is missing", "Next step"), missing),
        "<h3>What was odd</h3>" if analysis.notes else "",
        "".join(paragraph(note) for note in analysis.notes),
        "<h3>Settings</h3>",
        table(("Setting", "Value"), settings),
    ]
    return section("sources", "Where the numbers come from", parts)


def _plain(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _short(name: str) -> str:
    return {"doubtful": "Doubts", "sources": "Sources", "transfer": "Tasks", "relations": "Data"}.get(
        name, name.capitalize()
    )
