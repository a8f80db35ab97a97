"""What the analysis of a study adds to the card of its release: verdicts, doubtful rows, figures.

Owns the tables, figures and files; reading them is ``analysis_input.py``.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from release_kit.core.analysis_summary import SUMMARY_FILE, AnalysisClaim, AnalysisFile
from release_kit.core.canonical import document_bytes
from release_kit.release.cards.analysis_input import CardAnalysis, published_path
from release_kit.release.cards.markdown import NOTHING, escaped
from release_kit.release.cards.numbers import fixed
from release_kit.release.cards.trace import NumberRow, NumbersTable

DECIMALS = 3
CLAIM_RULES = {
    "Verdict": "`verdict` of the claim that `key` names in `file`",
    "Estimate": "`estimate` of that claim",
    "Interval": "`low` to `high` of that claim",
    "n": "`n` of that claim",
}


def analysis_texts(analysis: CardAnalysis | None) -> Iterator[tuple[str, str]]:
    """Yield ``(path in the release tree, text)`` of everything that the analysis adds to the release."""
    if analysis is None:
        return
    for path, data in analysis.files.items():
        yield f"index/{published_path(path)}", data.decode("utf-8")
    yield f"index/{SUMMARY_FILE}", document_bytes(analysis.summary.to_dict()).decode("utf-8")


def analysis_facts(analysis: CardAnalysis | None) -> dict[str, Any]:
    """Return what the template of the release's card says of an analysis."""
    if analysis is None:
        return {"analysis": None, "analysis_figures": [], "analysis_report": None}
    summary = analysis.summary
    return {
        "analysis": True,
        "analysis_report": published_path(summary.report.path),
        "analysis_figures": [_figure(figure) for figure in summary.figures],
    }


def analysis_tables(analysis: CardAnalysis | None) -> list[NumbersTable]:
    """Return the tables of verdicts and of doubtful base rows."""
    if analysis is None:
        return []
    summary = analysis.summary
    file = f"index/{published_path(summary.verdicts.path)}"
    verdicts = NumbersTable(
        name="verdicts",
        keys=("Claim", "Measure"),
        columns=tuple(CLAIM_RULES),
        rows=[_claim_row(claim, file) for claim in summary.claims],
        rules=CLAIM_RULES,
        align="left",
    )
    doubtful = NumbersTable(
        name="doubtful",
        keys=("Base row",),
        columns=("Why it is doubtful",),
        rows=[NumberRow(keys=(escaped(row.where),), shown=(escaped(row.reason),)) for row in summary.doubtful],
        align="left",
        source=f"index/{SUMMARY_FILE}: doubtful",
    )
    return [verdicts, doubtful]


def analysis_sources(analysis: CardAnalysis | None) -> dict[str, str | None]:
    """Return the files that verdicts and figures come from, each with its sha256."""
    if analysis is None:
        return {}
    return {f"index/{published_path(file.path)}": file.sha256 for file in analysis.summary.files}


def _figure(figure: AnalysisFile) -> dict[str, str]:
    return {"path": published_path(figure.path), "title": escaped(figure.title or PurePosixPath(figure.path).stem)}


def _claim_row(claim: AnalysisClaim, file: str) -> NumberRow:
    interval = NOTHING
    if claim.low is not None and claim.high is not None:
        interval = f"{fixed(claim.low, DECIMALS)} to {fixed(claim.high, DECIMALS)}"
    shown = (
        f"**{escaped(claim.verdict)}**",
        NOTHING if claim.estimate is None else fixed(claim.estimate, DECIMALS),
        interval,
        NOTHING if claim.n is None else str(claim.n),
    )
    origin = {"file": file, "key": claim.key, "estimate": claim.estimate, "low": claim.low, "high": claim.high}
    return NumberRow(keys=(escaped(claim.claim), escaped(claim.measure) or NOTHING), shown=shown, origin=origin)
