"""``release-kit plan``, ``import`` and ``results``: what comes into a study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option
from release_kit.core.errors import ReleaseKitError

N_SHOWN = 20
"""Lines of one kind that people see; ``--json`` has them all."""


@click.command("plan")
@click.argument("study", type=click.Path(path_type=Path))
@json_option
def plan_command(study: Path, as_json: bool) -> None:
    """Show what STUDY declares: factors, cells and their names, sources, and how much of it is on disk.

    Nothing is written and no artifact is read. Exit code 1 when a declaration of the study is wrong.

    \b
    Example:
      release-kit plan study/
      release-kit plan study/ --json | jq .n_missing
    """
    from release_kit.core.plan import plan_study
    from release_kit.core.study import read_study

    declared = read_study(study)
    plan = plan_study(declared)
    problems = list(plan.problems)
    names = _names(declared, dict((*plan.first, *plan.missing)), problems)
    value = {
        "ok": not problems,
        "study": declared.name,
        "version": declared.version,
        "n_cells": plan.n_cells,
        "n_results_only": plan.n_results_only,
        "n_on_disk": plan.n_on_disk,
        "n_missing": plan.n_missing,
        "n_undeclared": plan.n_undeclared,
        "factors": [
            {"name": factor.name, "role": factor.role,
             "levels": [{"level": level, "n_cells": plan.levels[factor.name][level]} for level in factor.levels]}
            for factor in declared.factors
        ],
        "first": [_cell_value(cell_id, levels, names) for cell_id, levels in plan.first],
        "missing": [_cell_value(cell_id, levels, names) for cell_id, levels in plan.missing],
        "sources": [{"key": s.key, "kind": s.kind, "path": s.path, "n_found": s.n_found} for s in plan.sources],
        "problems": [_problem(error, "study-declaration") for error in problems],
    }  # fmt: skip
    emit(as_json, value, lambda: _plan_text(declared, plan, names, problems))
    _exit(not problems)


@click.command("import")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be taken in; write nothing.")
@json_option
def import_command(study: Path, dry_run: bool, as_json: bool) -> None:
    """Take checkpoints that already exist into STUDY, by the `checkpoints` rules of its study.yaml.

    Each folder found gets a cell.json that names it; nothing is moved or copied. Folders that look like checkpoints
    and follow no rule, cells without a checkpoint and cells with two are all reported. A second run changes nothing.

    \b
    Example:
      release-kit import study/ --dry-run
      release-kit import study/
    """
    from release_kit.core.checkpoints import import_checkpoints
    from release_kit.core.grid import describe
    from release_kit.core.study import read_study

    declared = read_study(study)
    if not declared.checkpoints:
        step = 'add an entry such as `- path: "runs/{dataset}-seed{seed}/checkpoint-*"`; see docs/formats/study.md'
        raise ReleaseKitError("`checkpoints` declares no rule", where=str(study), next_step=step)
    report = import_checkpoints(declared, dry_run=dry_run)
    value = {
        "ok": report.ok,
        "dry_run": dry_run,
        "written": list(report.written),
        "n_unchanged": len(report.unchanged),
        "without_checkpoint": [dict(levels) for levels in report.without_checkpoint],
        "problems": [_problem(error, "checkpoint-refused") for error in report.problems]
        + [_problem(error, "checkpoint-unexplained", "warning") for error in report.unexplained],
    }
    verb = "would be written" if dry_run else "written"
    lines = [f"{len(report.written)} cells {verb}, {len(report.unchanged)} unchanged"]
    lines += _listed("refused", map(str, report.problems))
    lines += _listed("not explained by a rule", map(str, report.unexplained))
    lines += _listed("cells without a checkpoint", map(describe, report.without_checkpoint))
    emit(as_json, value, "\n".join(lines))
    _exit(report.ok)


@click.command("results")
@click.argument("study", type=click.Path(path_type=Path))
@json_option
def results_command(study: Path, as_json: bool) -> None:
    """Collect the results of STUDY into tables/results.parquet.

    Reads the tables and harness files that `results` in study.yaml names, and cells/*/eval/*.json. With any problem
    in them nothing is written; results of cells that are not in the grid are left out and reported. Exit code 1 for
    both.

    \b
    Example:
      release-kit results study/
      release-kit results study/ --json | jq .n_rows
    """
    from release_kit.core.collect import collect_results
    from release_kit.core.results import RESULTS_FILE, write_results
    from release_kit.core.study import read_study

    declared = read_study(study)
    collected = collect_results(declared)
    undeclared = [item.to_error() for item in collected.undeclared]
    writable = not collected.problems and (collected.rows or declared.results)
    changed = bool(writable) and write_results(declared.folder / RESULTS_FILE, collected.rows)
    value = {
        "ok": not collected.problems and not undeclared,
        "table": RESULTS_FILE if writable else None,
        "changed": changed,
        "n_rows": len(collected.rows),
        "n_without_value": sum(row.value is None for row in collected.rows),
        "n_cells": len({row.cell_id for row in collected.rows}),
        "n_sources": len({row.source for row in collected.rows}),
        "problems": [_problem(error, "results-source") for error in collected.problems]
        + [_problem(error, "results-undeclared") for error in undeclared]
        + [_problem(error, "results-spelling", "note") for error in collected.notes],
    }
    state = "written" if changed else "unchanged" if writable else "not written"
    lines = [
        f"{value['n_rows']} results of {value['n_cells']} cells from {value['n_sources']} files"
        f" ({value['n_without_value']} without a value)",
        f"{RESULTS_FILE}: {state}",
    ]
    lines += _listed("problems", map(str, collected.problems))
    lines += _listed("not in the grid, left out", map(str, undeclared))
    lines += _listed("notes", map(str, collected.notes))
    emit(as_json, value, "\n".join(lines))
    _exit(value["ok"])


def _names(study: Any, cells: dict, problems: list) -> dict[str, str]:
    """Return the release names of some cells; a template that cannot name them is a problem."""
    from release_kit.release.naming import cell_names

    try:
        return cell_names(study, cells)
    except ReleaseKitError as error:
        problems.append(error)
        return {}


def _cell_value(cell_id: str, levels: Any, names: dict[str, str]) -> dict[str, Any]:
    return {"cell_id": cell_id, "name": names.get(cell_id), "levels": dict(levels)}


def _plan_text(study: Any, plan: Any, names: dict[str, str], problems: list) -> str:
    title = f" — {study.title}" if study.title else ""
    n_only = "all" if plan.n_results_only == plan.n_cells else f"{plan.n_results_only:,}"
    only = f", {n_only} of them without weights (results only)" if plan.n_results_only else ""
    lines = [f"{study.name} {study.version}{title}", f"{plan.n_cells:,} cells{only}", ""]
    for factor in study.factors:
        lines += _factor_lines(factor.name, plan.levels[factor.name])
    lines += ["", "first cells"]
    lines += [f"  {cell_id}  {names.get(cell_id, '(no name)')}" for cell_id, _ in plan.first]
    if plan.sources:
        lines += ["", "sources"]
        width = max(len(source.kind) for source in plan.sources)
        lines += [f"  {s.kind:<{width}}  {s.path}  ({s.n_found:,} found)" for s in plan.sources]
    lines += ["", f"on disk  {plan.n_on_disk:,} cells; {plan.n_missing:,} still lack their artifact"]
    lines += [f"  {cell_id}  {names.get(cell_id, '(no name)')}" for cell_id, _ in plan.missing]
    lines += ["  …"] if plan.n_missing > len(plan.missing) else []
    if plan.n_undeclared:
        lines.append(f"  {plan.n_undeclared:,} cells on disk are not in the grid; see: release-kit check")
    return "\n".join(lines + _listed("problems", map(str, problems)))


def _factor_lines(name: str, counts: dict) -> list[str]:
    """Return ``name  level (cells)  …`` in lines of at most about 110 characters."""
    from release_kit.core.grid import level_text

    parts = [f"{level_text(level)} ({n:,})" for level, n in counts.items()]
    shown = parts if len(parts) <= N_SHOWN else [*parts[: N_SHOWN - 2], f"… {len(parts) - N_SHOWN + 2} more"]
    lines, line = [], f"  {name:<12}"
    for part in shown:
        if len(line) + len(part) > 110:
            lines.append(line.rstrip())
            line = " " * 14
        line += f"{part}  "
    return [*lines, line.rstrip()]


def _listed(label: str, items: Iterable[str]) -> list[str]:
    found = list(items)
    if not found:
        return []
    more = [f"  … and {len(found) - N_SHOWN} more (--json lists all)"] if len(found) > N_SHOWN else []
    return ["", f"{label} ({len(found)})", *(f"  {item}" for item in found[:N_SHOWN]), *more]


def _problem(error: ReleaseKitError, code: str, severity: str = "error") -> dict[str, Any]:
    return {
        "code": code,
        "severity": severity,
        "where": error.where,
        "what": error.what,
        "next_step": error.next_step,
    }


def _exit(ok: bool) -> None:
    if not ok:
        click.get_current_context().exit(1)
