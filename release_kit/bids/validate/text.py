"""A validation report for a terminal: the verdict, each code once with its first places, and what was not checked."""

from collections import defaultdict

from release_kit.bids.validate.finding import ERROR, REFERENCE, SEVERITIES, Finding
from release_kit.bids.validate.report import Group, ValidationReport, verdict_line
from release_kit.core.wording import counted, printable

KINDS = 5
"""Different sentences shown of one code; each with one place and the number of the others."""


def render_text(report: ValidationReport, *, everything: bool = False) -> str:
    """Return the report as text of a screen or two, or with every place."""
    lines = [printable(report.name), facts_line(report), ""]
    groups = report.groups()
    for severity in SEVERITIES:
        brief: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        for group in (one for one in groups if one.severity == severity):
            if group.findings[0].source == REFERENCE and severity != ERROR and not everything:
                brief[group.code, group.explained].append(f"{group.sub_code or ''} ({len(group.findings):,})".strip())
            else:
                lines += _group_lines(group, everything)
        for (code, explained), subs in brief.items():
            lines.append(f"{'answered' if explained else severity:<9}{code}: {', '.join(subs)}")
            lines += [f"          because {explained}"] if explained else []
    lines.append("")
    for verdict in report.verdicts:
        said = verdict.crash or verdict.said
        lines.append(f"reference validator {report.validator_version}, {_place(verdict.dataset)}: {said}")
    for one in report.not_checked:
        lines.append(f"not checked: {one.what}: {one.n:,}, such as {printable(one.examples[0])}")
    return "\n".join([*lines, "", verdict_line(report)])


def facts_line(report: ValidationReport) -> str:
    """Return what was looked at: subjects, runs, hours, files."""
    facts = report.facts
    hours = facts["recorded_s"] / 3600
    known = f" ({facts['n_runs_of_known_length']:,} of known length: {hours:.2f} h)" if hours else ""
    return f"{counted(facts['n_subjects'], 'subject')}, {counted(facts['n_runs'], 'run')}{known}, " + counted(
        facts["n_files"], "file"
    )


def kinds_of(group: Group) -> list[tuple[str, list[Finding]]]:
    """Return the findings of a group by what they say, the most frequent first."""
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for one in group.findings:
        kinds[one.what].append(one)
    return sorted(kinds.items(), key=lambda pair: -len(pair[1]))


def _group_lines(group: Group, everything: bool) -> list[str]:
    name = f"{group.code}.{group.sub_code}" if group.sub_code else group.code
    lines = [f"{group.severity:<9}{name} ({len(group.findings):,}): {printable(group.summary)}"]
    kinds = kinds_of(group)
    for what, found in kinds if everything else kinds[:KINDS]:
        if everything or len(found) == 1:
            lines += [f"          {_where(one)}: {printable(what)}" for one in found]
        else:
            lines.append(f"          {len(found):,} x {printable(what)}; first: {_where(found[0])}")
    if not everything and len(kinds) > KINDS:
        rest = sum(len(found) for _, found in kinds[KINDS:])
        lines.append(f"          … and {rest:,} more (--all lists them)")
    if group.findings[0].source != REFERENCE:
        lines.append(f"          → {printable(group.findings[0].next_step)}")
    return lines


def _where(one: Finding) -> str:
    return printable(one.path) + (f", row {one.row}" if one.row else "")


def _place(dataset: str) -> str:
    return "the dataset" if dataset == "." else dataset
