"""The section of the page on what features stand for at the last step: tokens, synonyms, concepts; people's labels."""

from collections.abc import Mapping, Sequence
from html import escape

from release_kit.core.page import cell, paragraph, section, trace, traced, traced_table
from release_kit.core.wording import counted
from release_kit.sae.claims.read import StudyTables, source
from release_kit.sae.prepare.jmdict import JMDICT_ATTRIBUTION
from release_kit.sae.prepare.meanings import JMDICT
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.tables.labels import label_agreement

HEADING = "What features stand for at the last step"
_HEAD = "granularity_"
_COLUMNS = {
    "token": "One token", "synonym": "Synonyms", "synonym_shuffled": "Synonyms, meanings shuffled",
    "concept": "A concept", "none": "Nothing in common",
}  # fmt: skip
_WITH_WORDS = ("synonym", "synonym_shuffled")


def kinds_section(study: SaeStudy, tables: StudyTables, digests: Mapping[str, str]) -> str:
    """Return the section: shares of kinds by size and layer, and how well they agree with people's labels."""
    rows = [
        (n, {**row, "kind": row["metric"].removeprefix(_HEAD)})
        for n, row in enumerate(tables.saes) if row["metric"].startswith(_HEAD)
    ]  # fmt: skip
    kinds = [name for name in _COLUMNS if any(row["kind"] == name for _, row in rows)]
    lines: list[Sequence[str] | str] = []
    for size in tables.sizes:
        own = [(n, row) for n, row in rows if row["size"] == size]
        last = max((row["step"] for _, row in own), default=0)
        here = [(n, row) for n, row in own if row["step"] == last]
        if here:
            lines.append(f"{escape(size)}, step {last:,}")
        for layer in sorted({row["layer"] for _, row in here}):
            of_layer = [(n, row) for n, row in here if row["layer"] == layer]
            seeds = sorted({row["seed"] for _, row in of_layer})
            lines.append((str(layer), *(_mean(of_layer, kind) for kind in kinds),
                          cell(len(seeds), source("saes"), [n for n, _ in of_layer], 0)))  # fmt: skip
    if not lines:
        return ""
    heads = ("Layer", *(_COLUMNS[kind] for kind in kinds), "Seeds")
    shown = traced_table(heads, lines, range(1, len(heads)), limit=len(lines))
    parts = [paragraph(_note(study, kinds), "note"), shown, *_agreement(tables, digests)]
    return section("kinds", HEADING, [*parts, trace(source("saes"), dict(digests))])


def _mean(rows: Sequence[tuple[int, Mapping]], kind: str) -> str:
    known = [
        (n, row["value"]) for n, row in rows
        if row["kind"] == kind and row["value"] is not None and row["value"] == row["value"]
    ]  # fmt: skip
    if not known:
        return "—"
    return cell(sum(value for _, value in known) / len(known), source("saes"), [n for n, _ in known])


def _note(study: SaeStudy, kinds: Sequence[str]) -> str:
    said = (
        "Share of the features that have a language and enough contexts, mean over seeds. One token: it is the peak of "
        "half of the top contexts or more; a concept: it is not, and most contexts peak at tokens that return."
    )
    if not set(_WITH_WORDS) & set(kinds):
        return f"{said} No dictionary was given: words of one meaning are among concepts, or nothing."
    words = JMDICT_ATTRIBUTION if study.classify.meanings == JMDICT else f"meanings of {study.classify.meanings}"
    return (
        f"{said} Synonyms: different words of one meaning, in one language or both ({words}); with meanings given to "
        "other words of the language at random chance alone makes as many as the column beside says."
    )


def _agreement(tables: StudyTables, digests: Mapping[str, str]) -> list[str]:
    if "labels" not in tables.tables:
        return []
    found = label_agreement(tables.tables["labels"])
    if found is None:
        return [paragraph("No labelled feature has contexts enough for the rule.", "note")]
    rows = range(tables.tables["labels"].num_rows)
    figures = {
        "agree": found.accuracy, "Cohen's kappa": found.kappa, "agree on token or not": found.token_accuracy,
        "its kappa": found.token_kappa,
    }  # fmt: skip
    line = tuple(traced(f"{value:.2f}", source("labels"), rows) for value in figures.values())
    shown = traced_table(tuple(figures), [line], range(len(line)), limit=1)
    said = f"Beside people's labels of {counted(found.n, 'feature')}:"
    return [paragraph(said), shown, trace(source("labels"), dict(digests))]
