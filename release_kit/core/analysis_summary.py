"""``analysis/summary.json``: what an analysis of a study found, for cards and checks that know nothing of its methods.

Owns the record, its strict reader, and the digest of the results that an analysis was made from. Written last by the
analysis: its presence means that figures, verdicts and report are complete. Format: ``docs/formats/analysis.md``.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.core.files import safe_relative_path
from release_kit.core.hashing import digest_bytes
from release_kit.core.records import Fields, check_schema_version
from release_kit.core.results import Result

SCHEMA_VERSION = 1
ANALYSIS_FOLDER = "analysis"
SUMMARY_FILE = f"{ANALYSIS_FOLDER}/summary.json"
VERDICTS = ("holds", "does not hold", "cannot be told")
MAKE_AGAIN = "run: release-kit sft analyse STUDY"

_row_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=True).encode


@dataclass(frozen=True, kw_only=True)
class AnalysisFile:
    """One file of the analysis; ``path`` is relative to the study."""

    path: str
    sha256: str
    title: str = ""
    """What a figure shows, in one sentence; empty for documents."""


@dataclass(frozen=True, kw_only=True)
class AnalysisClaim:
    """One claim and its verdict; the interval is of the estimate, on the scale that ``measure`` names."""

    claim: str
    verdict: str
    key: str
    """Where the claim stands in the file of verdicts, as a JSON pointer."""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    measure: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class DoubtfulRow:
    """A base row that gains should not rest on, and why."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AnalysisSummary:
    """What an analysis found. ``from_dict(to_dict(summary)) == summary``."""

    results_sha256: str
    """``results_digest`` of the rows that were analysed."""
    verdicts: AnalysisFile
    """The file that holds every claim in full."""
    report: AnalysisFile
    figures: tuple[AnalysisFile, ...] = ()
    claims: tuple[AnalysisClaim, ...] = ()
    doubtful: tuple[DoubtfulRow, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """Other tables that were read: path relative to the study → sha256."""

    @property
    def files(self) -> tuple[AnalysisFile, ...]:
        """Every file that belongs to the analysis as it is published."""
        return (self.verdicts, self.report, *self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk; what is not known is left out."""
        return {
            "schema_version": SCHEMA_VERSION,
            "results_sha256": self.results_sha256,
            "verdicts": _known(self.verdicts),
            "report": _known(self.report),
            "figures": [_known(figure) for figure in self.figures],
            "claims": [_known(claim) for claim in self.claims],
            "doubtful": [_known(row) for row in self.doubtful],
            "sources": dict(self.sources),
        }

    @classmethod
    def from_dict(cls, value: Any, where: str = SUMMARY_FILE) -> "AnalysisSummary":
        """Read the JSON form.

        Raises:
            RecordError: wrong shape, unknown key, a verdict that does not exist, or a path that leaves the study.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        sources = fields.take("sources", dict, {})
        if bad := [name for name, digest in sources.items() if not isinstance(digest, str)]:
            raise fields.error(f"sources.{bad[0]}", "expected a sha256")
        summary = cls(
            results_sha256=fields.take("results_sha256", str),
            verdicts=_file_from(fields.child("verdicts")),
            report=_file_from(fields.child("report")),
            figures=tuple(_file_from(child) for child in fields.children("figures", [])),
            claims=tuple(_claim_from(child) for child in fields.children("claims", [])),
            doubtful=tuple(_doubtful_from(child) for child in fields.children("doubtful", [])),
            sources=sources,
        )
        fields.done()
        return summary


def read_summary(study_folder: Path) -> AnalysisSummary | None:
    """Return what the analysis of a study found, or None when there is none.

    Raises:
        RecordError: there is one, and it cannot be read.
    """
    path = study_folder / SUMMARY_FILE
    return AnalysisSummary.from_dict(canonical.read_json(path), str(path)) if path.is_file() else None


def read_analysis_files(study_folder: Path, summary: AnalysisSummary) -> dict[str, bytes]:
    """Return path → bytes of every file that the summary names.

    Raises:
        RecordError: files are absent or not what the summary says; all of them are named.
    """
    found, wrong = {}, []
    for file in summary.files:
        try:
            data = (study_folder / file.path).read_bytes()
        except OSError as error:
            wrong.append(f"{file.path} cannot be read ({error.strerror})")
            continue
        if digest_bytes(data).sha256 != file.sha256:
            wrong.append(f"{file.path} is not the file that was recorded")
        found[file.path] = data
    if wrong:
        raise RecordError("; ".join(wrong), where=str(study_folder / SUMMARY_FILE), next_step=MAKE_AGAIN)
    return found


def results_digest(rows: Iterable[Result]) -> str:
    """Return the sha256 over what results say, whatever their order and wherever they stand.

    A row counts with its key, value, standard error and n, one JSON list each, sorted by key.
    """
    ordered = sorted(rows, key=lambda row: (row.key, row.source, row.source_row or 0, row.source_key))
    values = [(*row.key, row.value, row.stderr, row.n) for row in ordered]
    return hashlib.sha256(_row_text(values).encode()).hexdigest()


def _known(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _file_from(fields: Fields) -> AnalysisFile:
    path = safe_relative_path(fields.take("path", str), where=fields.where)
    if not path.startswith(f"{ANALYSIS_FOLDER}/"):
        raise fields.error("path", f"is {path!r}; expected a file under {ANALYSIS_FOLDER}/")
    file = AnalysisFile(path=path, sha256=fields.take("sha256", str), title=fields.take("title", str, ""))
    fields.done()
    return file


def _claim_from(fields: Fields) -> AnalysisClaim:
    claim = AnalysisClaim(
        claim=fields.take("claim", str),
        verdict=fields.take("verdict", str),
        key=fields.take("key", str),
        **{name: _number(fields, name) for name in ("estimate", "low", "high")},
        n=fields.take("n", int, None),
        measure=fields.take("measure", str, ""),
        reason=fields.take("reason", str, ""),
    )
    if claim.verdict not in VERDICTS:
        raise fields.error("verdict", f"is {claim.verdict!r}; expected one of {', '.join(VERDICTS)}")
    fields.done()
    return claim


def _number(fields: Fields, name: str) -> float | None:
    value = fields.take(name, (int, float), None)
    if value is not None and not math.isfinite(value):
        raise fields.error(name, f"is {value}; expected a finite number")
    return None if value is None else float(value)


def _doubtful_from(fields: Fields) -> DoubtfulRow:
    row = DoubtfulRow(where=fields.take("where", str), reason=fields.take("reason", str))
    fields.done()
    return row
