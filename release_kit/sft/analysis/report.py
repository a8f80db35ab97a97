"""From an ``Analysis`` to ``analysis/``: tables, verdicts, pictures, one page, and the summary that cards read.

Owns the files and their order: the summary goes first when anything changes and comes back last, so that its presence
means that all is there. The same analysis gives the same bytes and then nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from release_kit.core.analysis_summary import (
    SUMMARY_FILE,
    AnalysisClaim,
    AnalysisFile,
    AnalysisSummary,
    DoubtfulRow,
)
from release_kit.core.canonical import document_bytes
from release_kit.core.files import write_atomic
from release_kit.core.hashing import digest_bytes
from release_kit.core.page import page
from release_kit.core.pictures import Picture
from release_kit.core.results import RESULTS_FILE
from release_kit.sft.analysis import report_sections as sections
from release_kit.sft.analysis.figures import draw_pictures
from release_kit.sft.analysis.records import Analysis, Verdict
from release_kit.sft.analysis.tables import VERDICTS_FILE, write_analysis

REPORT_FILE = "analysis/report.html"
FIGURES_FOLDER = "analysis/figures"


@dataclass(frozen=True, kw_only=True)
class WrittenAnalysis:
    """What lies in ``analysis/`` now."""

    summary: AnalysisSummary
    files: tuple[str, ...]
    """Every file, relative to the folder, sorted."""
    changed: tuple[str, ...]
    """Those that got other bytes, or are new."""


def write_report(
    folder: Path, analysis: Analysis, *, results_sha256: str, pictures: Sequence[Picture] | None = None
) -> WrittenAnalysis:
    """Write everything that an analysis leaves behind.

    Args:
        folder: the study, or where ``analysis/`` shall lie.
        analysis: what was found.
        results_sha256: ``results_digest`` of the results that it was made from.
        pictures: what ``draw_pictures`` gives, when the caller has it.

    Raises:
        ReleaseKitError: the disk is full or the folder cannot be written; the summary is absent then.
    """
    before = _bytes_of(folder)
    pictures = draw_pictures(analysis) if pictures is None else pictures
    documents = {f"{FIGURES_FOLDER}/{each.name}.svg": each.svg for each in pictures}
    documents |= {f"{FIGURES_FOLDER}/{each.name}.png": each.png for each in pictures}
    (folder / SUMMARY_FILE).unlink(missing_ok=True)
    for path in write_analysis(folder, analysis):
        documents[path.relative_to(folder).as_posix()] = path.read_bytes()
    digests = {path: digest_bytes(data).sha256 for path, data in documents.items()}
    documents[REPORT_FILE] = render_report(analysis, pictures, digests).encode("utf-8")
    digests[REPORT_FILE] = digest_bytes(documents[REPORT_FILE]).sha256
    summary = make_summary(analysis, pictures, digests, results_sha256)
    documents[SUMMARY_FILE] = document_bytes(summary.to_dict())
    for path in sorted(documents, key=lambda each: (each == SUMMARY_FILE, each)):
        write_atomic(folder / path, documents[path], durable=path == SUMMARY_FILE)
    _remove_old_pictures(folder, set(documents))
    changed = tuple(sorted(path for path, data in documents.items() if before.get(path) != digest_bytes(data).sha256))
    return WrittenAnalysis(summary=summary, files=tuple(sorted(documents)), changed=changed)


def render_report(analysis: Analysis, pictures: Sequence[Picture], digests: dict[str, str]) -> str:
    """Return the page.

    Args:
        analysis: what was found.
        pictures: what ``draw_pictures`` drew of it.
        digests: sha256 of the files that tables and pictures stand in, by path.
    """
    bodies = {
        "doubtful": sections.doubts(analysis, digests),
        "verdicts": sections.verdicts(analysis, pictures, digests),
        **{name: sections.body(name, analysis, pictures, digests) for name in sections.HEADINGS},
        "sources": sections.sources(analysis),
    }
    present = {name: text for name, text in bodies.items() if text}
    title = f"{analysis.study} {analysis.version}: what the results say"
    return page(title, [sections.head(analysis, list(present)), *present.values()])


def make_summary(
    analysis: Analysis, pictures: Sequence[Picture], digests: dict[str, str], results_sha256: str
) -> AnalysisSummary:
    """Return what cards read: the first picture of each section, verdicts, doubts, and what it all rests on."""
    first: dict[str, Picture] = {}
    for picture in pictures:
        first.setdefault(picture.section, picture)
    doubts: dict[str, list[str]] = {}
    for doubt in analysis.doubtful:
        doubts.setdefault(doubt.base_model, []).append(doubt.what)
    figures = {f"{FIGURES_FOLDER}/{each.name}.svg": each.title for each in first.values()}
    return AnalysisSummary(
        results_sha256=results_sha256,
        verdicts=AnalysisFile(path=VERDICTS_FILE, sha256=digests[VERDICTS_FILE]),
        report=AnalysisFile(path=REPORT_FILE, sha256=digests[REPORT_FILE]),
        figures=tuple(AnalysisFile(path=path, sha256=digests[path], title=title) for path, title in figures.items()),
        claims=tuple(_claim(index, each) for index, each in enumerate(analysis.findings.verdicts)),
        doubtful=tuple(DoubtfulRow(where=name, reason="; ".join(said)) for name, said in doubts.items()),
        sources={each.path: each.sha256 for each in analysis.sources if each.path != RESULTS_FILE},
    )


def _claim(index: int, verdict: Verdict) -> AnalysisClaim:
    claim = AnalysisClaim(
        claim=verdict.statement, verdict=verdict.verdict, key=f"/verdicts/{index}", measure=verdict.measure,
        reason=verdict.reason,
    )  # fmt: skip
    estimate = verdict.estimate
    if estimate is None:
        return claim
    return replace(claim, estimate=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)


def _bytes_of(folder: Path) -> dict[str, str]:
    """Return path → sha256 of what lies in ``analysis/``."""
    root = folder / "analysis"
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else []
    return {path.relative_to(folder).as_posix(): digest_bytes(path.read_bytes()).sha256 for path in files}


def _remove_old_pictures(folder: Path, keep: set[str]) -> None:
    for path in sorted((folder / FIGURES_FOLDER).glob("*")):
        if path.suffix in (".svg", ".png") and path.relative_to(folder).as_posix() not in keep:
            path.unlink()
