"""Leaves in a study what an analysis of its results leaves, without analysing anything."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from release_kit.core.analysis_summary import (
    SUMMARY_FILE,
    AnalysisClaim,
    AnalysisFile,
    AnalysisSummary,
    DoubtfulRow,
    results_digest,
)
from release_kit.core.canonical import document_bytes
from release_kit.core.hashing import digest_bytes
from release_kit.core.results import RESULTS_FILE, read_results

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><title>Verdicts</title></svg>\n'
CLAIM = AnalysisClaim(
    claim="LoRA keeps more of arc_tiny than full tuning", verdict="cannot be told", key="/verdicts/0",
    estimate=0.0125, low=-0.04, high=0.065, n=4, measure="mean difference",
)  # fmt: skip


def write_analysis(folder: Path, **changes: Any) -> AnalysisSummary:
    """Leave what an analysis of the current results leaves; ``changes`` are fields of its summary."""
    files = {
        "analysis/verdicts.json": json.dumps({"verdicts": [{"estimate": 0.0125}]}),
        "analysis/report.html": "<!doctype html><title>Report</title>",
        "analysis/figures/verdicts.svg": SVG,
    }
    records = []
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        records.append(AnalysisFile(path=path, sha256=digest_bytes(text.encode()).sha256))
    summary = AnalysisSummary(
        results_sha256=results_digest(read_results(folder / RESULTS_FILE)),
        verdicts=records[0],
        report=records[1],
        figures=(replace(records[2], title="Estimates of 1 claim"),),
        claims=(CLAIM,),
        doubtful=(DoubtfulRow(where="tiny-llama", reason="scores | of another base"),),
    )
    summary = replace(summary, **changes)
    (folder / SUMMARY_FILE).write_bytes(document_bytes(summary.to_dict()))
    return summary
