"""``release-kit sae plan``: what a study will train and cost."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option
from release_kit.cli.sae_run import select_option, selection, stale_lines

_WORDS = {
    "model": "series of language models",
    "train": "models at a step, autoencoders of all layers and seeds",
    "measure": "measures of these",
    "intervene": "interventions on these",
}


@click.command("plan")
@click.argument("study", type=click.Path(path_type=Path))
@select_option
@json_option
def plan_command(study: Path, terms: tuple[str, ...], as_json: bool) -> None:
    """Show what of STUDY will be trained: autoencoders, parameters, tokens, disk, time; nothing is written.

    Counts are exact; times come from finished parts, and what cannot be told yet is named. So is what is finished and
    was made from something else than the file asks for now: it counts as finished until --redo-stale.

    \b
    Example:
      release-kit sae plan study/
      release-kit sae plan study/ --select size=small --json | jq .n_saes
    """
    from release_kit.sae.grid.cost import plan_cost
    from release_kit.sae.grid.stale import find_all_stale
    from release_kit.sae.grid.units import plan_units
    from release_kit.sae.spec.read import read_study

    declared = read_study(study)
    chosen = selection(declared, terms)
    cost = plan_cost(declared, chosen)
    stale = [one.sentence() for one in find_all_stale(declared, plan_units(declared, chosen))]
    value = {"ok": True, "study": declared.name, **cost.to_dict(), "stale": stale}
    emit(as_json, value, lambda: "\n".join([*_lines(declared, cost), *stale_lines(stale)]))


def _lines(study: Any, cost: Any) -> list[str]:
    lines = [study.name, ""]
    for one in cost.sizes:
        lines.append(
            f"  {one.size:<12} {counted(one.n_saes, 'autoencoder')}: {counted(len(one.steps), 'step')} x "
            f"{counted(len(one.layers), 'layer')} x {counted(len(one.seeds), 'seed')}; width {one.d_model:,} -> "
            f"{counted(one.n_features, 'feature')}, {one.n_parameters:,} parameters each"
        )
        if one.extra_steps:
            lines.append(f"  {'':<12} step 0 among them, which the file does not list: the null random-model needs it")
    models = f"{_bytes(cost.model_bytes)} of language models; " if cost.model_bytes else ""
    lines += [
        "",
        f"  autoencoders  {cost.n_saes:,}, of which {cost.n_done:,} are finished",
        f"  tokens        {cost.tokens_each:,} for each autoencoder",
        f"  disk          {_bytes(cost.sae_bytes)} of autoencoders; {models}for each worker {_cache(study, cost)}, "
        f"{_bytes(cost.state_bytes)} of states",
    ]
    for kind, (n, done, left) in cost.n_units.items():
        if n:
            time = "done" if done == n else "not known before one is finished" if left is None else _span(left)
            lines.append(f"  {kind:<12}  {n:,} {_WORDS[kind]}; {done:,} done; {time}")
    if cost.seconds is not None:
        lines.append(f"  time          {_span(cost.seconds)} of one worker left")
    return lines


def _cache(study: Any, cost: Any) -> str:
    if study.cache.kind == "stream":
        return "no activations (streamed)"
    return f"{_bytes(cost.cache_bytes)} of activations (all workers together at most {study.cache.max_gb:g} GB)"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:,.0f} s"
    return f"about {seconds / 60:,.0f} min" if seconds < 7200 else f"about {seconds / 3600:,.1f} h"


def _bytes(n: float) -> str:
    size, unit = float(n), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
