"""The table of an audit for people: errors first, one place and one next step each."""

import textwrap
from collections.abc import Sequence

from release_kit.release.audit import AuditReport
from release_kit.release.audit.finding import SEVERITIES

_WIDTH = 118


def report_text(report: AuditReport, targets: Sequence[str]) -> str:
    """Return the report as text, findings grouped by severity."""
    seen = f"{_count(report.n_repos, 'repo')}, {_count(report.n_revisions, 'revision')}, "
    seen += f"{_count(report.n_files, 'file')}, {_count(report.n_units, 'folder')} with weights"
    lines = [
        f"{', '.join(targets)}: {seen} ({_size(report.size_bytes)})",
        f"  {_count(report.n_requests, 'request')}, no weights downloaded",
    ]
    for finding in report.findings:
        lines.append(f"{finding.severity:<8} {finding.code:<22} {finding.where}")
        lines += textwrap.wrap(finding.what, _WIDTH, initial_indent="         ", subsequent_indent="         ")
        if finding.next_step:
            lines.append(f"         → {finding.next_step}")
    totals = [_count(report.count(severity), severity) for severity in SEVERITIES if report.count(severity)]
    lines.append(", ".join(totals) if totals else "nothing wrong was found")
    return "\n".join(lines)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _size(n_bytes: int) -> str:
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
