"""``release-kit demo``: the whole loop on real small models, as command lines that a reader can repeat.

Owns the order of the stages; every one of them runs the commands themselves. Every stage may be interrupted: the next
run keeps what is proved done.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.demo_damage import copy_study, flip_one_byte, swap_artifacts
from release_kit.cli.demo_hub import local_hub
from release_kit.cli.demo_script import Script
from release_kit.cli.output import emit, json_option
from release_kit.core.errors import UsageError
from release_kit.core.grid import cell_id, is_results_only, iter_levels, level_text
from release_kit.core.manifest import read_manifest
from release_kit.core.study import STUDY_FILE, Level, Study, read_study

N_STAGES = 10
LAYOUTS = {"folders": "demo-folders", "repos": "demo-repos"}
"""Layout → namespace that the shipped study is published to."""
DEFAULT_LAYOUT, DEFAULT_NAMESPACE = "folders", "demo"
MAX_EXAMPLES = 100
"""Examples of each dataset whose perplexity a study of one's own is shown with: all of them would take the longest."""

FULL, LORA = "full", "lora"
WEIGHTS = "model.safetensors"

GENERATE = """
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
tokens = tokenizer("Question: What is the capital of France?\\nAnswer:", return_tensors="pt")
answer = model.generate(**tokens, max_new_tokens=24, do_sample=False)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
"""


@click.command("demo")
@click.option("--dir", "folder", default="demo", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--fresh", is_flag=True, help="Throw away what an earlier demo left in the folder, trained cells too.")
@click.option(
    "--study",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run the whole loop on this study file instead of the one that ships.",
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Training processes.")
@json_option
def demo_command(folder: Path, fresh: bool, file: Path | None, workers: int, as_json: bool) -> None:
    """Run the whole loop on real small models: train, evaluate, analyse, build, check, publish, verify, break, repair.

    Needs no account and no network. Takes some minutes on two cores; run it again after an interruption and it
    continues. Exit code 1 when any step does not come out as it must. With --study it runs any study of fine-tuned
    models the same way, as long as that takes.

    \b
    Example:
      release-kit demo
      release-kit demo --dir /tmp/demo --json
      release-kit demo --study studies/mini.yaml --dir mini
    """
    start = time.monotonic()
    _claim(folder, fresh)
    script = Script(
        say=lambda text: click.echo(text, err=as_json),
        n_stages=N_STAGES,
        environment={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    study = _make_study(script, folder / "study", file, workers)
    _build(script, study)
    with local_hub(folder / "hub") as endpoint:
        references = _publish(script, study, _targets(study, file), endpoint)
        _download(script, study, folder, references, endpoint)
        _load(script, study, folder / "download")
        _damage(script, study, folder / "download", endpoint)
    _swap(script, study, folder / "wrong")
    seconds = round(time.monotonic() - start, 1)
    result = {
        "ok": True,
        "seconds": seconds,
        "study": str(study.folder),
        "download": str(folder / "download"),
        "hub_root": str(folder / "hub"),
        "references": references,
        "steps": [step.to_dict() for step in script.steps],
    }
    emit(as_json, result, lambda: summary(result))


def summary(result: Mapping[str, Any]) -> str:
    """Return the closing lines: what was shown and where to look."""
    references = ", ".join(result["references"].values())
    lines = [
        f"\nThe demo took {result['seconds']:.0f} s; every step came out as it must.",
        f"  study      {result['study']}  (study.yaml, runs/, cells/, tables/, release/)",
        f"  report     {result['study']}/analysis/report.html",
        f"  download   {result['download']}",
        f"  published  {references}",
        f"  look       release-kit hub serve --root {result['hub_root']}  and open the address it prints",
    ]
    return "\n".join(lines)


def _claim(folder: Path, fresh: bool) -> None:
    """Refuse a folder that holds something else; make it otherwise."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "study" / STUDY_FILE).is_file():
        raise UsageError("is not empty and holds no demo", where=str(folder), next_step="name another --dir")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _make_study(script: Script, folder: Path, file: Path | None, workers: int) -> Study:
    from release_kit.sft.demo import write_demo_study

    named = [str(folder)] if file is None else [str(file), "--dir", str(folder)]
    with script.stage("Prepare: data, tasks and base models out of packages"):
        if file is None:
            write_demo_study(folder)
        script.run("sft", "prepare", *named, lines=30)
        script.run("sft", "plan", str(folder))
    with script.stage(f"Train and evaluate every cell ({workers} processes, one thread each)"):
        script.run("sft", "run", str(folder), "--workers", str(workers), lines=20)
    with script.stage("Measure the datasets and the layers; analyse: gains, verdicts, figures, report"):
        few = [] if file is None else ["--max-examples", str(MAX_EXAMPLES)]
        script.run("sft", "measure", str(folder), *few)
        script.run("sft", "analyse", str(folder))
    return read_study(folder)


def _build(script: Script, study: Study) -> None:
    folder = str(study.folder)
    with script.stage("Build: hash every artifact once; tables, cards, manifest"):
        script.run("build", folder)
        script.run("build", folder)
    with script.stage("Check: grid, payloads, labels, weights, results, licences; every number in every card"):
        script.run("check", folder)
        script.run("cards", folder, "--check")


def _targets(study: Study, file: Path | None) -> Mapping[str, str]:
    """Return layout → namespace: both layouts for the shipped study, its own for another."""
    if file is None:
        return LAYOUTS
    return {study.layout or DEFAULT_LAYOUT: study.namespace or DEFAULT_NAMESPACE}


def _publish(script: Script, study: Study, targets: Mapping[str, str], endpoint: str) -> dict[str, str]:
    layouts = " and ".join(targets)
    with script.stage(f"Publish to the local Hub at {endpoint} (layout {layouts})"):
        for layout, namespace in targets.items():
            target = ["--to", namespace, "--layout", layout, "--endpoint", endpoint]
            script.run("publish", str(study.folder), *target)
        script.say("    The same again sends nothing:")
        script.run("publish", str(study.folder), *target)
    return {layout: f"{namespace}/{study.name}@v{study.version}" for layout, namespace in targets.items()}


def _download(script: Script, study: Study, folder: Path, references: Mapping[str, str], endpoint: str) -> None:
    with script.stage("Download into empty folders and verify every byte"):
        for name in ("download", "download-lora"):
            shutil.rmtree(folder / name, ignore_errors=True)
        everything, adapters = str(folder / "download"), str(folder / "download-lora")
        first, *_, last = [*references.values()] * 2
        script.run("download", last, everything, "--endpoint", endpoint)
        script.run("verify", everything)
        script.run("download", first, adapters, *_adapters(study), "--endpoint", endpoint)
        script.run("verify", adapters)


def _adapters(study: Study) -> list[str]:
    """Return the selection of the adapters of one seed."""
    method, seed = study.factor_with_role("method"), study.factor_with_role("seed")
    selection = ["--select", f"{method.name}={LORA}"] if LORA in method.levels else []
    return selection + (["--select", f"{seed.name}={level_text(seed.levels[0])}"] if seed else [])


def _load(script: Script, study: Study, download: Path) -> None:
    with script.stage("Load one model from the download and generate"):
        folder = download / "cells" / _cell_name(download, _pair(study)[0])
        script.run_python(GENERATE.format(folder=folder.as_posix()), must_say="Answer:")


def _damage(script: Script, study: Study, download: Path, endpoint: str) -> None:
    with script.stage("Damage one byte: verify finds the tensor, repair fetches only that file"):
        path = download / "cells" / _cell_name(download, _pair(study)[0]) / WEIGHTS
        offset = flip_one_byte(path)
        script.say(f"    one bit flipped at byte {offset:,} of {path}")
        script.run("verify", str(download), "--tensors", expect=1, must_say=WEIGHTS)
        script.run("verify", str(download), "--repair")
        script.run("verify", str(download))


def _swap(script: Script, study: Study, wrong: Path) -> None:
    with script.stage("Swap two checkpoints in a copy of the study: check refuses"):
        copy_study(study.folder, wrong)
        pair = _pair(study)
        names = [_cell_name(study.folder, levels) for levels in pair]
        swap_artifacts(wrong, *(cell_id(study, levels) for levels in pair))
        script.say(f"    {names[0]} and {names[1]} exchanged in {wrong}")
        script.run("check", str(wrong), expect=1)


def _pair(study: Study) -> tuple[Mapping[str, Level], Mapping[str, Level]]:
    """Return the levels of two whole models of one base: the first and the last that the grid has."""
    base, method = (study.factor_with_role(role).name for role in ("base_model", "method"))
    cells = [levels for levels in iter_levels(study) if not is_results_only(study, levels) and levels[method] == FULL]
    same = [levels for levels in cells if levels[base] == cells[0][base]]
    if len(same) < 2:
        raise UsageError("has no two fully fine-tuned cells of one base", where=study.name, next_step="declare two")
    return same[0], same[-1]


def _cell_name(release: Path, levels: Mapping[str, Level]) -> str:
    return next(cell.name for cell in read_manifest(release).cells if dict(cell.levels) == dict(levels))
