"""``release-kit sft evaluate``: one model, or the samples of an earlier evaluation, scored on task files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option, progress
from release_kit.cli.sft_options import device_option
from release_kit.core.errors import UsageError

UNSANDBOXED_VARIABLE = "RELEASE_KIT_ALLOW_UNSANDBOXED"


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--tasks", "wanted", required=True, multiple=True, help="Names of tasks, or the folder that holds them.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results and samples.")
@click.option("--study", type=click.Path(path_type=Path), help="Folder with tasks/ and their data; here by default.")
@click.option("--base", type=click.Path(path_type=Path), help="Base model of MODEL, when that is an adapter.")
@click.option("--harness", type=click.Choice(["fast", "lm-eval"]), default="fast", show_default=True,
              help="Our scorer where it covers the task, or lm-evaluation-harness for all.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Documents of each task.")
@click.option(
    "--num-fewshot", type=click.IntRange(min=0), help="Examples in the prompt; what the task says by default."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Of lm-eval alone.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@device_option
@click.option("--rescore", is_flag=True, help="Score the samples in OUT again, without a model.")
@click.option("--allow-unsandboxed", is_flag=True, help="Run generated code where the system cannot shut it in.")
@json_option
def evaluate_command(
    model: Path | None, wanted: tuple[str, ...], out: Path, study: Path | None, base: Path | None, harness: str,
    limit: int | None, num_fewshot: int | None, batch_size: int, threads: int, device: str, rescore: bool,
    allow_unsandboxed: bool, as_json: bool,
) -> None:  # fmt: skip
    """Evaluate MODEL on tasks of lm-evaluation-harness and write results and every answer into OUT.

    MODEL is a folder that transformers reads, or a PEFT adapter with --base. Scores are those of the harness in
    float32. Answers are remembered by the digest of weights, tokenizer and requests: what was computed before is not
    computed again, and weights that changed are never taken for the old ones.

    \b
    Example:
      release-kit sft evaluate runs/1f2e/epoch-3 --tasks mini/tasks --out scores/
      release-kit sft evaluate bases/tiny --study mini/ --tasks maths_asdiv --limit 50 --out scores/ --json
      release-kit sft evaluate --rescore --study mini/ --tasks maths_asdiv --limit 50 --out scores/
    """
    from release_kit.sft.spec.settings import EvaluationSettings

    if rescore == (model is not None):
        raise UsageError("give MODEL, or --rescore without one")
    if allow_unsandboxed:
        os.environ[UNSANDBOXED_VARIABLE] = "1"
    folder, names = _tasks(wanted, study)
    settings = EvaluationSettings(
        tasks=names, harness=harness, limit=limit, num_fewshot=num_fewshot, batch_size=batch_size, threads=threads
    )
    paths = (
        _rescored(folder, settings, out) if rescore else _evaluated(folder, model, base, settings, out, device, as_json)
    )
    results = {path.stem: json.loads(path.read_bytes()) for path in paths}
    value = {"ok": True, "out": str(out), "tasks": {name: _value(name, document) for name, document in results.items()}}
    emit(as_json, value, lambda: "\n".join(line for name in results for line in _lines(name, results[name])))


def _tasks(wanted: Sequence[str], study: Path | None) -> tuple[Path, tuple[str, ...]]:
    """Return (folder that the tasks belong to, their names)."""
    from release_kit.sft.evaluate.harness import known_tasks

    folder, names = study, []
    for entry in wanted:
        place = Path(entry)
        if place.is_dir():
            folder = place.resolve().parent if place.resolve().name == "tasks" else place
            if study is not None and study.resolve() != folder.resolve():
                raise UsageError(f"--study is {study}, but --tasks {entry} belongs to {folder}")
            names += known_tasks(folder)
        else:
            names += [name.strip() for name in entry.split(",") if name.strip()]
    if not names:
        raise UsageError(f"no task in {', '.join(wanted)}", next_step="name a folder with *.yaml task files")
    return folder or Path.cwd(), tuple(dict.fromkeys(names))


def _evaluated(
    folder: Path, model: Path, base: Path | None, settings: Any, out: Path, device: str, quiet: bool
) -> list[Path]:
    from release_kit.sft.evaluate.model import ADAPTER_CONFIG
    from release_kit.sft.evaluate.run import EvalModel, evaluate_cell

    is_adapter = (model / ADAPTER_CONFIG).is_file()
    if is_adapter and base is None:
        raise UsageError(f"{model} is an adapter", next_step="name its base model with --base")
    if base is not None and not is_adapter:
        raise UsageError(f"{model} is not an adapter, so --base has no use")
    chosen = EvalModel(base=base, adapter=model) if is_adapter else EvalModel(base=model)
    with progress(quiet) as bar:
        shown = _Shown(bar)
        return evaluate_cell(folder, chosen, settings, out, device=device, on_event=shown)


def _rescored(folder: Path, settings: Any, out: Path) -> list[Path]:
    from release_kit.core.canonical import read_json
    from release_kit.core.files import write_atomic
    from release_kit.sft.evaluate.run import rescore
    from release_kit.sft.evaluate.samples import SUFFIX

    paths = [out / f"{name}.json" for name in settings.tasks]
    made = [
        rescore(folder, out / f"{name}{SUFFIX}", name, settings, read_json(path)["config"])
        for name, path in zip(settings.tasks, paths, strict=True)
    ]
    for path, data in zip(paths, made, strict=True):
        write_atomic(path, data)
    return paths


class _Shown:
    """Events of an evaluation on a progress bar: one stage a task."""

    def __init__(self, bar: Any):
        self._bar, self._task = bar, None

    def __call__(self, kind: str, task: str, done: int, total: int) -> None:
        if kind == "row":
            if task != self._task:
                self._task = task
                self._bar.start(task, total, unit="rows")
                self._bar.advance(done - 1)
            self._bar.advance()


def _value(name: str, document: dict[str, Any]) -> dict[str, Any]:
    measured = document["results"][name]
    return {
        "scorer": document["config"]["scorer"],
        "weights_sha256": document["config"]["weights_sha256"],
        "n": document["n-samples"][name]["effective"],
        "n_shot": document["n-shot"][name],
        "metrics": {key: value for key, value in measured.items() if "," in key},
    }


def _lines(name: str, document: dict[str, Any]) -> list[str]:
    measured, scorer = document["results"][name], document["config"]["scorer"]
    shots = document["n-shot"][name]
    lines = [f"{name}  {document['n-samples'][name]['effective']:,} documents, {shots}-shot"]
    for key, value in measured.items():
        metric, _, selected = key.partition(",")
        if not selected or metric.endswith("_stderr"):
            continue
        stderr = measured.get(f"{metric}_stderr,{selected}")
        error = f" ± {stderr:.4f}" if isinstance(stderr, float) else ""
        label = metric if selected == "none" else f"{metric} ({selected})"
        lines.append(f"  {label:<32} {'no value' if value is None else f'{value:.4f}'}{error}")
    if scorer["name"] != "fast":
        lines.append(f"  evaluated by lm-evaluation-harness: {scorer['reason']}")
    return lines
