"""``release-kit sft plan``: what a study will cost."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option


@click.command("plan")
@click.argument("study", type=click.Path(path_type=Path))
@json_option
def plan_command(study: Path, as_json: bool) -> None:
    """Show runs, cells, tokens, time and storage of STUDY before anything starts.

    Counts are exact; the rest is estimated from the data, the base models and finished runs, and what cannot be told
    is named. Nothing is written.

    \b
    Example:
      release-kit sft plan mini/
      release-kit sft plan studies/massive-sft.yaml --json | jq .blocks
    """
    from release_kit.core.study import read_study
    from release_kit.sft.spec.plan import plan_cost

    declared = read_study(study)
    plan = plan_cost(declared)
    value = {"ok": True, "study": declared.name, "version": declared.version, **plan.to_dict()}
    emit(as_json, value, lambda: _text(declared, plan))


def _text(study: Any, plan: Any) -> str:
    title = f" — {study.title}" if study.title else ""
    width = max(len(block.label) for block in plan.blocks)
    lines = [f"{study.name} {study.version}{title}", ""]
    for block in plan.blocks:
        runs = f"{block.n_runs:>6,} runs" if block.n_runs else "           "
        lines.append(f"  {block.label:<{width}}  {runs}  {block.n_cells:>6,} cells")
    lines += [
        "",
        f"  runs     {plan.n_runs:,}, which give {plan.n_cells:,} cells; {plan.n_untouched:,} untouched base models",
        f"  done     {plan.n_done:,} of {plan.n_cells + plan.n_untouched:,} cells",
        f"  tokens   {_tokens(plan)}",
        f"  time     {_time(plan)}",
        f"  storage  {_storage(plan)}",
    ]
    return "\n".join(lines + [f"  not known: {note}" for note in plan.unknown])


def _tokens(plan: Any) -> str:
    return "not known" if plan.n_tokens is None else f"{plan.n_tokens:,} (by {plan.n_tokens_by})"


def _time(plan: Any) -> str:
    if plan.seconds is None:
        return "not known"
    hours, rest = divmod(round(plan.seconds), 3600)
    some = "" if plan.n_runs_timed == plan.n_runs else f" for {plan.n_runs_timed:,} of the runs"
    return f"{hours:,} h {rest // 60:02d} min of one worker's training{some}"


def _storage(plan: Any) -> str:
    if plan.storage_bytes is None:
        return "not known"
    size, unit = float(plan.storage_bytes), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    some = "" if plan.n_cells_sized == plan.n_cells else f" for {plan.n_cells_sized:,} of the cells"
    return f"{size:,.1f} {unit} of checkpoints{some}"
