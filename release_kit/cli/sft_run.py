"""``release-kit sft run``, ``worker`` and ``status``: the grid of a study, from one machine, many, or a cluster."""

import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option
from release_kit.cli.sft_options import device_option
from release_kit.core.errors import UsageError

N_SHOWN = 20

study_argument = click.argument("study", type=click.Path(path_type=Path))
select_option = click.option(
    "--select", "terms", multiple=True, metavar="FACTOR=LEVEL", help="Only runs with a matching cell; may be repeated."
)
together_option = click.option(
    "--together", default=None, type=click.IntRange(1, 256),
    help="LoRA runs of one base in one batch: faster on a GPU. The first command decides; without it 1.",
)  # fmt: skip


@click.command("run")
@study_argument
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 4096), help="Processes, or Slurm jobs.")
@click.option("--engine", default="local", show_default=True, type=click.Choice(["local", "slurm"]))
@device_option
@together_option
@select_option
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--redo-stale", is_flag=True, help="Make cells again whose data or base model have changed.")
@click.option("--slurm-partition", default=None, help="Partition of the jobs.")
@click.option("--slurm-time", "slurm_minutes", default=60, show_default=True, help="Minutes before a job is requeued.")
@click.option("--slurm-set", multiple=True, metavar="NAME=VALUE", help="Any other sbatch parameter (account, gres …).")
@click.option("--detach", is_flag=True, help="With --engine slurm: submit and return at once.")
@json_option
def run_command(study: Path, workers: int, engine: str, device: str, together: int | None, terms: tuple[str, ...],
                retry_failed: bool, redo_stale: bool, slurm_partition: str | None, slurm_minutes: int,
                slurm_set: tuple[str, ...], detach: bool, as_json: bool) -> None:  # fmt: skip
    """Train and evaluate every cell of STUDY; what is complete is not touched, what fails does not stop the rest.

    Interrupt it at any time and run it again: it continues from the last checkpoint with the same result to the byte.
    Exit code 1 when cells failed or are left.

    \b
    Example:
      release-kit sft run mini/ --workers 2
      release-kit sft run mini/ --select method=lora --select seed=0,1
      release-kit sft run mini/ --engine slurm --workers 64 --slurm-partition gpu --device cuda --slurm-set gres=gpu:1
    """
    from release_kit.cli.sft_progress import grid_progress
    from release_kit.core.study import read_study
    from release_kit.sft.engine.grid import RunOptions, run_study

    declared = read_study(study)
    slurm = {"partition": slurm_partition, "minutes": slurm_minutes, "extra": pairs_of(slurm_set), "detach": detach}
    again = {"together": together, "retry_failed": retry_failed, "redo_stale": redo_stale}
    options = RunOptions(device=device, select=_selection(declared, terms), slurm=slurm, **again)
    with grid_progress(declared, options.select, together=together, quiet=as_json) as on_event:
        report = run_study(declared, workers=workers, engine=engine, on_event=on_event, options=options)
    emit(as_json, report.to_dict(), lambda: _report_text(report))
    if not report.ok and not (detach and engine == "slurm"):
        click.get_current_context().exit(1)


@click.command("worker")
@study_argument
@device_option
@together_option
@select_option
@json_option
def worker_command(study: Path, device: str, together: int | None, terms: tuple[str, ...], as_json: bool) -> None:
    """Join the run of STUDY from this process: on another machine that shares the folder, or beside a running one.

    It pulls runs from the study's ledger until none is left, and ends cleanly on SIGTERM and SIGUSR2. Exit code 1
    when it ended before everything was done.

    \b
    Example:
      ssh node7 release-kit sft worker /shared/mini --device cuda:0
    """
    from release_kit.core.study import read_study
    from release_kit.engine.processes import stop_on_signals, work
    from release_kit.sft.engine.grid import RunOptions, worker_options
    from release_kit.sft.engine.state import read_study_state

    declared = read_study(study)
    selection, stop = _selection(declared, terms), threading.Event()
    counts = {"done": 0, "failed": 0}

    def say(event: Mapping[str, Any]) -> None:
        if event["event"] in counts:
            counts[event["event"]] += 1
        if event["event"] in ("started", "done", "failed", "lost"):
            click.echo(f"{event['event']:<8} {event.get('what') or event['title']}", err=True)

    with stop_on_signals(stop, signal.SIGUSR2):
        work(worker_options(declared, RunOptions(device=device, select=selection, together=together)), say, stop)
    state = read_study_state(declared, selection, together=together)
    left = len(state.running) + len(state.waiting)
    ok = not left and not state.failed
    value = {"ok": ok, **counts, "n_left": left, "n_failed": len(state.failed)}
    emit(as_json, value, f"{counted(counts['done'], 'run')} done here, {counts['failed']} failed here, {left} left")
    if not ok:
        click.get_current_context().exit(1)


@click.command("status")
@study_argument
@select_option
@json_option
def status_command(study: Path, terms: tuple[str, ...], as_json: bool) -> None:
    """Show what of STUDY is done, running and by whom, failed and why, waiting, and how long it may take.

    Reads files only; the run may be anywhere. Exit code 1 when something failed.

    \b
    Example:
      release-kit sft status mini/
      release-kit sft status mini/ --json | jq '.failed[].what'
    """
    from release_kit.core.study import read_study
    from release_kit.sft.engine.state import read_study_state

    declared = read_study(study)
    state = read_study_state(declared, _selection(declared, terms))
    emit(as_json, {"ok": not state.failed, **state.to_dict()}, lambda: _state_text(state))
    if state.failed:
        click.get_current_context().exit(1)


def _selection(study: Any, terms: tuple[str, ...]) -> Mapping[str, tuple]:
    from release_kit.core.grid import parse_selection

    return parse_selection(terms, {factor.name: factor.levels for factor in study.factors})


def pairs_of(terms: tuple[str, ...]) -> dict[str, str]:
    """Return what `--slurm-set` was given, by name."""
    pairs = dict(term.partition("=")[::2] for term in terms)
    if wrong := [term for term in terms if "=" not in term]:
        raise UsageError(
            f"{wrong[0]!r} is not NAME=VALUE", where="--slurm-set", next_step="as in --slurm-set gres=gpu:1"
        )
    return pairs


def _report_text(report: Any) -> str:
    lines = [
        f"{counted(len(report.done), 'cell')} completed in {report.seconds:,.0f} s, "
        f"{len(report.before):,} were complete before"
    ]
    if report.waiting:
        lines.append(f"{counted(len(report.waiting), 'cell')} left; run the same command again to continue")
    if report.stale:
        lines.append(f"{counted(len(report.stale), 'cell')} made from something else than lies here now:")
        lines += [f"  {cell.sentence()}" for cell in report.stale[:N_SHOWN]]
        lines.append("  restore the files, or make these cells again with --redo-stale")
    return "\n".join(lines + _failed_lines(report.failed))


def _state_text(state: Any) -> str:
    lines = [f"done     {counted(len(state.done), 'run')}, {counted(state.n_cells_done, 'cell')}"]
    lines.append(f"running  {counted(len(state.running), 'run')}")
    for one in state.running[:N_SHOWN]:
        lease = one.lease
        step = f" {lease.step}/{lease.n_steps}" if lease.n_steps else ""
        gone = ", its process is gone: the next worker continues it" if one.worker == "gone" else ""
        lines.append(f"  {one.unit.title}  ({lease.owner.describe()}, {lease.stage or 'starting'}{step}{gone})")
    lines.append(f"waiting  {counted(len(state.waiting), 'run')}")
    if state.seconds_left:
        lines.append(f"left     about {state.seconds_left / 60:,.0f} min with the workers of now")
    return "\n".join(lines + _failed_lines(state.failed))


def _failed_lines(failed: tuple) -> list[str]:
    if not failed:
        return []
    lines = [f"failed   {counted(len(failed), 'run')}"]
    lines += [f"  {failure.sentence()}" for failure in failed[:N_SHOWN]]
    if len(failed) > N_SHOWN:
        lines.append(f"  … and {len(failed) - N_SHOWN} more (--json lists all)")
    return lines
