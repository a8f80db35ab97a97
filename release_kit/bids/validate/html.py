"""A validation report as one page: verdict, the runs at a glance, findings by question, and what was not checked.

Nothing from outside, no scripts; it reads in light and dark, on a narrow screen, and prints. Every text of the dataset
is escaped. The style sheet is ``html_style.py``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from release_kit.bids.validate.codes import FAMILIES
from release_kit.bids.validate.finding import ERROR, NOTE, REFERENCE, WARNING, Finding
from release_kit.bids.validate.html_style import STYLE
from release_kit.bids.validate.report import Group, RunCell, ValidationReport, verdict_line
from release_kit.bids.validate.text import facts_line, kinds_of

MAX_KINDS = 40
MAX_PLACES = 6
"""More than this of one code stands in the JSON report only."""
_MEANINGS = {
    "good": "nothing found",
    "note": "note",
    "warning": "warning",
    "error": "error",
    "absent": "content not here",
    "none": "no such run",
}


def render(report: ValidationReport) -> str:
    """Return the page."""
    groups = report.groups()
    body = [
        *_head(report),
        *_overview(report.runs),
        *_findings([g for g in groups if g.family != REFERENCE]),
        *_reference(report, [g for g in groups if g.family == REFERENCE]),
        *_unchecked(report),
        '<p class="faint">Made by release_kit. The JSON report lists every place.</p>',
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_safe(report.name)}: validation'
        '</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _head(report: ValidationReport) -> Iterable[str]:
    kind = "error" if not report.ok else "good" if report.complete else "warning"
    counts = report.counts
    explained = counts[WARNING] - report.n_unexplained
    yield f"<h1>{_safe(report.name)}</h1>"
    yield f'<p class="faint">{_safe(facts_line(report))}</p>'
    yield f'<p class="verdict {kind}">{_safe(verdict_line(report))}</p>'
    yield '<div class="cards">'
    yield _card(ERROR, counts[ERROR], ERROR, "the dataset must not be published with them")
    yield _card(WARNING, report.n_unexplained, WARNING, "to be looked at")
    yield _card("good", explained, "explained warning", "the dataset itself says why")
    yield _card(NOTE, counts[NOTE], NOTE, "good to know")
    yield _card("absent", len(report.not_checked), "gap", "kinds of checks that could not be made everywhere")
    yield "</div>"


def _card(kind: str, n: int, name: str, meaning: str) -> str:
    level = kind if n else "zero"
    shown = name if n == 1 else f"{name}s"
    return f'<div class="card {level}"><b>{n:,}</b><span>{shown}</span><small>{meaning}</small></div>'


def _overview(runs: Sequence[RunCell]) -> Iterable[str]:
    if not runs:
        return
    yield "<h2>Runs at a glance</h2>"
    yield (
        '<p class="legend">'
        + " ".join(f'<span><i class="{name}"></i>{meaning}</span>' for name, meaning in _MEANINGS.items())
        + '<span><i class="good bare"></i>hollow: no events</span></p>'
    )
    tasks: dict[str, list[RunCell]] = defaultdict(list)
    for cell in runs:
        tasks[cell.task].append(cell)
    rows = sorted({(cell.subject, cell.session or "") for cell in runs})
    yield '<div class="tasks">'
    for task, cells in sorted(tasks.items()):
        yield _task_grid(task, cells, rows)
    yield "</div>"


def _task_grid(task: str, cells: Sequence[RunCell], rows: Sequence[tuple[str, str]]) -> str:
    columns = sorted({cell.run or "" for cell in cells})
    by_place = {(cell.subject, cell.session or "", cell.run or ""): cell for cell in cells}
    own = [row for row in rows if any((*row, column) in by_place for column in columns)]
    head = "".join(f"<th>{_safe(column) or '·'}</th>" for column in columns)
    lines = []
    for subject, session in own:
        name = f"{subject} · {session}" if session else subject
        places = "".join(_square(by_place.get((subject, session, column))) for column in columns)
        lines.append(f"<tr><th>{_safe(name)}</th>{places}</tr>")
    return f'<table class="grid"><caption>{_safe(task)}</caption><tr><th></th>{head}</tr>' + "".join(lines) + "</table>"


def _square(cell: RunCell | None) -> str:
    if cell is None:
        return '<td><i class="none" title="no such run"></i></td>'
    kind = cell.worst or ("absent" if cell.absent else "good")
    length = "" if cell.duration_s is None else f", {cell.n_volumes:,} volumes, {cell.duration_s:,.0f} s"
    events = "" if cell.has_events else ", no events"
    run = f" run {cell.run}" if cell.run else ""
    title = f"sub-{cell.subject} {cell.task}{run}{length}{events}: {_MEANINGS[kind]}"
    bare = "" if cell.has_events else " bare"
    return f'<td><i class="{kind}{bare}" title="{_safe(title)}"></i></td>'


def _findings(groups: Sequence[Group]) -> Iterable[str]:
    yield "<h2>Findings</h2>"
    if not groups:
        yield "<p>Our own checks found nothing.</p>"
    for family, question in FAMILIES.items():
        own = [group for group in groups if group.family == family]
        if own:
            yield f"<h3>{_safe(question)}</h3>"
            yield from map(_group, own)


def _group(group: Group) -> str:
    n = len(group.findings)
    opened = " open" if group.severity == ERROR else ""
    name = f"{group.code}.{group.sub_code}" if group.sub_code else group.code
    kinds = kinds_of(group)
    body = "".join(_kind(what, found) for what, found in kinds[:MAX_KINDS])
    more = f"<li>… and {len(kinds) - MAX_KINDS:,} more kinds, in the JSON report</li>" if len(kinds) > MAX_KINDS else ""
    why = f"<p>{_safe(group.why)}</p>" if group.why else ""
    return (
        f'<details class="{group.severity}"{opened}><summary><b class="tag">{group.severity}</b> '
        f'{_safe(group.summary)} <code>{_safe(name)}</code> <span class="n">{n:,}</span></summary>{why}'
        f'<p class="step">{_safe(group.findings[0].next_step)}</p><ul>{body}{more}</ul></details>'
    )


def _kind(what: str, found: Sequence[Finding]) -> str:
    places = ", ".join(_place(one) for one in found[:MAX_PLACES])
    more = f" … and {len(found) - MAX_PLACES:,} more" if len(found) > MAX_PLACES else ""
    count = f"<b>{len(found):,} x</b> " if len(found) > 1 else ""
    return f"<li>{count}{_safe(what)}<br><small>{places}{more}</small></li>"


def _place(one: Finding) -> str:
    row = f", row {one.row}" if one.row else ""
    return f"<code>{_safe(one.path)}</code>{row}"


def _reference(report: ValidationReport, groups: Sequence[Group]) -> Iterable[str]:
    yield f"<h2>Reference validator {_safe(report.validator_version)}</h2>"
    rows = []
    for verdict in report.verdicts:
        said = verdict.crash or verdict.said
        headers = "read" if verdict.headers_read else "not read"
        kind = "good" if verdict.said == "no errors" else "error"
        place = "the dataset" if verdict.dataset == "." else verdict.dataset
        cells = [_safe(place), f'<b class="{kind}">{_safe(said)}</b>', f"{verdict.n_files:,}", headers]
        rows.append([*cells, _safe(verdict.schema_version or "—")])
    yield _table(("dataset", "verdict", "files seen", "NIfTI headers", "schema"), rows)
    yield from (_group(group) for group in groups if group.severity == ERROR or group.source_is_own)
    plain = [g for g in groups if g.severity != ERROR and not g.source_is_own]
    for title, chosen in (
        ("Warnings to look at", [g for g in plain if g.explained is None]),
        ("Warnings that the dataset explains", [g for g in plain if g.explained is not None]),
    ):
        if chosen:
            yield f"<h3>{title}</h3>"
            yield _table(("code", "what", "about", "first place"), _merged(chosen))


def _merged(groups: Sequence[Group]) -> list[list[str]]:
    """Return a row for each code and explanation, with everything that it is about."""
    together: dict[tuple[str, str | None], list[Group]] = defaultdict(list)
    for group in groups:
        together[group.code, group.explained].append(group)
    rows = []
    for (code, explained), same in together.items():
        first = same[0].findings[0]
        said = first.what.removesuffix(f"({first.sub_code})") if explained is None else f"Explained: {explained}"
        about = ", ".join(f"{_safe(g.sub_code or 'places')} ({len(g.findings):,})" for g in same)
        rows.append([f"<code>{_safe(code)}</code>", _safe(said), about, _place(first)])
    return rows


def _unchecked(report: ValidationReport) -> Iterable[str]:
    yield "<h2>What was not checked</h2>"
    if not report.not_checked:
        yield "<p>Everything that these checks look at was here. Voxels are not judged, only that they are there.</p>"
        return
    rows = [
        [_safe(one.what), f"{one.n:,}", ", ".join(f"<code>{_safe(path)}</code>" for path in one.examples)]
        for one in report.not_checked
    ]
    yield _table(("what", "n", "such as"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="list"><tr>{head}</tr>{body}</table></div>'


def _safe(text: str) -> str:
    """Return text for the page: escaped, and bytes that are no character written out."""
    return escape(text.encode("utf-8", "backslashreplace").decode())
