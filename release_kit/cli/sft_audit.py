"""``release-kit sft audit``: what of every example is trained on, before anything is trained."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress

COLUMNS = (
    ("examples", "n_examples"),
    ("tokens", "n_tokens"),
    ("trained", "n_trained"),
    ("longest", "longest"),
    ("cut", "n_cut"),
    ("faulty", "n_faulty"),
    ("same", "n_duplicates"),
)
"""Column of the table → count of the audit (``n_cut`` adds prompts and answers up)."""


@click.command("audit")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--run", "terms", multiple=True, metavar="FACTOR=LEVEL", help="Only runs with this level; repeatable.")
@click.option("--examples", type=click.Path(path_type=Path), metavar="FOLDER", help="Also write a Parquet row each.")
@json_option
@click.pass_context
def audit_command(
    context: click.Context, study: Path, terms: tuple[str, ...], examples: Path | None, as_json: bool
) -> None:
    """Say what of every example of STUDY is masked, cut or empty, and refuse runs in which answers vanish.

    Runs that train on the same tokens are audited once. Exit code 1 when a run is refused; `sft run` refuses the same
    ones. No weights are read; nothing is written unless --examples names a folder.

    \b
    Example:
      release-kit sft audit mini/
      release-kit sft audit mini/ --run dataset=asdiv --examples mini-audit/
      release-kit sft audit mini/ --json | jq '.groups[] | select(.ok | not)'
    """
    from release_kit.core.grid import parse_selection
    from release_kit.core.study import read_study
    from release_kit.sft.data.audit import write_audit
    from release_kit.sft.data.study_audit import audit_study

    declared = read_study(study)
    selection = parse_selection(terms, {factor.name: factor.levels for factor in declared.factors})
    with progress(as_json) as bar:
        groups = audit_study(declared, selection, bar.say)
    if examples is not None:
        for number, group in enumerate(groups):
            if group.audit is not None:
                write_audit(examples / f"{number:03d}-{group.dataset}-{group.base_model}.parquet", group.audit)
    ok = bool(groups) and all(group.ok for group in groups)
    value = {"ok": ok, "study": declared.name, "n_runs": sum(len(group.runs) for group in groups),
             "groups": [group.to_dict() for group in groups]}  # fmt: skip
    emit(as_json, value, lambda: _text(declared, groups))
    context.exit(0 if ok else 1)


def _text(study: Any, groups: list[Any]) -> str:
    if not groups:
        return f"{study.name}: no run of the study is selected"
    rows = [["base", "dataset", "runs", *(name for name, _ in COLUMNS), "steps", "full", ""]]
    rows += [_row(group) for group in groups]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_aligned(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in rows]
    problems = _listed("refused", groups, lambda group: group.problems)
    warnings = _listed("to know", groups, lambda group: group.audit.warnings if group.audit else ())
    n_refused = sum(len(group.runs) for group in groups if not group.ok)
    n_runs = sum(len(group.runs) for group in groups)
    verdict = f"{counted(n_refused, 'run')} of {n_runs:,} refused" if n_refused else f"{counted(n_runs, 'run')} sound"
    return "\n".join([*lines, *problems, *warnings, "", verdict])


def _row(group: Any) -> list[str]:
    size = "" if group.data_size is None else f" ({group.data_size:,})"
    counts = dict(group.audit.counts) if group.audit else {}
    if counts:
        counts["n_cut"] = counts.get("n_cut_prompt", 0) + counts.get("n_cut_answers", 0)
    numbers = [f"{counts[key]:,}" if key in counts else "-" for _, key in COLUMNS]
    steps = "-" if group.steps_per_epoch is None else f"{group.steps_per_epoch:,}"
    full = "-" if group.fill is None else f"{group.fill:.0%}"
    verdict = "sound" if group.ok else "refused"
    return [group.base_model, f"{group.dataset}{size}", f"{len(group.runs):,}", *numbers, steps, full, verdict]


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def _listed(label: str, groups: list[Any], of: Any) -> list[str]:
    """Return each different sentence once, with the number of runs that it is about."""
    runs: dict[str, int] = {}
    for group in groups:
        for problem in of(group):
            runs[problem.sentence()] = runs.get(problem.sentence(), 0) + len(group.runs)
    found = [f"  {sentence} [{counted(n, 'run')}]" for sentence, n in runs.items()]
    return ["", label, *found] if found else []
