"""The analysis of a study, as the cards of its release take it in.

Reads ``analysis/summary.json`` and the files that it names, never the rooms that made them. An analysis of other
results than those of today adds nothing (``check`` reports it): no card shows verdicts that no longer follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.analysis_summary import (
    ANALYSIS_FOLDER,
    AnalysisSummary,
    read_analysis_files,
    read_summary,
    results_digest,
)
from release_kit.core.results import RESULTS_FILE, Result, read_results

FIGURES = "figures/analysis"
"""Where figures of the analysis lie beside the card of the release."""


@dataclass(frozen=True, kw_only=True)
class CardAnalysis:
    """An analysis that follows from the results of today."""

    summary: AnalysisSummary
    files: Mapping[str, bytes]
    """Path relative to the study → bytes."""


def read_card_analysis(study_folder: Path, rows: Sequence[Result] | None = None) -> CardAnalysis | None:
    """Return the analysis of a study; None when there is none, or when it is of other results.

    Args:
        study_folder: the study.
        rows: all results of the study, when the caller has them; else those of ``tables/results.parquet``.

    Raises:
        RecordError: the analysis is there and damaged.
    """
    summary = read_summary(study_folder)
    if summary is None:
        return None
    if rows is None:
        path = study_folder / RESULTS_FILE
        rows = read_results(path) if path.is_file() else []
    if results_digest(rows) != summary.results_sha256:
        return None
    return CardAnalysis(summary=summary, files=read_analysis_files(study_folder, summary))


def published_path(path: str) -> str:
    """Return where a file of the analysis lies beside the card: figures under ``figures/``, the rest as it was."""
    own = f"{ANALYSIS_FOLDER}/figures/"
    return f"{FIGURES}/{path.removeprefix(own)}" if path.startswith(own) else path
