"""The record of one validation: what was found, what the reference validator said, and what could not be looked at.

The same dataset gives the same report: no clock, no path of the machine in it. Its page is ``html.py``.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.bids.validate.codes import CODES, FAMILIES
from release_kit.bids.validate.finding import ERROR, NOTE, REFERENCE, SEVERITIES, WARNING, Finding
from release_kit.bids.validate.reference import PACKAGE, Verdict
from release_kit.core.wording import counted

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunCell:
    """One run of one subject, for the overview: how long it is and how bad what was found of it."""

    subject: str
    session: str | None
    task: str
    run: str | None
    n_volumes: int | None
    duration_s: float | None
    absent: bool
    has_events: bool
    worst: str | None
    """Severity of the worst finding on its image or events; None when there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Unchecked:
    """Something that could not be looked at, and why."""

    what: str
    n: int
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"what": self.what, "n": self.n, "examples": list(self.examples)}


@dataclass(frozen=True, kw_only=True)
class Group:
    """All findings of one code (and sub-code), for people."""

    code: str
    sub_code: str | None
    severity: str
    family: str
    summary: str
    why: str
    explained: str | None
    findings: tuple[Finding, ...]

    @property
    def source_is_own(self) -> bool:
        """Whether our own checks found it (also a validator that crashed), not the reference validator."""
        return self.findings[0].source != REFERENCE


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Everything that a validation says."""

    name: str
    """Name of the dataset by its description, else of its folder."""
    facts: Mapping[str, Any]
    """Counts of what was looked at: subjects, sessions, tasks, runs, hours, files, bytes."""
    verdicts: tuple[Verdict, ...]
    validator_version: str
    findings: tuple[Finding, ...]
    not_checked: tuple[Unchecked, ...]
    runs: tuple[RunCell, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error; a validator without a verdict is an error."""
        return not any(one.severity == ERROR for one in self.findings)

    @property
    def complete(self) -> bool:
        """Whether everything could be looked at."""
        return not self.not_checked

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by severity."""
        found = Counter(one.severity for one in self.findings)
        return {severity: found.get(severity, 0) for severity in SEVERITIES}

    @property
    def n_unexplained(self) -> int:
        """Number of warnings that nothing in the dataset explains."""
        return sum(one.severity == WARNING and one.explained is None for one in self.findings)

    def passed(self, *, strict: bool = False) -> bool:
        """Return whether the dataset passes; ``strict`` fails it for an unexplained warning or an incomplete look."""
        return self.ok and not (strict and (self.n_unexplained or self.not_checked))

    def strict_failure(self) -> str | None:
        """Return why ``strict`` fails a dataset that is valid; None when it does not."""
        if not self.ok or self.passed(strict=True):
            return None
        why = [f"{counted(self.n_unexplained, WARNING)} that nothing explains"] if self.n_unexplained else []
        why += [f"{counted(len(self.not_checked), 'thing')} that could not be looked at"] if self.not_checked else []
        return f"fails by --strict: {' and '.join(why)}"

    def groups(self) -> list[Group]:
        """Return the findings by code: worst first, then families in their order, our own before the reference's."""
        together: dict[tuple, list[Finding]] = {}
        for one in self.findings:
            sub_code = one.sub_code if one.source == REFERENCE else None
            together.setdefault((one.code, sub_code, one.severity, one.explained), []).append(one)
        groups = [_group(key, found) for key, found in together.items()]
        families = list(FAMILIES)
        return sorted(
            groups,
            key=lambda g: (
                SEVERITIES.index(g.severity),
                families.index(g.family),
                g.explained is not None,
                g.code,
                g.sub_code or "",
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form (``docs/bids-validate.md``)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "complete": self.complete,
            "name": self.name,
            "facts": dict(self.facts),
            "counts": self.counts,
            "n_unexplained_warnings": self.n_unexplained,
            "reference": {
                "package": PACKAGE,
                "version": self.validator_version,
                "datasets": [verdict.to_dict() for verdict in self.verdicts],
            },
            "not_checked": [one.to_dict() for one in self.not_checked],
            "findings": [one.to_dict() for one in self.findings],
            "runs": [cell.to_dict() for cell in self.runs],
        }

    def to_bytes(self) -> bytes:
        """Return the JSON file; file names that are no text are escaped in it, as ``--json`` has them."""
        text = json.dumps(self.to_dict(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode(errors="backslashreplace")

    def html(self) -> str:
        """Return the report as one page that needs nothing else."""
        from release_kit.bids.validate.html import render

        return render(self)

    def text(self, *, everything: bool = False) -> str:
        """Return the report for a terminal.

        Args:
            everything: list every place; else the first few sentences of each code, with one place each.
        """
        from release_kit.bids.validate.text import render_text

        return render_text(self, everything=everything)


def verdict_line(report: ValidationReport) -> str:
    """Return the one sentence that a report comes down to."""
    counts = report.counts
    warnings = counted(counts[WARNING], WARNING)
    if n := counts[WARNING] - report.n_unexplained:
        warnings += f" ({n:,} explained)"
    said = f"{counted(counts[ERROR], ERROR)}, {warnings}, {counted(counts[NOTE], NOTE)}"
    if not report.ok:
        return f"not valid: {said}"
    return f"valid: {said}" if report.complete else f"valid as far as it could be looked at: {said}"


def _group(key: tuple, found: list[Finding]) -> Group:
    code, sub_code, severity, explained = key
    kind = CODES.get(code)
    summary = kind.summary if kind else found[0].what
    return Group(
        code=code,
        sub_code=sub_code,
        severity=severity,
        family=found[0].family,
        summary=summary,
        why=kind.why if kind else "",
        explained=explained,
        findings=tuple(found),
    )
