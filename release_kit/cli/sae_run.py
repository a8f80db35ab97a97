"""``release-kit sae run``, ``worker`` and ``status``: a study on one machine, on many, or on a cluster."""

import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option
from release_kit.cli.sft_options import device_option
from release_kit.cli.sft_run import pairs_of

N_SHOWN, N_STALE_SHOWN = 20, 5

study_argument = click.argument("study", type=click.Path(path_type=Path))
select_option = click.option(
    "--select", "terms", multiple=True, metavar="FACTOR=LEVEL",
    help="Only these: size=small, step=128,512, layer=2, seed=0; may be repeated.",
)  # fmt: skip


@click.command("run")
@study_argument
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 4096), help="Processes, or Slurm jobs.")
@click.option("--engine", default="local", show_default=True, type=click.Choice(["local", "slurm"]))
@device_option
@select_option
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--redo-stale", is_flag=True, help="Make again what was made from other settings, texts or models.")
@click.option("--keep-activations", is_flag=True, help="Leave activations on disk, as far as cache.max_gb goes.")
@click.option("--slurm-partition", default=None, help="Partition of the jobs.")
@click.option("--slurm-time", "slurm_minutes", default=60, show_default=True, help="Minutes before a job is requeued.")
@click.option("--slurm-set", multiple=True, metavar="NAME=VALUE", help="Any other sbatch parameter (account, gres …).")
@click.option("--detach", is_flag=True, help="With --engine slurm: submit and return at once.")
@json_option
def run_command(study: Path, workers: int, engine: str, device: str, terms: tuple[str, ...], retry_failed: bool,
                redo_stale: bool, keep_activations: bool, slurm_partition: str | None, slurm_minutes: int,
                slurm_set: tuple[str, ...], detach: bool, as_json: bool) -> None:  # fmt: skip
    """Train models and autoencoders of STUDY, measure them, intervene, and write the tables.

    What is complete is not touched, what fails does not stop the rest. Interrupt it at any time and run it again: it
    continues to the same result to the byte. What was made from other settings is refused, or made again with
    --redo-stale. Exit code 1 when something failed or is left.

    \b
    Example:
      release-kit sae run study/ --workers 2
      release-kit sae run study/ --select size=small --select step=128,512
      release-kit sae run study/ --engine slurm --workers 64 --slurm-partition gpu --device cuda --slurm-set gres=gpu:1
    """
    from release_kit.cli.sft_progress import units_progress
    from release_kit.sae.grid.run import RunOptions, run_study
    from release_kit.sae.grid.units import plan_units
    from release_kit.sae.spec.read import read_study

    declared = read_study(study)
    slurm = {"partition": slurm_partition, "minutes": slurm_minutes, "extra": pairs_of(slurm_set), "detach": detach}
    options = RunOptions(
        device=device, select=selection(declared, terms), slurm=slurm, retry_failed=retry_failed,
        redo_stale=redo_stale, keep_activations=keep_activations,
    )  # fmt: skip
    if as_json:
        report = run_study(declared, workers=workers, engine=engine, options=options)
    else:
        units = plan_units(declared, options.select)
        with units_progress(declared.folder, units, word="parts", count=lambda unit: 1) as say:
            report = run_study(declared, workers=workers, engine=engine, on_event=say, options=options)
    emit(as_json, report.to_dict(), lambda: _report_text(report))
    if not report.ok and not (detach and engine == "slurm"):
        click.get_current_context().exit(1)


@click.command("worker")
@study_argument
@device_option
@select_option
@json_option
def worker_command(study: Path, device: str, terms: tuple[str, ...], as_json: bool) -> None:
    """Join the run of STUDY from this process: on another machine that shares the folder, or beside a running one.

    It pulls parts of the study from its ledger until none is left, and ends cleanly on SIGTERM and SIGUSR2; tables are
    written by `run`. Exit code 1 when it ended before everything was done.

    \b
    Example:
      ssh node7 release-kit sae worker /shared/study --device cuda:0
    """
    from release_kit.engine.processes import stop_on_signals, work
    from release_kit.sae.grid.run import RunOptions, read_study_state, worker_options
    from release_kit.sae.grid.stale import see_to_stale
    from release_kit.sae.grid.units import plan_units
    from release_kit.sae.spec.read import read_study

    declared = read_study(study)
    chosen, stop = selection(declared, terms), threading.Event()
    see_to_stale(declared, plan_units(declared, chosen), redo=False)
    counts = {"done": 0, "failed": 0}

    def say(event: Mapping[str, Any]) -> None:
        if event["event"] in counts:
            counts[event["event"]] += 1
        if event["event"] in ("started", "done", "failed", "lost"):
            click.echo(f"{event['event']:<8} {event.get('what') or event['title']}", err=True)

    with stop_on_signals(stop, signal.SIGUSR2):
        work(worker_options(declared, RunOptions(device=device, select=chosen)), say, stop)
    state = read_study_state(declared, chosen)
    left = len(state.running) + len(state.waiting) + len(state.blocked)
    ok = not left and not state.failed
    value = {"ok": ok, **counts, "n_left": left, "n_failed": len(state.failed)}
    emit(as_json, value, f"{counted(counts['done'], 'part')} done here, {counts['failed']} failed here, {left} left")
    if not ok:
        click.get_current_context().exit(1)


@click.command("status")
@study_argument
@select_option
@json_option
def status_command(study: Path, terms: tuple[str, ...], as_json: bool) -> None:
    """Show what of STUDY is done, running and by whom, failed and why, waiting, and how long it may take.

    Reads files only; the run may be anywhere. While nothing runs, what was made from something else than sae.yaml asks
    for now is named too. Exit code 1 when something failed or was made from something else.

    \b
    Example:
      release-kit sae status study/
      release-kit sae status study/ --json | jq '.failed[].what'
    """
    from release_kit.sae.grid.run import read_study_state
    from release_kit.sae.grid.stale import find_all_stale
    from release_kit.sae.grid.units import plan_units
    from release_kit.sae.pipeline.plan import keys
    from release_kit.sae.pipeline.read import is_finished
    from release_kit.sae.spec.read import read_study

    declared = read_study(study)
    chosen = selection(declared, terms)
    state = read_study_state(declared, chosen)
    planned = keys(declared, chosen)
    finished = sum(is_finished(declared.folder, key) for key in planned)
    stale = [] if state.running else [one.sentence() for one in find_all_stale(declared, plan_units(declared, chosen))]
    bad = bool(state.failed or stale)
    value = {"ok": not bad, **state.to_dict(), "n_saes": len(planned), "n_saes_done": finished, "stale": stale}
    del value["n_cells_done"]
    emit(as_json, value, lambda: "\n".join([_state_text(state, finished, len(planned)), *stale_lines(stale)]))
    if bad:
        click.get_current_context().exit(1)


def selection(study: Any, terms: tuple[str, ...]) -> Mapping[str, tuple]:
    """Return what ``--select`` chose.

    Raises:
        UsageError: an unknown factor or level, with the nearest known one.
    """
    if not terms:
        return {}
    from release_kit.core.grid import parse_selection
    from release_kit.sae.pipeline.plan import factors

    return parse_selection(terms, factors(study))


def _report_text(report: Any) -> str:
    lines = [
        f"{counted(len(report.done), 'part')} completed in {report.seconds:,.0f} s, {len(report.before):,} were "
        f"complete before; {counted(report.n_saes, 'autoencoder')} in all"
    ]
    if report.waiting:
        lines.append(f"{counted(len(report.waiting), 'part')} left; run the same command again to continue")
    if report.blocked:
        lines.append(f"{counted(len(report.blocked), 'part')} not begun: they need what failed")
    if report.tables:
        lines.append(f"tables in {report.tables}")
    return "\n".join([*lines, *stale_lines(report.stale), *_failed_lines(report.failed)])


def _state_text(state: Any, finished: int, planned: int) -> str:
    lines = [f"done     {counted(len(state.done), 'part')}; {finished:,} of {counted(planned, 'autoencoder')}"]
    lines.append(f"running  {counted(len(state.running), 'part')}")
    for one in state.running[:N_SHOWN]:
        lease = one.lease
        step = f" {lease.step}/{lease.n_steps}" if lease.n_steps else ""
        gone = ", its process is gone: the next worker continues it" if one.worker == "gone" else ""
        lines.append(f"  {one.unit.title}  ({lease.owner.describe()}, {lease.stage or 'starting'}{step}{gone})")
    lines.append(f"waiting  {counted(len(state.waiting), 'part')}")
    if state.blocked:
        lines.append(f"blocked  {counted(len(state.blocked), 'part')}, which need what failed")
    if state.seconds_left:
        lines.append(f"left     about {state.seconds_left / 60:,.0f} min with the workers of now")
    return "\n".join(lines + _failed_lines(state.failed))


def stale_lines(stale: Sequence[str]) -> list[str]:
    """Return the first things that were made from something else, and what to do."""
    if not stale:
        return []
    lines = [f"stale    {counted(len(stale), 'thing')} made from something else than the study asks for now:"]
    lines += [f"  {sentence}" for sentence in stale[:N_STALE_SHOWN]]
    lines += [f"  … and {len(stale) - N_STALE_SHOWN} more (--json lists all)"] if len(stale) > N_STALE_SHOWN else []
    return [*lines, "  restore what changed, or make them again: release-kit sae run --redo-stale"]


def _failed_lines(failed: tuple) -> list[str]:
    if not failed:
        return []
    lines = [f"failed   {counted(len(failed), 'part')}; --retry-failed tries again"]
    lines += [f"  {failure.sentence()}" for failure in failed[:N_SHOWN]]
    if len(failed) > N_SHOWN:
        lines.append(f"  … and {len(failed) - N_SHOWN} more (--json lists all)")
    return lines
