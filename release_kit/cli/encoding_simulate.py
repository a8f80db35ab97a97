"""``release-kit encoding simulate``: a study whose truth is known, and what an analysis of it found."""

from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import counted, emit, json_option, progress
from release_kit.core.errors import UsageError

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("simulate")
@click.option("--out", type=_FOLDER, default=None, help="New folder for the study; refused when it holds something.")
@click.option("--score", type=_FOLDER, default=None, help="Folder of such a study whose analysis is finished.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--noise", type=click.Choice(("white", "ar1", "real")), default="ar1", show_default=True,
              help="real: columns of a recording at rest, which a package holds (60 MB).")  # fmt: skip
@click.option("--subjects", type=click.IntRange(1, 99), default=2, show_default=True, help="Who see the same films.")
@click.option("--volumes", type=click.IntRange(200, 5000), default=300, show_default=True, help="Of each of 9 runs.")
@click.option("--correlation", type=click.FloatRange(0, 0.9), default=0.3, show_default=True, help="Of the two levels.")
@json_option
@click.pass_context
def simulate_command(context: click.Context, out: Path | None, score: Path | None, as_json: bool, **plan: Any) -> None:
    """Write a study in which it is known what explains what, or say what its analysis found of that.

    --out writes a BIDS dataset, the truth beside it, and the encoding.yaml that analyses it. --score holds the finished
    analysis against the truth: r, unique variance, the right voxels, false positives; exit code 1 when a test calls
    more voxels without a signal than its level allows.

    \b
    Example:
      release-kit encoding simulate --out study/ --seed 1 --noise ar1
      release-kit encoding run study/
      release-kit encoding simulate --score study/
    """
    if (out is None) == (score is None):
        raise UsageError("say either --out (write a study) or --score (judge its analysis)", where="encoding simulate")
    if score is not None:
        if said := _given(context, plan):
            raise UsageError(f"{', '.join(said)} belong to --out; a study on disk keeps its own", where="--score")
        _score(score, as_json, context)
    elif out is not None:
        _write(out, plan, as_json)


def _given(context: click.Context, plan: dict[str, Any]) -> list[str]:
    """Return the options of a plan that were said."""
    default = click.core.ParameterSource.DEFAULT
    return [f"--{name}" for name in plan if context.get_parameter_source(name) is not default]


def _write(out: Path, plan: dict[str, Any], as_json: bool) -> None:
    from release_kit.encoding.simulate.study import MOST_VOLUMES, study_spec, write_study

    if plan["noise"] == "real" and plan["volumes"] > MOST_VOLUMES:
        raise UsageError(f"the recording at rest has {MOST_VOLUMES} volumes", where=f"--volumes {plan['volumes']}")
    spec = study_spec(
        seed=plan["seed"],
        noise=plan["noise"],
        n_subjects=plan["subjects"],
        n_volumes=plan["volumes"],
        correlation=plan["correlation"],
    )
    with progress(quiet=as_json) as bar:
        file = write_study(spec, out, bar.say)
    result = {
        "ok": True,
        "analysis": str(file),
        "dataset": str(out / "dataset"),
        "truth": str(out / "dataset/derivatives/truth"),
        **plan,
    }
    emit(as_json, result, lambda: "\n".join(_written(out, spec)))


def _written(out: Path, spec: Any) -> list[str]:
    n_runs = sum(spec.titles.values())
    return [
        f"{counted(spec.n_subjects, 'subject')}, {counted(len(spec.titles), 'film')} in {n_runs} runs of "
        f"{counted(spec.n_volumes, 'volume')}, {counted(spec.n_voxels, 'voxel')}, {spec.noise} noise, seed {spec.seed}",
        f"dataset  {out / 'dataset'} (the truth in derivatives/truth)",
        f"next     release-kit encoding run {out}",
        f"then     release-kit encoding simulate --score {out}",
    ]


def _score(folder: Path, as_json: bool, context: click.Context) -> None:
    from release_kit.encoding.simulate.score import score_study

    found = score_study(folder)
    emit(as_json, found.to_dict(), lambda: "\n".join(_lines(found)))
    if not found.ok:
        context.exit(1)


def _lines(found: Any) -> list[str]:
    lines = [f"{'model':<28} {'r (attainable)':>15} {'right voxels':>13} {'null p<.05':>12} {'false/called':>13}"]
    for fit in found.fits:
        most = f" of {fit.n_null}" + ("!" if fit.false_p > found.most_false.get(fit.mode, fit.n_null) else "")
        lines.append(
            f"{f'{fit.mode} sub-{fit.subject} {fit.band}':<28} {f'{fit.r:.3f} ({fit.attainable_r:.3f})':>15} "
            f"{fit.overlap:>13.0%} {f'{fit.false_p}{most}':>12} {f'{fit.false_q}/{fit.n_called}':>13}"
        )
    lines.append(f"\n{'unique part (mean of region)':<40} {'planted':>8} {'found':>8} {'error':>8}  95 % interval")
    for part in found.parts:
        name = f"{part.mode} sub-{part.subject} {part.region} {part.band} ({'R²' if part.metric == 'r2' else 'r'})"
        ends = "none" if part.error_low is None else f"{part.error_low:+.3f} to {part.error_high:+.3f}"
        lines.append(f"{name:<40} {part.planted:>8.3f} {part.found:>8.3f} {part.error:>+8.3f}  {ends}")
    said = "no more false positives than the level allows" if found.ok else "MORE false positives than the level allows"
    lines.append(f"\n{said} (mode corrected)")
    return lines
