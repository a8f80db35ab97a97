"""``release-kit sae demo``: from sentences to a release of autoencoders, as command lines that can be repeated.

Owns the order of the stages; every one of them runs the commands themselves. Each stage may be interrupted: the next
run keeps what is done.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import click

from release_kit.cli.demo_damage import flip_one_byte
from release_kit.cli.demo_folder import claim_folder
from release_kit.cli.demo_hub import local_hub
from release_kit.cli.demo_script import Script
from release_kit.cli.output import emit, json_option

N_STAGES = 7
NAMESPACE, PUBLISHED = "demo", "published"
WEIGHTS = "sae_weights.safetensors"

LOAD = """
from pathlib import Path
from release_kit.sae.formats.read import read_sae
found = read_sae(Path({folder!r}))
print(f"an autoencoder in the layout of {{found.layout}}: {{found.sae.config.d_in}} -> {{found.sae.config.n_features}}")
"""


@click.command("demo")
@click.option(
    "--dir", "folder", default="sae-demo", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--fresh", is_flag=True, help="Throw away what an earlier demo left in the folder.")
@click.option(
    "--study",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run the whole loop on this sae.yaml instead of the one that ships.",
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Training processes.")
@json_option
def demo_command(folder: Path, fresh: bool, file: Path | None, workers: int, as_json: bool) -> None:
    """Train bilingual models and autoencoders of all their layers; which features are bilingual, what do they do?

    Tatoeba's pairs, two sizes of model at six training steps, autoencoders from three seeds, classes of features beside
    their nulls, a finished model's features in an earlier one, a report with a feature browser, a release that is
    published to a local Hub, downloaded in part and verified. Under 20 minutes on two cores. Exit code 1 when any step
    does not come out as it must.

    \b
    Example:
      release-kit sae demo
      release-kit sae demo --dir /tmp/sae-demo --json
      release-kit sae demo --study my-study/sae.yaml --dir my-demo
    """
    from release_kit.sae.demo import MARK, write_demo_study

    start = time.monotonic()
    claim_folder(folder, MARK, "release-kit sae demo", fresh=fresh)
    write_demo_study(folder, file)
    script = Script(
        say=lambda text: click.echo(text, err=as_json),
        n_stages=N_STAGES,
        environment={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    _study(script, folder, workers)
    _release(script, folder)
    with local_hub(folder / "hub") as endpoint:
        reference = _publish(script, folder, endpoint)
    result = {
        "ok": True,
        "seconds": round(time.monotonic() - start, 1),
        "folder": str(folder),
        "reference": reference,
        "steps": [step.to_dict() for step in script.steps],
    }
    emit(as_json, result, lambda: summary(folder, result))


def summary(folder: Path, result: dict[str, Any]) -> str:
    """Return the closing lines: what was shown and where to look."""
    lines = [
        f"\nThe demo took {result['seconds']:.0f} s; every step came out as it must.",
        f"  study      {folder / 'sae.yaml'}",
        f"  tables     {folder / 'tables'}",
        f"  report     {folder / 'report/index.html'}",
        f"  browser    {folder / 'report/browser/index.html'}",
        f"  published  {result['reference']}",
        f"  look       release-kit hub serve --root {folder / 'hub'}  and open the address it prints",
    ]
    return "\n".join(lines)


def _study(script: Script, folder: Path, workers: int) -> None:
    with script.stage("Look: what will be trained, and whether anything is in its way"):
        script.run("sae", "check", str(folder))
        script.run("sae", "plan", str(folder))
    with script.stage(f"Train models and autoencoders, measure, intervene ({workers} processes, one thread each)"):
        script.run("sae", "run", str(folder), "--workers", str(workers), lines=24)
    with script.stage("Run again: what is complete is kept"):
        script.run("sae", "run", str(folder), "--workers", str(workers), lines=4)
    with script.stage("Report: claims beside their nulls, figures, a feature browser"):
        script.run("sae", "report", str(folder), lines=24)


def _release(script: Script, folder: Path) -> None:
    with script.stage("Release: one folder for each autoencoder, cards, an index; every number is checked"):
        script.run("sae", "release", str(folder))
        script.run("build", str(folder / PUBLISHED))
        script.run("check", str(folder / PUBLISHED))
        script.run("cards", str(folder / PUBLISHED), "--check")


def _publish(script: Script, folder: Path, endpoint: str) -> str:
    """Publish, download one layer of one step, damage and repair it; return what was published."""
    from release_kit.core.study import read_study

    study = read_study(folder / PUBLISHED)
    reference = f"{NAMESPACE}/{study.name}@v{study.version}"
    download = folder / "download"
    layer, step = (study.factor(name).levels[-1] for name in ("layer", "step"))
    with script.stage(f"Publish to the local Hub at {endpoint}; download layer {layer} of step {step} and verify"):
        target = ["--to", NAMESPACE, "--layout", "folders", "--endpoint", endpoint]
        script.run("publish", str(folder / PUBLISHED), *target)
        shutil.rmtree(download, ignore_errors=True)
        chosen = ["--select", f"layer={layer}", "--select", f"step={step}"]
        script.run("download", reference, str(download), *chosen, "--endpoint", endpoint)
        script.run("verify", str(download))
    with script.stage("Damage one byte: verify finds the tensor, repair fetches only that file; load it"):
        path = next(iter(sorted(download.rglob(WEIGHTS))))
        offset = flip_one_byte(path)
        script.say(f"    one bit flipped at byte {offset:,} of {path}")
        script.run("verify", str(download), "--tensors", expect=1, must_say=WEIGHTS)
        script.run("verify", str(download), "--repair")
        script.run("verify", str(download))
        script.run_python(LOAD.format(folder=path.parent.as_posix()), must_say="an autoencoder")
    return reference
