"""``release-kit demo``: the whole loop on real small models, as command lines that a reader can repeat.

Owns the order of the stages. Training is ``release_kit.sft``; everything after it runs the commands themselves.
Every stage may be interrupted: the next run keeps what is proved done.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.demo_damage import copy_study, flip_one_byte, swap_artifacts
from release_kit.cli.demo_script import Script
from release_kit.cli.output import emit, json_option
from release_kit.core.errors import MissingExtraError, UsageError
from release_kit.core.grid import cell_id, iter_levels, level_text, matches
from release_kit.core.manifest import read_manifest
from release_kit.core.study import STUDY_FILE, Study

N_STAGES = 9
LAYOUTS = {"folders": "demo-folders", "repos": "demo-repos"}
"""Layout → namespace it is published to."""

CHOSEN = {"dataset": ("bbh-cot",), "method": ("full",), "seed": (0,)}
OTHER = {"dataset": ("bbh-cot",), "method": ("full",), "seed": (1,)}
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
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Training processes.")
@json_option
def demo_command(folder: Path, fresh: bool, workers: int, as_json: bool) -> None:
    """Run the whole loop on real small models: train, evaluate, build, check, publish, download, verify, break.

    Needs no account and no network. Takes some minutes on two cores; run it again after an interruption and it
    continues. Exit code 1 when any step does not come out as it must.

    \b
    Example:
      release-kit demo
      release-kit demo --dir /tmp/demo --json
    """
    start = time.monotonic()
    _claim(folder, fresh)
    script = Script(
        say=lambda text: click.echo(text, err=as_json),
        n_stages=N_STAGES,
        environment={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    study = _make_study(script, folder / "study", workers)
    _build(script, study)
    with _local_hub(folder / "hub") as endpoint:
        references = _publish(script, study, endpoint)
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
        f"  study      {result['study']}  (study.yaml, cells/, release/)",
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


def _make_study(script: Script, folder: Path, workers: int) -> Study:
    from release_kit.sft.demo import prepare_demo_inputs, write_demo_study
    from release_kit.sft.grid_run import run_grid

    with script.stage("Prepare: data and base model from installed packages, nothing is downloaded"):
        study = write_demo_study(folder)
        for record in prepare_demo_inputs(folder):
            script.say(f"    {record.summary()}")
        script.run("plan", str(folder))
    with script.stage(f"Train and evaluate every cell ({workers} processes, one thread each)"):
        report = run_grid(
            study, workers=workers, log_folder=folder / ".release_kit" / "workers", on_event=_telling(script.say)
        )
        if report.before:
            script.say(f"    {len(report.before)} cells were complete already")
    return study


def _telling(say: Callable[[str], None]) -> Callable[[Mapping[str, Any]], None]:
    """Return a listener that prints one line for each finished cell."""
    losses: dict[str, float] = {}

    def tell(event: Mapping[str, Any]) -> None:
        if event["event"] == "step":
            losses[event["cell_id"]] = event["loss"]
        if event["event"] == "done":
            levels = " ".join(f"{name}={level_text(level)}" for name, level in list(event["levels"].items())[1:])
            loss = losses.get(event["cell_id"])
            trained = "evaluated only" if loss is None else f"last loss {loss:.3f}"
            say(f"    {event['cell_id']}  {levels:<36} {trained:<16} {event['seconds']:.0f} s")

    return tell


def _build(script: Script, study: Study) -> None:
    folder = str(study.folder)
    with script.stage("Build: hash every artifact once; tables, cards, manifest"):
        script.run("build", folder)
        script.run("build", folder)
    with script.stage("Check: grid, payloads, labels, weights, results, licences; every number in every card"):
        script.run("check", folder)
        script.run("cards", folder, "--check")


@contextlib.contextmanager
def _local_hub(root: Path) -> Iterator[str]:
    try:
        from release_kit.hub.server import LocalHub
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "starlette", "hub") from error
    with LocalHub(root=root, port=0) as hub:
        yield hub.endpoint


def _publish(script: Script, study: Study, endpoint: str) -> dict[str, str]:
    with script.stage(f"Publish in two layouts to the local Hub at {endpoint}"):
        for layout, namespace in LAYOUTS.items():
            target = ["--to", namespace, "--layout", layout, "--endpoint", endpoint]
            script.run("publish", str(study.folder), *target)
        script.say("    The same again sends nothing:")
        script.run("publish", str(study.folder), *target)
    return {layout: f"{namespace}/{study.name}@v{study.version}" for layout, namespace in LAYOUTS.items()}


def _download(script: Script, study: Study, folder: Path, references: Mapping[str, str], endpoint: str) -> None:
    with script.stage("Download into empty folders and verify every byte"):
        for name in ("download", "download-lora"):
            shutil.rmtree(folder / name, ignore_errors=True)
        everything, adapters = str(folder / "download"), str(folder / "download-lora")
        script.run("download", references["repos"], everything, "--endpoint", endpoint)
        script.run("verify", everything)
        selection = ["--select", "method=lora", "--select", "seed=0"]
        script.run("download", references["folders"], adapters, *selection, "--endpoint", endpoint)
        script.run("verify", adapters)


def _load(script: Script, study: Study, download: Path) -> None:
    with script.stage("Load one model from the download and generate"):
        folder = download / "cells" / _cell_name(download, CHOSEN)
        script.run_python(GENERATE.format(folder=folder.as_posix()), must_say="Answer:")


def _damage(script: Script, study: Study, download: Path, endpoint: str) -> None:
    with script.stage("Damage one byte: verify finds the tensor, repair fetches only that file"):
        path = download / "cells" / _cell_name(download, CHOSEN) / WEIGHTS
        offset = flip_one_byte(path)
        script.say(f"    one bit flipped at byte {offset:,} of {path}")
        script.run("verify", str(download), "--tensors", expect=1, must_say=WEIGHTS)
        script.run("verify", str(download), "--repair")
        script.run("verify", str(download))


def _swap(script: Script, study: Study, wrong: Path) -> None:
    with script.stage("Swap two checkpoints in a copy of the study: check refuses"):
        copy_study(study.folder, wrong)
        names = [_cell_name(study.folder, partial) for partial in (CHOSEN, OTHER)]
        swap_artifacts(wrong, *(_cell_id(study, partial) for partial in (CHOSEN, OTHER)))
        script.say(f"    {names[0]} and {names[1]} exchanged in {wrong}")
        script.run("check", str(wrong), expect=1)


def _cell_name(release: Path, partial: Mapping[str, tuple]) -> str:
    return next(cell.name for cell in read_manifest(release).cells if matches(cell.levels, partial))


def _cell_id(study: Study, partial: Mapping[str, tuple]) -> str:
    return next(cell_id(study, levels) for levels in iter_levels(study) if matches(levels, partial))
